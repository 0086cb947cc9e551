"""Continual-learning metrics of a sequence of stages, from the accuracy and AUC matrices only.

A matrix R is float64 (..., S, T): R[i, j] is the score on task j after stage i, for S stages and T tasks; leading axes
(runs, bootstrap draws) are carried through. `learned` is int64 (T,): the row of the stage that learned each task,
tasks of one group sharing it. Accuracies are in percent, AUC in fractions. What the matrix does not define, and
what depends on a missing (NaN) entry, is NaN: a method trained at the last stage only has an average accuracy but
no forgetting.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fakemedia.core.types import Stage

Floats = NDArray[np.float64]
Rows = NDArray[np.int64]
CHANCE = 50.0
RANGES = {"aa": (0.0, 100.0), "forgetting": (-100.0, 100.0), "bwt": (-100.0, 100.0), "fwt": (-CHANCE, 100.0 - CHANCE),
          "learning_accuracy": (0.0, 100.0), "c_auc": (0.0, 1.0), "fwt_auc": (0.0, 1.0)}
"""Lowest and highest value that each quantity of `summary` can take."""


def bounds(names: Sequence[str]) -> tuple[Floats, Floats]:
    """Return the lowest and the highest values that the quantities `names` of `summary` can take, (N,) each."""
    lowest, highest = np.array([RANGES[name] for name in names]).T
    return lowest, highest


def learned_at(stages: Sequence[Stage]) -> Rows:
    """Return the zero-based row of the stage that learned each task, (T,), tasks in the order of the sequence."""
    return np.array([row for row, stage in enumerate(stages) for _ in stage.tasks], dtype=np.int64)


def _mean(values: Floats) -> Floats:
    """Return the mean over the last axis; NaN, without a warning, where it is empty."""
    return values.mean(axis=-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)


def _at(matrix: Floats, rows: Rows) -> Floats:
    """Return R[rows[j], j] for each task j, (..., T); `rows` is (T,) or has more leading axes."""
    index = np.broadcast_to(rows, (*matrix.shape[:-2], matrix.shape[-1]))
    return np.take_along_axis(matrix, index[..., None, :], axis=-2)[..., 0, :]


def average_accuracy(matrix: Floats) -> Floats:
    """Return AA = mean over tasks j of R[S, j], (...).

    >>> float(average_accuracy(np.array([[90.0, 50.0, 40.0], [70.0, 95.0, 60.0], [60.0, 80.0, 100.0]])))
    80.0
    """
    return _mean(matrix[..., -1, :])


def average_over_seen(matrix: Floats, learned: Rows) -> Floats:
    """Return for each stage i the mean over the tasks seen so far, mean of R[i, j] with stage(j) <= i: (..., S)."""
    return np.stack([_mean(matrix[..., i, learned <= i]) for i in range(matrix.shape[-2])], axis=-1)


def learning_accuracy(matrix: Floats, learned: Rows) -> Floats:
    """Return for each task its score just after it was learned, R[stage(j), j]: (..., T).

    Its mean over tasks is the learning accuracy LA of Riemer et al. (ICLR 2019).
    """
    return _at(matrix, learned)


def peak_stage(matrix: Floats, learned: Rows) -> Rows:
    """Return for each task the row of its best score from the stage that learned it to the last but one: (..., T).

    For tasks learned last it is the last row.
    """
    last = matrix.shape[-2] - 1
    rows = np.arange(last + 1)[:, None]
    allowed = (rows >= learned) & ((rows < last) | (learned == last))
    return np.argmax(np.where(allowed, matrix, -np.inf), axis=-2)


def forgetting_per_task(matrix: Floats, learned: Rows, peak: Rows | None = None) -> Floats:
    """Return for each task max over stages i, stage(j) <= i < S, of R[i, j], minus R[S, j]: (..., T).

    Chaudhry et al. (ECCV 2018); NaN for tasks learned at the last stage. With `peak`, as `peak_stage` gives it, the
    stage of the maximum is given. Resampled matrices need this, since the maximum of noisier values is larger.
    """
    if peak is None:
        peak = peak_stage(matrix, learned)
    lost = _at(matrix, peak) - matrix[..., -1, :]
    return np.where(learned < matrix.shape[-2] - 1, lost, np.nan)


def forgetting(matrix: Floats, learned: Rows, peak: Rows | None = None) -> Floats:
    """Return F, the mean of `forgetting_per_task` over the tasks not learned at the last stage: (...).

    The first task falls from 90 to 60, the second from 95 to 80:

    >>> R = np.array([[90.0, 50.0, 40.0], [70.0, 95.0, 60.0], [60.0, 80.0, 100.0]])
    >>> float(forgetting(R, learned=np.arange(3)))
    22.5
    """
    return _mean(forgetting_per_task(matrix, learned, peak)[..., learned < matrix.shape[-2] - 1])


def backward_transfer(matrix: Floats, learned: Rows) -> Floats:
    """Return BWT = mean of R[S, j] - R[stage(j), j] over the tasks not learned at the last stage: (...).

    Lopez-Paz and Ranzato (NeurIPS 2017); the AF of CDDB (Li et al., WACV 2023).
    """
    return _mean((matrix[..., -1, :] - _at(matrix, learned))[..., learned < matrix.shape[-2] - 1])


def zero_shot(matrix: Floats, learned: Rows) -> Floats:
    """Return for each task its score just before it was learned, R[stage(j) - 1, j]: (..., T).

    NaN for the tasks learned at the first stage.
    """
    return np.where(learned > 0, _at(matrix, np.maximum(learned - 1, 0)), np.nan)


def forward_transfer(matrix: Floats, learned: Rows, chance: float = CHANCE) -> Floats:
    """Return FWT = mean of R[stage(j) - 1, j] - chance over the tasks not learned at the first stage: (...).

    Lopez-Paz and Ranzato (NeurIPS 2017), with chance for the untrained network's score.
    """
    return _mean((zero_shot(matrix, learned) - chance)[..., learned > 0])


def continual_auc(auc: Floats, learned: Rows) -> Floats:
    """Return C-AUC, the mean of AUC[i, j] over all stages i and the tasks seen by then, stage(j) <= i: (...).

    Fontana et al. (arXiv 2509.07993); for AUC what Diaz-Rodriguez et al. (arXiv 1810.13166) take of accuracy.
    """
    return _mean(auc[..., np.arange(auc.shape[-2])[:, None] >= learned])


def forward_auc(auc: Floats, learned: Rows) -> Floats:
    """Return FWT-AUC, the mean of AUC[i, j] over all stages i and the tasks still to come, stage(j) > i: (...).

    Sources as for `continual_auc`; 0.5 is chance.
    """
    return _mean(auc[..., np.arange(auc.shape[-2])[:, None] < learned])


def summary(accuracy: Floats, auc: Floats, learned: Rows, peak: Rows | None = None) -> dict[str, Floats]:
    """Return aa, forgetting, bwt, fwt, learning_accuracy (percent, points), c_auc, fwt_auc (fractions), each (...)."""
    return {
        "aa": average_accuracy(accuracy),
        "forgetting": forgetting(accuracy, learned, peak),
        "bwt": backward_transfer(accuracy, learned),
        "fwt": forward_transfer(accuracy, learned),
        "c_auc": continual_auc(auc, learned),
        "fwt_auc": forward_auc(auc, learned),
        "learning_accuracy": _mean(learning_accuracy(accuracy, learned)),
    }
