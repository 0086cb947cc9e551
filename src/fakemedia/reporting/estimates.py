"""Accuracy and AUC matrices of all runs; estimates, intervals and comparisons of what is computed from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit, stdtr

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
MIN_SEEDS = 3
"""Fewer seeds show no significant difference: how far training runs differ is then hardly known."""
SIGNIFICANT = 0.05
SHARE_BOUNDS: Bounds = (-10_000.0, 10_000.0)
"""Percent; wide enough that the ends do not bend the interval of a share of a gap."""


@dataclass(frozen=True)
class Bootstrap:
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
    images: NDArray[np.int64]
    """Test images of each task, (T,)."""
    learned: NDArray[np.int64]
    groups: int
    task_groups: NDArray[np.int64]


def measure(results: Results, *, draws: int = DRAWS, seed: int = 0) -> Bootstrap:
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
        is_correct = metrics.correct(task.labels, logits).astype(np.float64)
        accuracy[scored, t] = 100 * is_correct.mean(axis=-1)
        accuracy_draws[:, scored, t] = 100 * resampled_means(is_correct.T, task.groups, weights)
        for label, side in ((0, ~fake), (1, fake)):
            if side.any():
                class_correct = metrics.correct(task.labels[side], task.logits[last, -1][:, side]).astype(np.float64)
                by_class[last, label, t] = 100 * class_correct.mean(axis=-1)
                by_class_draws[:, last, label, t] = 100 * resampled_means(class_correct.T, task.groups[side], weights)
        if fake.any() and not fake.all():
            placements = metrics.placements(task.labels, logits)
            auc[scored, t] = placements[:, fake].mean(axis=-1)
            parts = [resampled_means(placements[:, side].T, task.groups[side], weights) for side in (fake, ~fake)]
            auc_draws[:, scored, t] = np.clip(parts[0] + parts[1] - auc[scored, t], 0, 1)
    return Bootstrap(accuracy=accuracy, auc=auc, by_class=by_class, accuracy_draws=accuracy_draws, auc_draws=auc_draws,
                     by_class_draws=by_class_draws, seed_weights=seed_weights,
                     images=np.array([0 if task is None else len(task.labels) for task in results.scores]),
                     learned=continual.learned_at(results.stages), groups=results.groups,
                     task_groups=np.array([0 if task is None else len(np.unique(task.groups))
                                           for task in results.scores]))


def over_seeds(values: Floats, draws: Floats, seed_weights: NDArray[np.float32], *, groups: ArrayLike,
               bounds: Bounds) -> tuple[Floats, Floats, Floats]:
    """Return mean over seeds, lower and upper end, (...) each, of `values` (K, ...) and their `draws` (B, K, ...).

    `groups` is how many source groups the values rest on, `bounds` the ends of their range; both broadcast.
    """
    mean, total, freedom = _spread(values, draws, seed_weights, groups)
    return mean, *t_interval(mean, total, freedom, bounds)


def _spread(values: Floats, draws: Floats, seed_weights: NDArray[np.float32],
            groups: ArrayLike) -> tuple[Floats, Floats, Floats]:
    """Return the mean over seeds, its variance and the degrees of freedom of that, (...) each."""
    mean, total = mean_over_seeds(values), variance(mean_over_seeds(draws, seed_weights))
    return mean, total, degrees_of_freedom(values, total, groups)


def estimate(bootstrap: Bootstrap, quantity: Quantity, bounds: Bounds,
             groups: ArrayLike | None = None) -> tuple[Floats, Floats, Floats]:
    """Return mean over seeds, lower and upper end of `quantity(accuracy, auc)` for each method: (M, ...) each.

    `quantity` takes matrices (..., S, T) and returns (..., *rest); `bounds` are the ends of its range. `groups` is how
    many source groups it rests on, by default those of all tasks.
    """
    return over_seeds(quantity(bootstrap.accuracy, bootstrap.auc),
                      quantity(bootstrap.accuracy_draws, bootstrap.auc_draws), bootstrap.seed_weights,
                      groups=bootstrap.groups if groups is None else groups, bounds=bounds)


def estimate_difference(bootstrap: Bootstrap, quantity: Quantity, baseline: int,
                        bounds: Bounds) -> tuple[Floats, Floats, Floats, Floats]:
    """Return `estimate` of the difference of each method from the method number `baseline`, and its p-value.

    Paired: within each seed, that both must have, and within each draw. `bounds` are those of the quantity. The
    p-values, (M, ...), are corrected for the number of methods compared; see `p_values`.
    """
    values, draws = (quantity(*matrices) for matrices in _matrices(bootstrap))
    gaps, gap_draws = values - values[:, [baseline]], draws - draws[:, :, [baseline]]
    span = bounds_of_difference(bounds)
    p = p_values(gaps, gap_draws, bootstrap.seed_weights, groups=bootstrap.groups, bounds=span)
    p[baseline] = np.nan
    return *over_seeds(gaps, gap_draws, bootstrap.seed_weights, groups=bootstrap.groups, bounds=span), holm(p)


def among_best(bootstrap: Bootstrap, quantity: Quantity, bounds: Bounds, *, higher: ArrayLike,
               ranked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which methods are not significantly worse than the best one, (M, C), for a quantity (..., C).

    `higher` (C,) says whether more is better; methods that are not `ranked` (M,) are neither best nor compared. None
    is marked where fewer than MIN_SEEDS seeds have the best one, or where all that are compared are equal, and no
    method that fewer seeds have together with the best one: it was not compared.
    """
    values, draws = (quantity(*matrices) for matrices in _matrices(bootstrap))
    mean = mean_over_seeds(values)
    merit = np.where(ranked[:, None] & ~np.isnan(mean), np.where(higher, mean, -mean), -np.inf)
    best = merit.argmax(axis=0)[None, None]
    differences = values - np.take_along_axis(values, best, axis=1)
    p = p_values(differences, draws - np.take_along_axis(draws, best[None], axis=2), bootstrap.seed_weights,
                 groups=bootstrap.groups, bounds=bounds_of_difference(bounds))
    comparable = np.isfinite(merit)
    p[~comparable] = np.nan
    np.put_along_axis(p, best[0], np.nan, axis=0)
    compared = (~np.isnan(differences)).sum(axis=0) >= MIN_SEEDS
    differ = comparable.any(axis=0) & (np.where(comparable, merit, np.inf).min(axis=0) < merit.max(axis=0))
    return comparable & compared & differ & ~(holm(p) < SIGNIFICANT)


def _matrices(bootstrap: Bootstrap) -> tuple[tuple[Floats, Floats], tuple[Floats, Floats]]:
    return (bootstrap.accuracy, bootstrap.auc), (bootstrap.accuracy_draws, bootstrap.auc_draws)


def p_values(differences: Floats, draws: Floats, seed_weights: NDArray[np.float32], *, groups: ArrayLike,
             bounds: Bounds) -> Floats:
    """Return two-sided p-values of `differences` (K, ...), NaN where fewer than MIN_SEEDS seeds have one.

    A p-value is below 0.05 where the 95 % interval of `t_interval` excludes 0; `bounds` lie around 0.
    """
    mean, total, freedom = _spread(differences, draws, seed_weights, groups)
    span = np.asarray(bounds[1], dtype=np.float64)
    position = (np.clip(mean / span, -0.999999, 0.999999) + 1) / 2
    odds = np.abs(logit(position)) * 2 * span * position * (1 - position)
    t = np.divide(odds, np.sqrt(total), out=np.full(np.shape(mean), np.nan), where=total > 0)
    p = np.where((total == 0) & (mean == 0), 1.0, 2 * stdtr(freedom, -t))
    return np.where((~np.isnan(differences)).sum(axis=0) >= MIN_SEEDS, p, np.nan)


def holm(p: Floats) -> Floats:
    """Return the p-values (M, ...) corrected for comparing M at once (Holm 1979), NaN where they are.

    >>> holm(np.array([0.01, 0.04, 0.03])).round(2).tolist()
    [0.03, 0.06, 0.06]
    """
    order = np.argsort(p, axis=0)  # NaN comes last
    count = (~np.isnan(p)).sum(axis=0)
    steps = count - np.arange(len(p)).reshape(-1, *[1] * (p.ndim - 1))
    stepped = np.maximum.accumulate(np.take_along_axis(p, order, axis=0) * steps, axis=0)
    corrected = np.empty_like(p)
    np.put_along_axis(corrected, order, np.minimum(stepped, 1), axis=0)
    return np.where(np.isnan(p), np.nan, corrected)


def bounds_of_difference(bounds: Bounds) -> Bounds:
    """Return the ends of the range of a difference between two values that lie within `bounds`."""
    span = np.subtract(bounds[1], bounds[0])
    return -span, span


def gap_closed(bootstrap: Bootstrap, baseline: int, upper: int | None) -> tuple[Floats, Floats, Floats]:
    """Return the share of the gap in average accuracy that each method closes, percent: mean, low, high, (M,) each.

    (AA - AA of `baseline`) / (AA of `upper` - AA of `baseline`), of means over seeds, the interval by the delta
    method. NaN if the interval of the gap includes 0, since there is then nothing to close, and for the two.
    """
    if upper is None:
        return tuple(np.full(bootstrap.accuracy.shape[1], np.nan) for _ in range(3))  # type: ignore[return-value]
    values, draws = (continual.average_accuracy(accuracy)
                     for accuracy in (bootstrap.accuracy, bootstrap.accuracy_draws))
    gains, gain_draws = values - values[:, [baseline]], draws - draws[:, :, [baseline]]
    gains = np.where(np.isnan(gains[:, [upper]]), np.nan, gains)
    mean = mean_over_seeds(gains)
    gap, low, _ = over_seeds(gains[:, upper], gain_draws[:, :, upper], bootstrap.seed_weights, groups=bootstrap.groups,
                             bounds=bounds_of_difference(continual.RANGES["aa"]))
    if not low > 0:
        return gap_closed(bootstrap, baseline, None)
    share = 100 * mean / gap
    share[[baseline, upper]] = np.nan
    linear, linear_draws = (share + (100 * gain - share * gain[..., [upper]]) / gap for gain in (gains, gain_draws))
    return over_seeds(linear, linear_draws, bootstrap.seed_weights, groups=bootstrap.groups, bounds=SHARE_BOUNDS)
