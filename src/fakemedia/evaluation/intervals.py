"""95 % intervals by a bootstrap over source groups and seeds.

Images made from one photograph are alike, so photographs (source groups) are drawn, not images, over all tasks at
once; seeds, where there are several, are drawn too, independently of the groups. Every method and stage gets the same
draws: differences between methods are paired. Of n units n - 1 are drawn with replacement (Rao and Wu, JASA 1988), so
that the variance of the draws is unbiased even for few photographs or seeds.

The interval reaches a quantile of Student's t times their standard deviation to either side of the point estimate; the
degrees of freedom allow for the few units that the variance was estimated from (Satterthwaite, Biometrics Bulletin
1946). The scale is that of log-odds between the ends of the quantity's range, by the delta method, so that the interval
stays in the range and is wider on the longer side: for an AUC as in Pepe (The Statistical
Evaluation of Medical Tests, 2003), for a correlation it is Fisher's z. Percentiles of the draws cannot go beyond the
most extreme unit, which is too narrow with few units. Where nothing varies (every image is correct) the interval is a
point.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import csr_array
from scipy.special import expit, logit, stdtrit

Floats = NDArray[np.float64]
Bounds = tuple[ArrayLike, ArrayLike]
LEVEL = 0.95
PERCENT: Bounds = (0.0, 100.0)
FRACTION: Bounds = (0.0, 1.0)
CORRELATION: Bounds = (-1.0, 1.0)
DRAWS = 1000


def draw_weights(units: int, draws: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return the count of each unit in each draw, float32 (draws, units): n - 1 of n, with replacement.

    A single unit has no spread: its weights are NaN.
    """
    if units == 1:
        return np.full((draws, 1), np.nan, dtype=np.float32)
    indices = rng.integers(units, size=(draws, units - 1))
    return np.stack([np.bincount(row, minlength=units) for row in indices]).astype(np.float32)


def resampled_means(values: Floats, groups: NDArray[np.integer], weights: NDArray[np.float32]) -> Floats:
    """Return the mean of `values` in each draw of the groups, float64 (B, C); NaN where a draw holds no image.

    `values` are (N, C), one row per image and one column per quantity; `groups` (N,) gives the image's group, a column
    of `weights` (B, G).
    """
    present, rows = np.unique(groups, return_inverse=True)
    members = csr_array((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(len(present), len(rows)))
    drawn_counts = weights[:, present].astype(np.float64)
    total = drawn_counts @ (members @ values)
    count = drawn_counts @ members.sum(axis=1)
    return np.divide(total, count[:, None], out=np.full(total.shape, np.nan), where=count[:, None] > 0)


def mean_over_seeds(values: Floats, weights: NDArray[np.float32] | None = None) -> Floats:
    """Return the mean over the first axis after the draws, leaving out NaN, which marks a seed that was not run.

    Without `weights` the values are (n_seeds, ...), with them (B, n_seeds, ...) and weights (B, n_seeds). NaN where no
    seed is left.
    """
    axis = 0 if weights is None else 1
    finite = ~np.isnan(values)
    weight = finite.astype(np.float64)
    if weights is not None:
        weight *= weights.reshape(weights.shape + (1,) * (values.ndim - 2))
    count = weight.sum(axis=axis)
    total = (np.where(finite, values, 0) * weight).sum(axis=axis)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def variance(values: Floats) -> Floats:
    """Return the unbiased variance over the first axis, leaving out NaN; NaN where fewer than two are left."""
    finite = ~np.isnan(values)
    count = finite.sum(axis=0)
    deviations = np.where(finite, values - mean_over_seeds(values), 0)
    return np.divide((deviations**2).sum(axis=0), count - 1, out=np.full(count.shape, np.nan), where=count > 1)


def degrees_of_freedom(values: Floats, total: Floats, groups: ArrayLike) -> Floats:
    """Return the degrees of freedom (...) of the variance `total` (...) of the mean over seeds of `values` (K, ...).

    Satterthwaite's: of `total`, s^2 / K comes from the seeds, with K - 1 degrees of freedom, and the rest from the
    groups, with `groups` - 1. NaN where there is a single group.
    """
    count = (~np.isnan(values)).sum(axis=0)
    seed_variance = np.nan_to_num(variance(values)) / np.maximum(count, 1)
    share = np.divide(seed_variance, total, out=np.zeros(total.shape), where=total > 0).clip(0, 1)
    freedom = np.where(np.asarray(groups) > 1, np.asarray(groups, dtype=np.float64) - 1, np.nan)
    return 1 / (share**2 / np.maximum(count - 1, 1) + (1 - share) ** 2 / freedom)


def t_interval(mean: Floats, total: Floats, freedom: Floats, bounds: Bounds,
               level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the lower and upper end of the interval of `level` about `mean`, (...) each, NaN where any of it is.

    `total` is the variance of the mean, with `freedom` degrees of freedom. `bounds`, which broadcast, are the ends of
    the quantity's range; where the mean is one of them, the interval is on the scale of the quantity.

    >>> low, high = t_interval(np.array([0.9]), np.array([0.03**2]), np.array([7.0]), (0, 1))
    >>> round(float(low[0]), 2), round(float(high[0]), 2)
    (0.8, 0.95)
    """
    lowest, highest = (np.asarray(bound, dtype=np.float64) for bound in bounds)
    half = stdtrit(freedom, (1 + level) / 2) * np.sqrt(total)
    position = (mean - lowest) / (highest - lowest)
    interior = (position > 0) & (position < 1) & (half > 0)
    odds = logit(np.where(interior, position, 0.5))
    step = half / (highest - lowest) / np.where(interior, position * (1 - position), 1)
    low, high = (np.where(interior, lowest + (highest - lowest) * expit(odds + side * step),
                          np.clip(mean + side * half, lowest, highest)) for side in (-1, 1))
    return np.minimum(low, mean), np.maximum(high, mean)
