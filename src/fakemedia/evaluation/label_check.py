"""Signs that the labels of a task are swapped: from the AUC matrix, or from a detector's outputs on its pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import StratifiedGroupKFold, cross_val_predict
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fakemedia.evaluation.continual import learning_accuracy
from fakemedia.evaluation.metrics import auc as ranking_auc

Floats = NDArray[np.float64]
INVERTED_AUC = 0.2
"""AUC below which a detector ranks a task the wrong way round; 0.5 is chance."""
MIN_AUC_DIFFERENCE, MIN_STANDARD_ERRORS = 0.1, 2.0
"""Swapped labels are suspected if the fakes of a task are closer to the known real pictures than its real pictures are
by more than this: the minimum difference of AUC, and its minimum in standard errors."""
FOLDS = 5
"""Folds of the cross-validation that separates two groups of pictures, at most."""


@dataclass(frozen=True)
class Outputs:
    """What a detector that has not learned a task computes of some pictures of one class."""

    logits: Floats
    """(N,)."""
    features: NDArray[np.float32]
    """(N, D)."""
    sources: NDArray[np.str_]
    """(N,), the source photographs."""


def auc_before_learning(auc: Floats, learned: NDArray[np.int64]) -> Floats:
    """Return for each task the mean AUC, (T,), of all detectors that have learned other tasks, but not yet this one.

    `auc` is (..., S, T), `learned` (T,) the row of the stage that learned each task, as in `evaluation.continual`. NaN
    for tasks learned at the first stage, and where no detector was scored.
    """
    is_before = np.arange(auc.shape[-2])[:, None] < learned
    values = np.where(is_before, auc, np.nan).reshape(-1, auc.shape[-1])
    return _means(values)


def auc_after_learning(auc: Floats, learned: NDArray[np.int64]) -> Floats:
    """Return for each task the mean AUC, (T,), of all detectors that have just learned it; NaN where there is none."""
    return _means(learning_accuracy(auc, learned).reshape(-1, auc.shape[-1]))


def label_notices(auc: Floats, learned: NDArray[np.int64], tasks: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each of `tasks` (T,) whose labels look swapped: its mean AUC is below INVERTED_AUC."""
    notices = []
    for task, before, after in zip(tasks, auc_before_learning(auc, learned), auc_after_learning(auc, learned),
                                   strict=True):
        if after < INVERTED_AUC:
            notices.append(f"{task}: detectors that have just learned it rank its test images the wrong way round (AUC "
                           f"{after:.2f}): the labels of its test and training images contradict each other")
        elif before < INVERTED_AUC:
            notices.append(f"{task}: detectors that have not learned it rank it the wrong way round (AUC "
                           f"{before:.2f}): check whether its labels, or those of the tasks before it, are swapped; if "
                           "they are right, its traces are the opposite of theirs")
    return tuple(notices)


def distances_if_swapped(known: Sequence[Outputs], reals: Outputs, fakes: Outputs) -> tuple[float, float] | None:
    """Return how far `reals` and `fakes` of a new task are from known real pictures if its labels look swapped.

    None if they do not. `known` are the real pictures of each task that the detector has learned. The real pictures of
    a new task resemble known ones, however the detector classifies its fakes; the labels look swapped if the fakes are
    closer to the known real pictures than the real pictures are. Distances, 0 (indistinguishable) to 0.5 (separable),
    are compared by logits, and by features: those from the nearest task. The standard error is that of two AUCs of 0.5:
    Mann and Whitney, Annals of Mathematical Statistics 18, 1947.
    """
    logits = np.concatenate([task.logits for task in known])
    by_logits = [(logit_distance(logits, group.logits), len(logits)) for group in (reals, fakes)]
    by_features = [_nearest(known, group) for group in (reals, fakes)]
    sizes = len(reals.logits), len(fakes.logits)
    for (real_distance, real_count), (fake_distance, fake_count) in (by_logits, by_features):
        error = np.sqrt(sum((count + size + 1) / (12 * count * size)
                            for count, size in zip((real_count, fake_count), sizes, strict=True)))
        if real_distance - fake_distance > max(MIN_AUC_DIFFERENCE, MIN_STANDARD_ERRORS * error):
            return real_distance, fake_distance
    return None


def _nearest(known: Sequence[Outputs], group: Outputs) -> tuple[float, int]:
    """Return the minimum feature distance of `group` from a task of `known`, and that task's size; (NaN, 1) if none."""
    distances = [(feature_distance(task, group), len(task.logits)) for task in known]
    return min((pair for pair in distances if not np.isnan(pair[0])), default=(float("nan"), 1))


def logit_distance(reference: Floats, logits: Floats) -> float:
    """Return how far `logits` (N,) are from `reference` logits (K,): |AUC - 0.5|."""
    labels = np.repeat([0, 1], [len(reference), len(logits)])
    return abs(float(ranking_auc(labels, np.concatenate([reference, logits]))) - 0.5)


def feature_distance(reference: Outputs, group: Outputs) -> float:
    """Return how well a linear classifier of features separates two groups of pictures: its AUC - 0.5, at least 0.

    The AUC is that of cross-validation in which a source photograph is in one fold only; NaN where there are too few
    photographs for that.
    """
    features = np.concatenate([reference.features, group.features]).astype(np.float64)
    sources = np.concatenate([reference.sources, group.sources])
    labels = np.repeat([0, 1], [len(reference.sources), len(group.sources)])
    n_folds = min(FOLDS, len(np.unique(reference.sources)), len(np.unique(group.sources)))
    if n_folds < 2:
        return float("nan")
    splitter = StratifiedGroupKFold(n_folds, shuffle=True, random_state=0)
    folds = list(splitter.split(features, labels, sources))
    if any(len(np.unique(labels[training])) < 2 for training, _ in folds):
        return float("nan")
    model = make_pipeline(StandardScaler(), RidgeClassifier(alpha=features.shape[1]))
    scores: Any = cross_val_predict(model, features, labels, cv=folds, method="decision_function")
    return max(float(ranking_auc(labels, scores)) - 0.5, 0.0)


def _means(values: Floats) -> Floats:
    """Return the mean over the first axis of (N, T), leaving out NaN; NaN where nothing is left."""
    finite = ~np.isnan(values)
    count = finite.sum(axis=0)
    return np.divide(np.where(finite, values, 0).sum(axis=0), count, out=np.full(values.shape[1], np.nan),
                     where=count > 0)
