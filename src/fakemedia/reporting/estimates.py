"""Accuracy and AUC matrices of all runs, and estimates with intervals of whatever is computed from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fakemedia.core.rng import generator
from fakemedia.evaluation import continual, metrics
from fakemedia.evaluation.intervals import (
    DRAWS,
    Bounds,
    degrees_of_freedom,
    draw_weights,
    mean_over_seeds,
    resampled_means,
    t_interval,
    variance,
)
from fakemedia.reporting.results import Results

Floats = NDArray[np.float64]
Quantity = Callable[[Floats, Floats], Floats]


@dataclass(frozen=True)
class Measured:
    """Accuracy (percent) and AUC matrices, float64 (K, M, S, T), and their B bootstrap draws, (B, K, M, S, T).

    `by_class` is the accuracy on real and on fake images after the last stage, (K, M, 2, T), with its draws. `groups`
    is the number of source groups of all tasks together, `task_groups` that of each task, (T,).
    """

    accuracy: Floats
    auc: Floats
    by_class: Floats
    accuracy_draws: Floats
    auc_draws: Floats
    by_class_draws: Floats
    seed_weights: NDArray[np.float32]
    learned: NDArray[np.int64]
    groups: int
    task_groups: NDArray[np.int64]


def measure(results: Results, *, draws: int = DRAWS, seed: int = 0) -> Measured:
    """Return the accuracy and AUC matrices of all runs with `draws` bootstrap draws, drawn from `seed`.

    The AUC of a draw is its linear part, mean of the fake images' placements + mean of the real images' - AUC
    (Hajek projection; the components of DeLong et al. 1988), which differs from the full one by O(1/N).
    """
    shape = (len(results.seeds), len(results.methods), len(results.stages))
    weights = draw_weights(results.groups, draws, generator(seed, "bootstrap", "groups"))
    seed_weights = (draw_weights(shape[0], draws, generator(seed, "bootstrap", "seeds")) if shape[0] > 1
                    else np.ones((draws, 1), dtype=np.float32))
    full = (*shape, len(results.tasks))
    accuracy, auc = np.full(full, np.nan), np.full(full, np.nan)
    accuracy_draws, auc_draws = np.full((draws, *full), np.nan), np.full((draws, *full), np.nan)
    by_class = np.full((*shape[:2], 2, full[-1]), np.nan)
    by_class_draws = np.full((draws, *by_class.shape), np.nan)
    for t, task in enumerate(results.scores):
        if task is None:
            continue
        scored = ~np.isnan(task.logits[..., 0])
        logits, fake = task.logits[scored], task.labels == 1
        last = scored[..., -1]
        right = metrics.correct(task.labels, logits).astype(np.float64)
        accuracy[scored, t] = 100 * right.mean(axis=-1)
        accuracy_draws[:, scored, t] = 100 * resampled_means(right.T, task.groups, weights)
        for label, side in ((0, ~fake), (1, fake)):
            if side.any():
                called = metrics.correct(task.labels[side], task.logits[last, -1][:, side]).astype(np.float64)
                by_class[last, label, t] = 100 * called.mean(axis=-1)
                by_class_draws[:, last, label, t] = 100 * resampled_means(called.T, task.groups[side], weights)
        if fake.any() and not fake.all():
            placed = metrics.placements(task.labels, logits)
            auc[scored, t] = placed[:, fake].mean(axis=-1)
            parts = [resampled_means(placed[:, side].T, task.groups[side], weights) for side in (fake, ~fake)]
            auc_draws[:, scored, t] = np.clip(parts[0] + parts[1] - auc[scored, t], 0, 1)
    return Measured(accuracy=accuracy, auc=auc, by_class=by_class, accuracy_draws=accuracy_draws, auc_draws=auc_draws,
                    by_class_draws=by_class_draws, seed_weights=seed_weights,
                    learned=continual.learned_at(results.stages), groups=results.groups,
                    task_groups=np.array([0 if task is None else len(np.unique(task.groups))
                                          for task in results.scores]))


def over_seeds(values: Floats, draws: Floats, seed_weights: NDArray[np.float32], *, groups: ArrayLike,
               bounds: Bounds) -> tuple[Floats, Floats, Floats]:
    """Return mean over seeds, lower and upper end, (...) each, of `values` (K, ...) and their `draws` (B, K, ...).

    `groups` is how many source groups the values rest on, `bounds` the ends of their range; both broadcast.
    """
    mean, total = mean_over_seeds(values), variance(mean_over_seeds(draws, seed_weights))
    return mean, *t_interval(mean, total, degrees_of_freedom(values, total, groups), bounds)


def estimate(measured: Measured, quantity: Quantity, bounds: Bounds,
             groups: ArrayLike | None = None) -> tuple[Floats, Floats, Floats]:
    """Return mean over seeds, lower and upper end of `quantity(accuracy, auc)` for each method: (M, ...) each.

    `quantity` takes matrices (..., S, T) and returns (..., *rest); `bounds` are the ends of its range. `groups` is how
    many source groups it rests on, by default those of all tasks.
    """
    return over_seeds(quantity(measured.accuracy, measured.auc),
                      quantity(measured.accuracy_draws, measured.auc_draws), measured.seed_weights,
                      groups=measured.groups if groups is None else groups, bounds=bounds)


def estimate_difference(measured: Measured, quantity: Quantity, baseline: int,
                        bounds: Bounds) -> tuple[Floats, Floats, Floats]:
    """Return `estimate` of the difference of each method from the method number `baseline`.

    Paired: within each seed, that both must have, and within each draw. `bounds` are those of the quantity.
    """
    def difference(accuracy: Floats, auc: Floats) -> Floats:
        values = quantity(accuracy, auc)
        return values - np.take(values, [baseline], axis=accuracy.ndim - 3)

    return estimate(measured, difference, bounds_of_difference(bounds))


def bounds_of_difference(bounds: Bounds) -> Bounds:
    """Return the ends of the range of a difference between two values that lie within `bounds`."""
    span = np.subtract(bounds[1], bounds[0])
    return -span, span
