"""Several arrangements of the same tasks, compared run by run: the same seeds, test images and bootstrap draws."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plan
from fakemedia.core.types import Stage
from fakemedia.evaluation import continual
from fakemedia.evaluation.intervals import DRAWS
from fakemedia.reporting.estimates import Bootstrap, bounds_of_difference, holm, measure, over_seeds, p_values
from fakemedia.reporting.prediction import Run, predictions
from fakemedia.reporting.results import gather

Floats = NDArray[np.float64]
METRICS = ("aa", "forgetting", "learning_accuracy")


@dataclass(frozen=True)
class Comparison:
    """The results of the comparison, as data frames with mean, low, high (95 % interval).

    arrangements: arrangement, method, metric. differences: arrangement, baseline, method, metric, p (corrected for the
    number of arrangements and methods); arrangement minus baseline, paired. predictions: measure, method, target, pairs
    (how many); rank correlations.
    """

    sequence: str
    stages: Mapping[str, tuple[Stage, ...]]
    """The stages of each arrangement, by its label."""
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    groups: int
    arrangements: pd.DataFrame
    differences: pd.DataFrame
    predictions: pd.DataFrame

    @property
    def baseline(self) -> str:
        """The arrangement that the others are compared with."""
        return str(self.differences["baseline"].iloc[0])


def arrangement_labels(plans: Sequence[Plan]) -> dict[str, str]:
    """Return a short label for each sequence: its name, less the words that all names have in common at the start."""
    words = [plan.sequence.split("_") for plan in plans]
    prefix = 0
    while all(len(name_words) > prefix + 1 and name_words[prefix] == words[0][prefix] for name_words in words):
        prefix += 1
    return {plan.sequence: " ".join(name_words[prefix:]) for plan, name_words in zip(plans, words, strict=True)}


def compare(scores: Mapping[str, pd.DataFrame], plans: Sequence[Plan], distances: Mapping[str, pd.DataFrame], *,
            draws: int = DRAWS, seed: int = 0) -> Comparison:
    """Return the comparison of the arrangements in `plans`, the first one's baseline being the second.

    `scores` are the long tables of all methods by sequence, `distances` the square tables by measure. Methods and
    seeds that all have are compared. Raises UserError where two were not scored on the same test images.
    """
    labels = arrangement_labels(plans)
    common = _shared(scores, plans)
    results = {labels[plan.sequence]: gather(common[plan.sequence], sequence=plan.sequence, network=plan.network.name,
                                             stages=plan.stages) for plan in plans}
    bootstraps = {label: measure(result, draws=draws, seed=seed) for label, result in results.items()}
    reference = next(iter(results.values()))
    names, baseline = list(results), labels[plans[1].sequence]
    values, value_draws = (np.stack(parts, axis=-3) for parts in zip(*map(_metrics, bootstraps.values()), strict=True))
    weights = next(iter(bootstraps.values())).seed_weights
    ranges = continual.bounds(METRICS)
    baseline_row = names.index(baseline)
    gains, gain_draws = (metric_array - metric_array[..., baseline_row:baseline_row + 1, :, :]
                         for metric_array in (values, value_draws))
    span = bounds_of_difference(ranges)
    differences = _table(names, reference.methods, over_seeds(gains, gain_draws, weights, groups=reference.groups,
                                                              bounds=span))
    differences.insert(1, "baseline", baseline)
    p = p_values(gains, gain_draws, weights, groups=reference.groups, bounds=span)
    p[baseline_row] = np.nan
    differences["p"] = holm(p.reshape(-1, p.shape[-1])).reshape(-1)
    distinct = {results[label].stages: bootstraps[label] for label in names}  # Equal stages are the same runs.
    runs = {method: [Run(stages=stages, accuracy=bootstrap.accuracy[:, m]) for stages, bootstrap in distinct.items()]
            for m, method in enumerate(reference.methods)}
    return Comparison(
        sequence=plans[0].sequence, stages={label: result.stages for label, result in results.items()},
        methods=reference.methods, seeds=reference.seeds, groups=reference.groups,
        arrangements=_table(names, reference.methods, over_seeds(values, value_draws, weights, groups=reference.groups,
                                                                 bounds=ranges)),
        differences=differences.loc[differences["arrangement"] != baseline].reset_index(drop=True),
        predictions=predictions(runs, distances, weights, draws=draws, seed=seed),
    )


def _shared(scores: Mapping[str, pd.DataFrame], plans: Sequence[Plan]) -> dict[str, pd.DataFrame]:
    """Return the scores of the methods and seeds that all sequences have, rows in one order of images for all."""
    methods = [method.label for method in plans[0].methods
               if all((frame["method"] == method.label).any() for frame in scores.values())]
    seeds = sorted(set.intersection(*(set(frame["seed"]) for frame in scores.values())))
    if not methods or not seeds:
        raise UserError("The sequences have no run in common", where=", ".join(scores),
                        expected="a method and a seed that all have been trained with")
    by_sequence, images = {}, None
    for sequence, frame in scores.items():
        rows = frame.loc[frame["method"].isin(methods) & frame["seed"].isin(seeds)]
        rows = rows.assign(method=pd.Categorical(rows["method"], methods))
        rows = rows.sort_values(["source", "method", "seed", "stage", "task", "id"], kind="stable")
        by_sequence[sequence] = rows.assign(method=rows["method"].astype(str))
        test_images = rows[["task", "id", "source"]].drop_duplicates().sort_values(["task", "id"], ignore_index=True)
        if images is not None and not test_images.equals(images):
            raise UserError("The sequences were not scored on the same test images", where=sequence,
                            expected=f"those of {plans[0].sequence}", do="run them all again")
        images = test_images
    return by_sequence


def _metrics(bootstrap: Bootstrap) -> tuple[Floats, Floats]:
    """Return METRICS of each run, (K, M, 3), and their draws, (B, K, M, 3)."""
    peak = continual.peak_stage(bootstrap.accuracy, bootstrap.learned)
    summaries = [continual.summary(accuracy, auc, bootstrap.learned, peak) for accuracy, auc in (
        (bootstrap.accuracy, bootstrap.auc), (bootstrap.accuracy_draws, bootstrap.auc_draws))]
    values, draws = (np.stack([summary[name] for name in METRICS], axis=-1) for summary in summaries)
    return values, draws


def _table(arrangements: Sequence[str], methods: Sequence[str], values: tuple[Floats, Floats, Floats]) -> pd.DataFrame:
    """Return one row for each of `values`: mean, lower and upper end, (A, M, 3) each."""
    keys = pd.MultiIndex.from_product([arrangements, methods, METRICS], names=["arrangement", "method", "metric"])
    columns = {name: array.reshape(-1) for name, array in zip(("mean", "low", "high"), values, strict=True)}
    return pd.DataFrame(columns, index=keys).reset_index()
