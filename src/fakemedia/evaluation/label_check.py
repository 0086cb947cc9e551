"""Signs that the labels of a task are swapped: from the AUC matrix, or from the logits of a detector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fakemedia.evaluation.continual import learning_accuracy
from fakemedia.evaluation.metrics import auc as ranking_auc

Floats = NDArray[np.float64]
INVERTED_AUC = 0.2
"""AUC below which a detector ranks a task the wrong way round; 0.5 is chance."""
MIN_AUC_DIFFERENCE, MIN_STANDARD_ERRORS = 0.1, 2.0
"""How much closer to the known real pictures the fakes of a task must be than its real pictures before swapped labels
are suspected: as a difference of AUC, and in standard errors of it."""


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


def distance(reference: Floats, logits: Floats) -> float:
    """Return the distance of `logits` (N,) from those of `reference` pictures (K,): |AUC - 0.5|, 0 (alike) to 0.5."""
    labels = np.repeat([0, 1], [len(reference), len(logits)])
    return abs(float(ranking_auc(labels, np.concatenate([reference, logits]))) - 0.5)


def look_swapped(reference: Floats, reals: Floats, fakes: Floats) -> bool:
    """Return whether the `fakes` (F,) of a task look more like `reference` real pictures (K,) than its `reals` (R,) do.

    All are logits of a detector that has not learned the task. It may rank a new generator the wrong way round, when
    the fakes look more real than real pictures; its real pictures look like known ones nevertheless. The standard
    error is that of two AUCs of 0.5: Mann and Whitney, Annals of Mathematical Statistics 18, 1947.
    """
    error = np.sqrt(sum((len(reference) + len(logits) + 1) / (12 * len(reference) * len(logits))
                        for logits in (reals, fakes)))
    return (distance(reference, reals) - distance(reference, fakes)
            > max(MIN_AUC_DIFFERENCE, MIN_STANDARD_ERRORS * error))


def _means(values: Floats) -> Floats:
    """Return the mean over the first axis of (N, T), leaving out NaN; NaN where nothing is left."""
    finite = ~np.isnan(values)
    count = finite.sum(axis=0)
    return np.divide(np.where(finite, values, 0).sum(axis=0), count, out=np.full(values.shape[1], np.nan),
                     where=count > 0)
