"""Calibration of a checkpoint: temperature, threshold and the "unsure" band, from validation images only.

There are two: of the logit of the centre crop, and of the mean logit of several crops, which varies less.

The calibrated probability is P(fake) = sigmoid(logit / T) with the temperature T (Guo et al., ICML 2017); its log-odds
are logit / T, kept within +-MAX_LOG_ODDS. An image is classified as fake if P(fake) is above the threshold, and as
unsure if P(fake) is in the band around it (see `evaluation.unsure_band`). `labels` are integers (N,), 0 real, 1 fake;
`logits` float64 (N,), z_fake - z_real; `weights` float64 (N,), the weight of each image, as `equal_weights` gives them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.optimize import root_scalar
from scipy.special import expit

from fakemedia.artefacts.manifest import Recipe, read_checked
from fakemedia.core.errors import UserError
from fakemedia.core.plugin import configure
from fakemedia.core.types import FAKE
from fakemedia.evaluation.metrics import accuracy, expected_calibration_error
from fakemedia.evaluation.unsure_band import ROUNDING, fit_band, independent_pictures, pictures_needed

Floats = NDArray[np.float64]
Labels = NDArray[np.integer]
VERSION = 4
"""Version of `calibrate`: raised when its results change."""
CALIBRATION_FILE = "calibration.json"
"""The calibration's file in a checkpoint's folder."""
TEMPERATURE_RANGE = (0.1, 1000.0)
"""Smallest and largest temperature: separable images would need 0, logits without any information infinity."""
MAX_LOG_ODDS = 30.0
"""Largest log-odds: P(fake) stays 1e-13 away from 0 and 1, where float64 still distinguishes probabilities."""

@dataclass(frozen=True, kw_only=True)
class CalibrationConfig:
    """How checkpoints are calibrated."""

    target: float = 0.95
    """Accuracy outside the unsure band, a fraction, on new pictures of the tasks seen."""
    confidence: float = 0.95
    """Share of calibrations that must reach the target (Angelopoulos et al. 2025: 1 - delta)."""
    least_sources: int = 10
    """Source photographs needed to fit a threshold; with fewer it stays at 0.5, since a threshold fitted to few
    need not be good on others."""

    def __post_init__(self) -> None:
        if not 0.5 < self.target < 1:
            raise ValueError("a target between 0.5 and 1, such as 0.95")
        if not 0.5 <= self.confidence < 1:
            raise ValueError("a confidence of at least 0.5 and below 1, such as 0.95")
        if self.least_sources < 1:
            raise ValueError("least_sources of at least 1")


def calibration_recipe(config: CalibrationConfig, *, scores: str) -> Recipe:
    """Return the recipe of a calibration; `scores` is the content hash of the validation scores."""
    return Recipe(producer="calibration", version=VERSION, settings=vars(config), inputs={"validation_scores": scores})


@dataclass(frozen=True, kw_only=True)
class DecisionRule:
    """From a logit to P(fake) and a verdict."""

    temperature: float
    """T in P(fake) = sigmoid(logit / T)."""
    threshold: float
    """P(fake) above which an image is called fake."""
    unsure_low: float
    """An image is unsure where unsure_low < P(fake) <= unsure_high; nowhere if both equal the threshold."""
    unsure_high: float
    """1, and `unsure_low` 0, where no band is shown to reach the target: every image is unsure."""

    def __post_init__(self) -> None:
        if not (self.temperature > 0 and math.isfinite(self.temperature)):
            raise ValueError("a temperature above 0")
        if not 0 <= self.unsure_low <= self.threshold <= self.unsure_high <= 1:
            raise ValueError("0 <= unsure_low <= threshold <= unsure_high <= 1")

    def probability(self, logits: Floats) -> Floats:
        """Return the calibrated P(fake), in the shape of `logits` (...)."""
        return expit(log_odds(logits, self.temperature))

    def is_fake(self, logits: Floats) -> NDArray[np.bool_]:
        """Return whether each image is called fake, sure or not, in the shape of `logits` (...)."""
        return self.probability(logits) > self.threshold

    def is_sure(self, logits: Floats) -> NDArray[np.bool_]:
        """Return whether each image is outside the unsure band, in the shape of `logits` (...)."""
        probability = self.probability(logits)
        return (probability <= self.unsure_low) | (probability > self.unsure_high)

    def verdict(self, logits: Floats) -> NDArray[np.str_]:
        """Return `real`, `fake` or `unsure` for each image, in the shape of `logits` (...)."""
        return np.where(self.is_sure(logits), np.where(self.is_fake(logits), "fake", "real"), "unsure")


@dataclass(frozen=True, kw_only=True)
class Calibration(DecisionRule):
    """How to interpret the logits of one checkpoint, those of centre crops; made by `calibrate`."""

    several: DecisionRule | None = None
    """The rule for the mean logit of several crops; None: only centre crops were measured, as by earlier versions."""
    several_better: bool | None = None
    """Whether several crops classify the validation images at least as well as the centre crop, each by its own rule;
    None: not measured."""
    target: float
    """Requested accuracy outside the band, a fraction."""
    confidence: float | None = None
    """Confidence with which the target holds outside the band; None: the file is of version 1, whose band was fitted
    and judged on the same images, so that nothing is guaranteed."""
    independent: int = 0
    """Validation images of different sources, equally many of each class of each task, that the band was tested on."""
    images: int
    """Number of validation images used."""
    sources: int
    """Number of their source photographs."""
    tasks: tuple[str, ...]
    """Their tasks: those seen by the checkpoint."""
    weights_sha256: str
    """Hash of the checkpoint's weights."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 0 <= self.target <= 1:
            raise ValueError("a target between 0 and 1")

    def for_crops(self, count: int) -> Calibration:
        """Return the calibration of the mean logit of `count` crops: this one for one crop, or if there is no other."""
        return self if count <= 1 or self.several is None else replace(
            self, **vars(self.several), several=None, several_better=None)

    @property
    def always_unsure(self) -> bool:
        """Whether every image is called unsure, since no band is shown to reach the target."""
        return self.unsure_low <= 0 and self.unsure_high >= 1

    @property
    def guarantee(self) -> str:
        """The guarantee outside the band as a phrase, or the reason why there is none."""
        if self.confidence is None:
            return "no guarantee: calibrated by an earlier version"
        if not self.always_unsure:
            return (f"at least {self.target:.0%} right outside it, with {self.confidence:.0%} confidence, on new "
                    "pictures of these tasks")
        minimum = pictures_needed(self.target, self.confidence)
        if self.independent < minimum:
            return (f"no guarantee: {self.independent} independent validation pictures, at least {minimum} are needed "
                    f"to show {self.target:.0%}")
        return f"no guarantee: no band is shown to reach {self.target:.0%} on validation"

    def to_json(self) -> str:
        """Return the calibration as JSON text, which `from_json` reads back exactly."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: object) -> Calibration:
        """Read the JSON text back; UserError, with the place `where`, if it is not the text of a calibration.

        Files of version 1, with `made_from` and without `confidence` and `independent`, and of version 2, without
        `several`, are read too. Numbers must be finite.
        """
        try:
            values = json.loads(text, parse_constant=_refuse_constant)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise UserError("The calibration cannot be read", where=where,
                            expected="the JSON of a calibration, all numbers finite",
                            do="delete the file and run again with --only-missing-outputs")
        return configure(cls, {key: value for key, value in values.items() if key != "made_from"}, where=where)


def read_calibration(path: Path) -> Calibration | None:
    """Return the calibration in the file `path`; None if there is no file, UserError if it is damaged."""
    if not path.exists():
        return None
    return Calibration.from_json(read_checked(path).decode(errors="replace"), where=path)


def _refuse_constant(name: str) -> float:
    raise ValueError(f"{name} is not a number")


def log_odds(logits: Floats, temperature: float) -> Floats:
    """Return logit / T within +-MAX_LOG_ODDS, in the shape of `logits` (...)."""
    return np.clip(logits / temperature, -MAX_LOG_ODDS, MAX_LOG_ODDS)


def equal_weights(labels: Labels, tasks: Sequence[str]) -> Floats:
    """Return the weight of each image, (N,), equal in sum for every class of every task; they add up to 1.

    Accuracy with these weights is the balanced accuracy (the mean of those on real and fake images), averaged over the
    tasks as the average accuracy is.
    """
    _, cell, counts = np.unique(_cells(labels, tasks), return_inverse=True, return_counts=True)
    return 1 / (counts[cell] * len(counts))


def _cells(labels: Labels, tasks: Sequence[str]) -> NDArray[np.int64]:
    """Return a number (N,) for the class and task of each image."""
    return np.unique(np.asarray(tasks, dtype=np.str_), return_inverse=True)[1] * 2 + (labels == FAKE)


def fit_temperature(labels: Labels, logits: Floats, weights: Floats) -> float:
    """Return the T in TEMPERATURE_RANGE whose logits / T have the smallest negative log-likelihood (Guo et al., Eq. 9).

    It is convex in 1 / T: the minimum is where its derivative is zero, or at an end. 1 where a class is absent or no
    logit differs from zero.
    """
    margins = _margins(labels, logits)
    if not _has_both_classes(labels) or not margins.any():
        return 1.0
    return _temperature(lambda log_inverse: -float(weights @ (margins * expit(-np.exp(log_inverse) * margins))))


def _temperature(slope: Callable[[float], float]) -> float:
    """Return the T in TEMPERATURE_RANGE where `slope`, increasing in -log T, is zero, or the nearest end."""
    low, high = (-math.log(temperature) for temperature in reversed(TEMPERATURE_RANGE))
    if slope(high) <= 0:
        return TEMPERATURE_RANGE[0]
    if slope(low) >= 0:
        return TEMPERATURE_RANGE[1]
    return math.exp(-root_scalar(slope, bracket=(low, high), xtol=1e-12).root)


def fit_affine(labels: Labels, logits: Floats, weights: Floats) -> tuple[float, float]:
    """Return the a and b for which a logit + b has the smallest negative log-likelihood, 1 / a in TEMPERATURE_RANGE.

    The bias correction of Wu et al. (CVPR 2019, Eq. 4) for two classes. a stays above 0: a wrong order is not reversed.
    1 and 0 where a class is absent or all logits are equal.
    """
    if not _has_both_classes(labels) or not np.ptp(logits):
        return 1.0, 0.0
    fakes = float(weights @ (labels == FAKE))

    def offset(scale: float) -> float:
        scaled = scale * logits
        return float(root_scalar(lambda shift: float(weights @ expit(scaled + shift)) - fakes, xtol=1e-12,
                                 bracket=(-scaled.max() - 2 * MAX_LOG_ODDS, -scaled.min() + 2 * MAX_LOG_ODDS)).root)

    def slope(log_scale: float) -> float:
        scale = math.exp(log_scale)
        return float(weights @ (logits * (expit(scale * logits + offset(scale)) - (labels == FAKE))))

    scale = 1 / _temperature(slope)
    return scale, offset(scale)


def fit_threshold(labels: Labels, odds: Floats, weights: Floats) -> float:
    """Return the log-odds above which calling an image fake gives the highest weighted accuracy.

    It is midway between two neighbouring images. Of several equally good ones it is the nearest to 0, and 0 itself if
    none is better or a class is absent.
    """
    if not _has_both_classes(labels):
        return 0.0
    order = np.argsort(odds, kind="stable")
    values, weight, fake = odds[order], weights[order], labels[order] == FAKE
    gaps = np.flatnonzero(np.diff(values) > 0)
    candidates = np.concatenate([[0.0], (values[gaps] + values[gaps + 1]) / 2])
    gains = np.concatenate([[0.0], np.cumsum(np.where(fake, -weight, weight))])
    accuracies = gains[np.searchsorted(values, candidates, side="right")]
    best = candidates[accuracies >= accuracies.max() - ROUNDING]
    return float(best[np.argmin(np.abs(best))])


def calibrate(scores: pd.DataFrame, *, config: CalibrationConfig, weights_sha256: str = "") -> Calibration:
    """Return the calibration of a checkpoint from its scores on the validation images of the tasks it has seen.

    `scores` has the columns of `predict.score_suite`: task, label, source and logit are read. With the column
    logit_crops (float64), the mean logit of several crops of each image, these are calibrated too.
    """
    labels, tasks, sources = scores["label"].to_numpy(), scores["task"].tolist(), scores["source"].tolist()
    test_rows = independent_pictures(_cells(labels, tasks), sources)
    weights = equal_weights(labels, tasks)
    centre, *several = (_rule(scores[name].to_numpy(), labels, tasks, test_rows, config, len(set(sources)))
                        for name in ("logit", "logit_crops") if name in scores)
    accuracies = [float(weights @ (rule.is_fake(scores[name].to_numpy()) == (labels == FAKE)))
                  for rule, name in zip((centre, *several), ("logit", "logit_crops"), strict=False)]
    several_better = accuracies[1] >= accuracies[0] - ROUNDING if several else None
    return Calibration(
        **vars(centre), several=several[0] if several else None, several_better=several_better, target=config.target,
        confidence=config.confidence, independent=len(test_rows), images=len(labels), sources=len(set(sources)),
        tasks=tuple(dict.fromkeys(tasks)),
        weights_sha256=weights_sha256,
    )


def _rule(logits: Floats, labels: Labels, tasks: Sequence[str], test_rows: NDArray[np.int64], config: CalibrationConfig,
          sources: int) -> DecisionRule:
    """Return the rule fitted to `logits` (N,) of images from `sources` photographs; `test_rows` (M,) test the band."""
    weights = equal_weights(labels, tasks)
    temperature = fit_temperature(labels, logits, weights)
    odds = log_odds(logits, temperature)
    threshold = fit_threshold(labels, odds, weights) if sources >= config.least_sources else 0.0
    low, high = fit_band(labels, odds, weights, test_rows, target=config.target,
                         confidence=config.confidence) or (-np.inf, np.inf)
    return DecisionRule(temperature=temperature, threshold=float(expit(threshold)),
                        unsure_low=float(expit(min(low, threshold))), unsure_high=float(expit(max(high, threshold))))


def calibrated_metrics(labels: Labels, logits: Floats, calibration: Calibration) -> dict[str, float]:
    """Return the metrics of one split without and with the calibration.

    accuracy (at P = 0.5), accuracy_calibrated (at the threshold), coverage (images outside the unsure band),
    accuracy_sure (of those), all in percent; ece, ece_calibrated (15 bins, fractions). NaN for no images.
    """
    correct = calibration.is_fake(logits) == (labels == FAKE)
    sure = calibration.is_sure(logits)
    return {
        "accuracy": accuracy(labels, logits),
        "accuracy_calibrated": _percent(correct),
        "coverage": _percent(sure),
        "accuracy_sure": _percent(correct[sure]),
        "ece": expected_calibration_error(labels, logits),
        "ece_calibrated": expected_calibration_error(labels, logits / calibration.temperature),
    }


def _margins(labels: Labels, logits: Floats) -> Floats:
    return np.where(labels == FAKE, logits, -logits)


def _has_both_classes(labels: Labels) -> bool:
    return len(np.unique(labels)) == 2


def _percent(correct: NDArray[np.bool_]) -> float:
    return 100 * float(correct.mean()) if len(correct) else np.nan
