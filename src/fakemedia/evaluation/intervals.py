"""95 % intervals by a bootstrap over source groups and seeds.

Images made from one photograph are alike, so photographs (source groups) are drawn, not images, over all tasks at
once; seeds, where there are several, are drawn too, independently of the groups. Every method and stage gets the same
draws: differences between methods are paired. Of n units n - 1 are drawn with replacement (Rao and Wu, JASA 1988), so
that the variance is unbiased however few photographs or seeds there are; the interval is the percentile interval. With
fewer than about ten units it is still rather too short than too long.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Floats = NDArray[np.float64]
LEVEL = 0.95
DRAWS = 1000


def draw_weights(units: int, draws: int, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return how often each unit is drawn, float32 (draws, units): n - 1 of n, with replacement.

    A single unit says nothing about its spread: its weights are NaN.
    """
    if units == 1:
        return np.full((draws, 1), np.nan, dtype=np.float32)
    picked = rng.integers(units, size=(draws, units - 1))
    return np.stack([np.bincount(row, minlength=units) for row in picked]).astype(np.float32)


def resampled_means(values: Floats, groups: NDArray[np.integer], weights: NDArray[np.float32]) -> Floats:
    """Return the mean of `values` in each draw of the groups, float64 (B, C); NaN where a draw holds no image.

    `values` are (N, C), a row an image and a column a quantity; `groups` (N,) gives the image's group, a column of
    `weights` (B, G).
    """
    present, rows = np.unique(groups, return_inverse=True)
    members = csr_array((np.ones(len(rows)), (rows, np.arange(len(rows)))), shape=(len(present), len(rows)))
    drawn = weights[:, present].astype(np.float64)
    total = drawn @ (members @ values)
    count = drawn @ members.sum(axis=1)
    return np.divide(total, count[:, None], out=np.full(total.shape, np.nan), where=count[:, None] > 0)


def mean_over_seeds(values: Floats, weights: NDArray[np.float32] | None = None) -> Floats:
    """Return the mean over the first axis after the draws, leaving out NaN, which marks a seed that was not run.

    Without `weights` the values are (n_seeds, ...), with them (B, n_seeds, ...) and weights (B, n_seeds). NaN where no
    seed is left.
    """
    axis = 0 if weights is None else 1
    there = ~np.isnan(values)
    each = there.astype(np.float64)
    if weights is not None:
        each *= weights.reshape(weights.shape + (1,) * (values.ndim - 2))
    count = each.sum(axis=axis)
    total = (np.where(there, values, 0) * each).sum(axis=axis)
    return np.divide(total, count, out=np.full(count.shape, np.nan), where=count > 0)


def percentile_interval(draws: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Return the lower and upper end of the central `level` of the draws (B, ...), each (...).

    Draws that are NaN are left out; NaN where none is left.

    >>> low, high = percentile_interval(np.arange(1001.0))
    >>> round(float(low)), round(float(high))
    (25, 975)
    """
    tail = (1 - level) / 2
    flat = draws.reshape(len(draws), -1)
    ends = np.full((2, flat.shape[1]), np.nan)
    whole = ~np.isnan(flat).any(axis=0)
    ends[:, whole] = np.quantile(flat[:, whole], [tail, 1 - tail], axis=0)
    for column in np.flatnonzero(~whole & ~np.isnan(flat).all(axis=0)):
        ends[:, column] = np.nanquantile(flat[:, column], [tail, 1 - tail])
    low, high = ends.reshape(2, *draws.shape[1:])
    return low, high
