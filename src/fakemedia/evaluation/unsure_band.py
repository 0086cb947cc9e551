"""The "unsure" band of scores, chosen so that the accuracy outside it holds on new pictures.

Every class of every task has the same weight in the accuracy. The bands form one sequence: band `share` leaves the
lower half of `share` of the validation pictures as sure to be real and the upper half as sure to be fake. The bands
depend on the scores, not on whether they are right. The sequence is tested from the narrowest share to all pictures,
and the last band before the first failure is taken: learn-then-test with fixed-sequence testing (Angelopoulos, Bates,
Candes, Jordan and Lei, "Learn then test", Annals of Applied Statistics 2025, Section 4), so that no correction for the
number of bands is needed. A band passes if the lower confidence bound of its accuracy (Clopper and Pearson, Biometrika
1934) is `target` or more.

The bound needs independent pictures. Pictures made from one source photograph are alike, so one picture of each source
is tested, equally many of each class of each task.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from fakemedia.core.rng import generator
from fakemedia.core.types import FAKE

Floats = NDArray[np.float64]
Integers = NDArray[np.integer]
SHARE_STEP = 1 / 32
"""From one band of the sequence to the next, as a share of the pictures."""
FIRST_SHARE_RANGE = (0.25, 0.75)
"""Lowest and highest share of the pictures that the first band leaves sure."""
FIRST_PICTURES = 2.5
"""Independent pictures that the first band leaves sure where FIRST_SHARE_RANGE allows, as a multiple of
`pictures_needed`, so that one or two errors do not end the sequence."""
ROUNDING = 1e-9
"""Differences between sums of weights that are rounding: a picture weighs more in any split of a sensible size."""


def pictures_needed(target: float, confidence: float) -> int:
    """Return the fewest independent pictures, all correct, that show an accuracy of `target` with `confidence`.

    >>> pictures_needed(0.95, 0.95)
    59
    """
    return math.ceil(math.log(1 - confidence) / math.log(target) - ROUNDING)


def independent_pictures(cells: Integers, sources: Sequence[str]) -> NDArray[np.int64]:
    """Return the rows of pictures of different sources, equally many of each cell, in a fixed random order.

    `cells` (N,) gives the class and task of each picture, `sources` (N,) its source photograph. Cells draw in turn, the
    one with the fewest sources first, until one has no unused source left.
    """
    queues: dict[int, list[int]] = {int(cell): [] for cell in np.unique(cells)}
    for row in generator(0, "unsure band").permutation(len(cells)).tolist():
        queues[int(cells[row])].append(row)
    supply = Counter({cell: len({sources[row] for row in queue}) for cell, queue in queues.items()})
    used_sources: set[str] = set()
    selected: list[int] = []
    while queues:
        round_rows = []
        for cell in sorted(queues, key=lambda cell: supply[cell]):
            queue = queues[cell]
            while queue and sources[queue[-1]] in used_sources:
                queue.pop()
            if not queue:
                return np.array(selected, np.int64)
            round_rows.append(queue.pop())
            used_sources.add(str(sources[round_rows[-1]]))
        selected += round_rows
    return np.array(selected, np.int64)


def band_ends(odds: Floats, weights: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """Return the lower and upper ends, (S,) each, of bands that leave `shares` (S,) of the weight outside, half a side.

    Ends are midway between neighbouring values of `odds` (N,); equal values are on one side of an end, so that more
    than the share may be outside. `weights` (N,) add up to 1. Both ends of share 1 are the weighted median.
    """
    values, position = np.unique(odds, return_inverse=True)
    cumulative = np.cumsum(np.bincount(position, weights))
    middles = np.append((values[:-1] + values[1:]) / 2, values[-1])
    low = middles[np.minimum(np.searchsorted(cumulative, shares / 2 - ROUNDING), len(values) - 1)]
    upper = np.minimum(np.searchsorted(cumulative, 1 - shares / 2 + ROUNDING), len(values) - 1)
    return low, np.maximum(low, middles[np.maximum(upper - 1, 0)])


def fit_band(labels: Integers, odds: Floats, weights: Floats, test_rows: NDArray[np.int64], *, target: float,
             confidence: float) -> tuple[float, float] | None:
    """Return the ends, in log-odds, of the narrowest band outside which accuracy is `target` with `confidence`.

    A picture is sure to be real at the lower end or below it, and sure to be fake above the upper end. `labels`, `odds`
    and `weights` are (N,); `test_rows` (M,) are the rows of `independent_pictures`. None where no band passes, and
    where a class is absent.
    """
    minimum = pictures_needed(target, confidence)
    if len(test_rows) < minimum or len(np.unique(labels)) < 2:
        return None
    target_share = float(np.clip(FIRST_PICTURES * minimum / len(test_rows), *FIRST_SHARE_RANGE))
    first_share = min(1.0, max(minimum / len(test_rows), target_share))
    low, high = band_ends(odds, weights, np.append(np.arange(first_share, 1, SHARE_STEP), 1.0))
    test_odds, fake = odds[test_rows][:, None], (labels[test_rows] == FAKE)[:, None]
    is_real, is_fake = test_odds <= low, test_odds > high
    sure = (is_real | is_fake).sum(axis=0)
    correct = ((is_real & ~fake) | (is_fake & fake)).sum(axis=0)
    passes = binom.sf(correct - 1, sure, target) <= 1 - confidence
    last = int(np.argmin(np.append(passes, False))) - 1
    return None if last < 0 else (float(low[last]), float(high[last]))
