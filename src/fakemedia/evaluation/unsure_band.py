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
STEP = 1 / 32
"""From one band of the sequence to the next, as a share of the pictures."""
FIRST = (0.25, 0.75)
"""Least and greatest share of the pictures that the first band leaves sure."""
FIRST_PICTURES = 2.5
"""Independent pictures that the first band leaves sure where FIRST allows, as a multiple of `pictures_needed`: with so
many, one or two errors do not end the sequence."""
ROUNDING = 1e-9
"""Differences between sums of weights that are rounding: a picture weighs more in any split of a sensible size."""


def pictures_needed(target: float, confidence: float) -> int:
    """Return the fewest independent pictures, all right, that show an accuracy of `target` with `confidence`.

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
    used: set[str] = set()
    chosen: list[int] = []
    while queues:
        drawn = []
        for cell in sorted(queues, key=lambda cell: supply[cell]):
            queue = queues[cell]
            while queue and sources[queue[-1]] in used:
                queue.pop()
            if not queue:
                return np.array(chosen, np.int64)
            drawn.append(queue.pop())
            used.add(str(sources[drawn[-1]]))
        chosen += drawn
    return np.array(chosen, np.int64)


def band_ends(odds: Floats, weights: Floats, shares: Floats) -> tuple[Floats, Floats]:
    """Return the lower and upper ends, (S,) each, of bands that leave `shares` (S,) of the weight outside, half a side.

    Ends are midway between neighbouring values of `odds` (N,); equal values are on one side of an end, so that more
    than the share may be outside. `weights` (N,) add up to 1. Both ends of share 1 are the weighted median.
    """
    values, place = np.unique(odds, return_inverse=True)
    below = np.cumsum(np.bincount(place, weights))
    middles = np.append((values[:-1] + values[1:]) / 2, values[-1])
    low = middles[np.minimum(np.searchsorted(below, shares / 2 - ROUNDING), len(values) - 1)]
    upper = np.minimum(np.searchsorted(below, 1 - shares / 2 + ROUNDING), len(values) - 1)
    return low, np.maximum(low, middles[np.maximum(upper - 1, 0)])


def fit_band(labels: Integers, odds: Floats, weights: Floats, tested: NDArray[np.int64], *, target: float,
             confidence: float) -> tuple[float, float] | None:
    """Return the ends, in log-odds, of the narrowest band outside which accuracy is `target` with `confidence`.

    A picture is sure to be real at the lower end or below it, and sure to be fake above the upper end. `tested` are the
    rows of `independent_pictures`. None where no band passes, and where a class is absent.
    """
    needed = pictures_needed(target, confidence)
    if len(tested) < needed or len(np.unique(labels)) < 2:
        return None
    first = min(1.0, max(needed / len(tested), float(np.clip(FIRST_PICTURES * needed / len(tested), *FIRST))))
    low, high = band_ends(odds, weights, np.append(np.arange(first, 1, STEP), 1.0))
    tried, fake = odds[tested][:, None], (labels[tested] == FAKE)[:, None]
    is_real, is_fake = tried <= low, tried > high
    sure = (is_real | is_fake).sum(axis=0)
    right = ((is_real & ~fake) | (is_fake & fake)).sum(axis=0)
    passed = binom.sf(right - 1, sure, target) <= 1 - confidence
    last = int(np.argmin(np.append(passed, False))) - 1
    return None if last < 0 else (float(low[last]), float(high[last]))
