"""How well a detector separates fake from real pictures of each task, for its model card."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fakemedia.core.types import make_stages
from fakemedia.evaluation.calibration import Calibration, calibrated_metrics
from fakemedia.evaluation.intervals import FRACTION, PERCENT, Bounds
from fakemedia.evaluation.metrics import task_metrics
from fakemedia.reporting.estimates import measure, over_seeds
from fakemedia.reporting.results import gather

Floats = NDArray[np.float64]
AT_HALF, CALIBRATED = "at 0.5", "at the calibrated threshold"
MEAN = "mean of the learned tasks"


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """A measured value and its 95 % interval; `low` and `high` are NaN where there is none."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class TaskEstimates:
    """The metrics of a task, or of the mean over several."""

    name: str
    learned: bool
    images: int
    sources: int
    values: dict[str, Estimate]
    """By name: `accuracy`, `tpr`, `tnr` (percent) followed by a blank and AT_HALF or CALIBRATED, and `auc`."""
    points: dict[str, float]
    """Values without an interval: as in `evaluation.metrics.task_metrics` and `calibration.calibrated_metrics`."""


def task_estimates(scores: pd.DataFrame, learned: tuple[str, ...],
                   calibration: Calibration | None) -> list[TaskEstimates]:
    """Return the metrics that `scores` give for each task, in order, and for the mean over the `learned` ones.

    `scores` has the columns of `evaluation.predict.score_suite`. The intervals are those of the report for one seed.
    """
    tasks = tuple(scores["task"].unique())
    frames = {AT_HALF: scores}
    if calibration is not None:
        is_fake = calibration.is_fake(scores["logit"].to_numpy())
        frames[CALIBRATED] = scores.assign(logit=np.where(is_fake, 1.0, -1.0))
    intervals: dict[str, tuple[Floats, Floats, Floats]] = {}
    means: dict[str, Estimate] = {}
    rows = np.array([task in learned for task in tasks])
    groups = images = np.zeros(len(tasks), np.int64)
    n_sources = scores.loc[scores["task"].isin(learned), "source"].nunique()
    for threshold, frame in frames.items():
        bootstrap = measure(gather(frame.assign(method="detector", seed=0, stage=1), sequence="of the model card",
                                   network="", stages=make_stages([tasks])))
        groups, images = bootstrap.task_groups, bootstrap.images
        parts = {"accuracy": (bootstrap.accuracy[:, 0, 0], bootstrap.accuracy_draws[:, :, 0, 0], PERCENT),
                 "tnr": (bootstrap.by_class[:, 0, 0], bootstrap.by_class_draws[:, :, 0, 0], PERCENT),
                 "tpr": (bootstrap.by_class[:, 0, 1], bootstrap.by_class_draws[:, :, 0, 1], PERCENT)}
        if threshold == AT_HALF:
            parts["auc"] = (bootstrap.auc[:, 0, 0], bootstrap.auc_draws[:, :, 0, 0], FRACTION)
        for name, (values, draws, bounds) in parts.items():
            key = name if name == "auc" else f"{name} {threshold}"
            intervals[key] = over_seeds(values, draws, bootstrap.seed_weights, groups=groups, bounds=bounds)
            if rows.any():
                means[key] = _mean(values, draws, bounds, rows, bootstrap.seed_weights, n_sources)
    estimates = [TaskEstimates(
        name=task, learned=task in learned, images=int(images[t]), sources=int(groups[t]),
        values={key: Estimate(mean=float(mean[t]), low=float(low[t]), high=float(high[t]))
                for key, (mean, low, high) in intervals.items()},
        points=_points(scores.loc[scores["task"] == task], calibration)) for t, task in enumerate(tasks)]
    if rows.sum() > 1:
        estimates.append(TaskEstimates(name=MEAN, learned=True, images=int(images[rows].sum()), sources=n_sources,
                                       values=means, points={}))
    return estimates


def _mean(values: Floats, draws: Floats, bounds: Bounds, rows: NDArray[np.bool_], seeds: NDArray[np.float32],
          groups: int) -> Estimate:
    mean, low, high = over_seeds(values[:, rows].mean(axis=1), draws[..., rows].mean(axis=2), seeds, groups=groups,
                                 bounds=bounds)
    return Estimate(mean=float(mean), low=float(low), high=float(high))


def _points(scores: pd.DataFrame, calibration: Calibration | None) -> dict[str, float]:
    labels, logits = scores["label"].to_numpy(), scores["logit"].to_numpy()
    calibrated = {} if calibration is None else calibrated_metrics(labels, logits, calibration)
    return {**task_metrics(labels, logits), **calibrated}
