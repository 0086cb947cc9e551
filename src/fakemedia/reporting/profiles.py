"""The scores behind the accuracies: ROC curves, histograms and calibration."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit
from sklearn.metrics import roc_curve

from fakemedia.core.rng import generator
from fakemedia.evaluation import continual, metrics
from fakemedia.evaluation.intervals import DRAWS, PERCENT, draw_weights, mean_over_seeds, resampled_means
from fakemedia.reporting.estimates import over_seeds
from fakemedia.reporting.results import Results, TaskScores

Floats = NDArray[np.float64]
LEARNED, FINAL = "just after learning", "after the last stage"
FALSE_POSITIVE_RATES = np.linspace(0, 1, 201)
HISTOGRAM_BINS = 40
TAIL = 0.005
"""Share of the logits at either end that the outermost bins of a histogram take in."""
CALIBRATION_BINS = 10


@dataclass(frozen=True)
class Profiles:
    """Data frames behind the figures of the scores.

    rocs: method, task, moment (LEARNED or FINAL), fpr, tpr; mean of the seeds' curves at each false positive rate.
    histograms: method, task, moment, label, left, right, density; mean over seeds. reliability: method,
    calibrated (bool), bin, probability and images (means over seeds of P(fake) and of the number of test images, after
    the last stage), mean, low, high (percentage of them that is fake). errors: method, calibrated, ece (mean over
    seeds of the expected calibration error).
    """

    rocs: pd.DataFrame
    histograms: pd.DataFrame
    reliability: pd.DataFrame
    errors: pd.DataFrame


def make_profiles(results: Results, temperatures: Mapping[tuple[str, int], float] | None = None, *,
                  draws: int = DRAWS, seed: int = 0) -> Profiles:
    """Return the profiles; `temperatures` of (method, seed) divide the logits of the calibrated reliability."""
    rocs, histograms = [], []
    for keys, scores, moments in _by_method_and_task(results):
        if len(np.unique(scores.labels)) == 2:
            rocs += [pd.DataFrame({**keys, "moment": moment, "fpr": FALSE_POSITIVE_RATES,
                                   "tpr": _mean_roc(scores.labels, logits)}) for moment, logits in moments.items()]
        histograms += _histograms(keys, scores.labels, moments)
    weights = draw_weights(results.groups, draws, generator(seed, "bootstrap", "groups"))
    seed_weights = (draw_weights(len(results.seeds), draws, generator(seed, "bootstrap", "seeds"))
                    if len(results.seeds) > 1 else np.ones((draws, 1), dtype=np.float32))
    kinds = [(False, {})] + ([(True, temperatures)] if temperatures else [])
    parts = [_reliability(results, method, weights, seed_weights, temperature, calibrated)
             for method in results.methods for calibrated, temperature in kinds]
    return Profiles(
        rocs=pd.concat(rocs, ignore_index=True) if rocs else pd.DataFrame(columns=["method", "task", "moment"]),
        histograms=pd.concat(histograms, ignore_index=True),
        reliability=pd.concat([bins for bins, _ in parts], ignore_index=True),
        errors=pd.DataFrame([{"method": bins["method"].iloc[0], "calibrated": bins["calibrated"].iloc[0], "ece": error}
                             for bins, error in parts]),
    )


def _by_method_and_task(results: Results) -> Iterator[tuple[dict[str, str], TaskScores, dict[str, Floats]]]:
    """Yield method and task, the task's scores, and the logits (seeds, N) at each moment that was scored.

    What is learned last has one moment, FINAL.
    """
    learned = continual.learned_at(results.stages)
    for m, method in enumerate(results.methods):
        for t, (task, scores) in enumerate(zip(results.tasks, results.scores, strict=True)):
            if scores is None:
                continue
            rows = {LEARNED: learned[t], FINAL: len(results.stages) - 1}
            if rows[LEARNED] == rows[FINAL]:
                del rows[LEARNED]
            logits_by_moment = {moment: scores.logits[~np.isnan(scores.logits[:, m, row, 0]), m, row]
                                for moment, row in rows.items()}
            yield {"method": method, "task": task}, scores, {key: logits for key, logits in logits_by_moment.items()
                                                             if len(logits)}


def _mean_roc(labels: NDArray[np.int8], logits: Floats) -> Floats:
    """Return the true positive rates at FALSE_POSITIVE_RATES, means over the rows of `logits` (Fawcett 2006)."""
    curves = []
    for row in logits:
        fpr, tpr, _ = roc_curve(labels, row)
        curves.append(np.interp(FALSE_POSITIVE_RATES, fpr, np.maximum.accumulate(tpr)))
    return np.mean(curves, axis=0)


def _histograms(keys: dict[str, str], labels: NDArray[np.int8], moments: dict[str, Floats]) -> list[pd.DataFrame]:
    if not moments:
        return []
    low, high = np.quantile(np.concatenate([logits.ravel() for logits in moments.values()]), [TAIL, 1 - TAIL])
    edges = np.linspace(low, high if high > low else low + 1, HISTOGRAM_BINS + 1)
    return [pd.DataFrame({
        **keys, "moment": moment, "label": label, "left": edges[:-1], "right": edges[1:],
        "density": np.histogram(logits[:, labels == label].clip(edges[0], edges[-1]), edges, density=True)[0],
    }) for moment, logits in moments.items() for label in np.unique(labels)]


def _reliability(results: Results, method: str, weights: NDArray[np.float32], seed_weights: NDArray[np.float32],
                 temperatures: Mapping[tuple[str, int], float], calibrated: bool) -> tuple[pd.DataFrame, float]:
    m = results.methods.index(method)
    scored_tasks = [scores for scores in results.scores if scores is not None]
    fake = np.concatenate([scores.labels for scores in scored_tasks]) == 1
    groups = np.concatenate([scores.groups for scores in scored_tasks])
    shape = (len(results.seeds), CALIBRATION_BINS)
    share, probability, images, sources = (np.full(shape, np.nan) for _ in range(4))
    share_draws, errors = np.full((len(weights), *shape), np.nan), []
    for k, seed in enumerate(results.seeds):
        logits = np.concatenate([scores.logits[k, m, -1] for scores in scored_tasks])
        finite = ~np.isnan(logits)
        if not finite.any():
            continue
        temperature = temperatures.get((method, seed), np.nan) if calibrated else 1.0
        if np.isnan(temperature):
            continue
        chance = expit(logits / temperature)
        errors.append(metrics.expected_calibration_error(fake[finite].astype(np.int64), logits[finite] / temperature))
        bins = np.where(finite, np.minimum((np.nan_to_num(chance) * CALIBRATION_BINS).astype(np.int64),
                                           CALIBRATION_BINS - 1), -1)
        for number in range(CALIBRATION_BINS):
            in_bin = bins == number
            images[k, number] = in_bin.sum()
            if in_bin.any():
                share[k, number], probability[k, number] = 100 * fake[in_bin].mean(), chance[in_bin].mean()
                sources[k, number] = len(np.unique(groups[in_bin]))
                share_draws[:, k, number] = 100 * resampled_means(fake[in_bin, None].astype(np.float64), groups[in_bin],
                                                                  weights)[:, 0]
    mean, low, high = over_seeds(share, share_draws, seed_weights, groups=mean_over_seeds(sources), bounds=PERCENT)
    return pd.DataFrame({
        "method": method, "calibrated": calibrated, "bin": range(CALIBRATION_BINS),
        "probability": mean_over_seeds(probability),
        "images": np.nan_to_num(mean_over_seeds(images)), "mean": mean, "low": low, "high": high,
    }), float(np.mean(errors)) if errors else np.nan
