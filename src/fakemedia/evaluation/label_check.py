"""Signs that the labels of a task are swapped: from the AUC matrix, or from the logits of a detector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fakemedia.evaluation.continual import learning_accuracy
from fakemedia.evaluation.metrics import auc as area

Floats = NDArray[np.float64]
BACKWARDS = 0.2
"""AUC below which a detector ranks a task the wrong way round; 0.5 is chance."""
NEARER, ERRORS = 0.1, 2.0
"""By how much nearer to the known real pictures the fakes of a task must be than its real pictures, for swapped labels
to be suspected: as a difference of AUC, and in standard errors of it."""


def auc_before_learning(auc: Floats, learned: NDArray[np.int64]) -> Floats:
    """Return for each task the mean AUC, (T,), of all detectors that have learned other tasks, but not yet this one.

    `auc` is (..., S, T), `learned` (T,) the row of the stage that learned each task, as in `evaluation.continual`. NaN
    for tasks learned at the first stage, and where no detector was scored.
    """
    before = np.arange(auc.shape[-2])[:, None] < learned
    values = np.where(before, auc, np.nan).reshape(-1, auc.shape[-1])
    return _means(values)


def auc_after_learning(auc: Floats, learned: NDArray[np.int64]) -> Floats:
    """Return for each task the mean AUC, (T,), of all detectors that have just learned it; NaN where there is none."""
    return _means(learning_accuracy(auc, learned).reshape(-1, auc.shape[-1]))


def label_notices(auc: Floats, learned: NDArray[np.int64], tasks: Sequence[str]) -> tuple[str, ...]:
    """Return a sentence for each of `tasks` (T,) whose labels look swapped: its mean AUC is below BACKWARDS."""
    notices = []
    for task, before, after in zip(tasks, auc_before_learning(auc, learned), auc_after_learning(auc, learned),
                                   strict=True):
        if after < BACKWARDS:
            notices.append(f"{task}: detectors that have just learned it rank its test images the wrong way round (AUC "
                           f"{after:.2f}): the labels of its test and training images contradict each other")
        elif before < BACKWARDS:
            notices.append(f"{task}: detectors that have not learned it rank it the wrong way round (AUC "
                           f"{before:.2f}): check whether its labels, or those of the tasks before it, are swapped; if "
                           "they are right, its traces are the opposite of theirs")
    return tuple(notices)


def distance(known: Floats, logits: Floats) -> float:
    """Return how far `logits` (N,) are from those of `known` pictures (K,): |AUC - 0.5|, 0 (alike) to 0.5 (apart)."""
    labels = np.repeat([0, 1], [len(known), len(logits)])
    return abs(float(area(labels, np.concatenate([known, logits]))) - 0.5)


def look_swapped(known: Floats, reals: Floats, fakes: Floats) -> bool:
    """Return whether the `fakes` (F,) of a new task look more like `known` real pictures (K,) than its `reals` (R,) do.

    All are logits of a detector that has not learned the task. It may rank a new generator the wrong way round, when
    the fakes look more real than real pictures; its real pictures look like known ones nevertheless. The standard
    error is that of two AUCs of 0.5: Mann and Whitney, Annals of Mathematical Statistics 18, 1947.
    """
    error = np.sqrt(sum((len(known) + len(each) + 1) / (12 * len(known) * len(each)) for each in (reals, fakes)))
    return distance(known, reals) - distance(known, fakes) > max(NEARER, ERRORS * error)


def _means(values: Floats) -> Floats:
    """Return the mean over the first axis of (N, T), leaving out NaN; NaN where nothing is left."""
    finite = ~np.isnan(values)
    count = finite.sum(axis=0)
    return np.divide(np.where(finite, values, 0).sum(axis=0), count, out=np.full(values.shape[1], np.nan),
                     where=count > 0)
