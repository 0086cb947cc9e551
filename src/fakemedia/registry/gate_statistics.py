"""Statistics of the gate: is a candidate worse than the champion on the same pictures, and by how much at most?

Both detectors judge every picture at their own deployed threshold. The difference of balanced accuracy (candidate minus
champion) is the mean over the classes of the mean of d = right(candidate) - right(champion), which is -1, 0 or 1; that
of several tasks is the mean over the tasks. Its one-sided bounds are Tango's score bounds for paired proportions
(Statistics in Medicine 1998): their variance is the one that the pictures have if the bound is true. That of Student's
t is the observed one, which is too small where a candidate loses by chance too little: it lets through 6 % at a
confidence of 95 %.

With MIN_DISCORDANT source groups in which the two differ, the bounds are those of the shares of all pictures that
are lost and gained, among as many independent pairs as would give the variance of the estimate over source groups
(effective sample size; Rao and Scott, Annals of Statistics 1984). With fewer groups, that variance is not known well:
the bounds are those of each class, counted in source groups, and the classes are combined by the method of variance
estimates recovery (Zou and Donner, Statistics in Medicine 2008). They stay honest where nothing differs.

A candidate passes if it passes every check: this is an intersection-union test (Berger 1982), which needs no
correction for the number of tasks.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import root_scalar
from scipy.stats import norm

from fakemedia.core.types import FAKE, REAL

Bools = NDArray[np.bool_]
Floats = NDArray[np.float64]
CONFIDENCE = 0.95
"""Of each one-sided bound."""
POWER = 0.8
"""Probability of a decision that the number of pictures needed is computed for."""
MIN_DISCORDANT = 30
"""Source groups that must differ for the variance over them; see above."""
TOLERANCE = 1e-10
"""Of a bound that is found by bisection."""
PASS, FAIL, TOO_FEW = "pass", "fail", "too few to tell"


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """The same pictures judged by both detectors, N of them."""

    labels: NDArray[np.integer]
    """(N,), 0 real and 1 fake; of one class only, the difference is that of this class."""
    sources: NDArray[np.str_]
    """Source group of each, (N,): pictures of one group are not independent."""
    champion: Bools
    """Whether the champion is right, (N,)."""
    candidate: Bools

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def differences(self) -> Floats:
        """d of each picture, (N,)."""
        return self.candidate.astype(np.float64) - self.champion

    @property
    def negative_flips(self) -> float:
        """Share of the pictures that the champion has right and the candidate wrong (Yan et al., CVPR 2021)."""
        return float(np.mean(self.champion & ~self.candidate))


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Difference of balanced accuracy, candidate minus champion, fractions."""

    estimate: float
    low: float
    """One-sided lower bound; -1 where a class has no pictures."""
    high: float
    """One-sided upper bound."""
    discordant: int
    """Source groups in which the detectors differ."""
    spread: float
    """Variance of the estimate times the number of pictures, the share of discordant pictures if all are independent;
    where few groups are discordant, what the lower bound corresponds to."""
    pictures: int


def compare(*tasks: Pictures) -> Difference:
    """Return the difference of balanced accuracy on the pictures of a task, or the mean over `tasks`, with its bounds.

    Source groups of one name are the same photograph in all tasks.
    """
    cells = [(pictures, pictures.labels == label) for pictures in tasks for label in (REAL, FAKE)
             if (pictures.labels == label).any()]
    classes = {id(pictures): len(np.unique(pictures.labels)) for pictures in tasks}
    differences = [pictures.differences[rows] for pictures, rows in cells]
    shares = [1 / (len(tasks) * classes[id(pictures)]) for pictures, _ in cells]
    groups = np.unique(np.concatenate([pictures.sources[rows] for pictures, rows in cells]), return_inverse=True)[1]
    cell_groups = np.split(groups, np.cumsum([len(values) for values in differences])[:-1])
    estimate = float(np.dot(shares, [values.mean() for values in differences]))
    discordant = len(np.unique(groups[np.concatenate(differences) != 0]))
    count = len(groups)
    variance = _variance(differences, shares, groups)
    if discordant >= MIN_DISCORDANT and variance > 0:
        differing = float(np.dot(shares, [np.abs(values).mean() for values in differences]))
        pairs = min(count, (differing - estimate**2) / variance)
        lost, gained = (pairs * (differing + sign * estimate) / 2 for sign in (-1, 1))
        low, high, spread = tango_bound(lost, gained, pairs), -tango_bound(gained, lost, pairs), count * variance
    else:
        low, high = _bounds_of_few_groups(differences, shares, cell_groups, estimate)
        spread = max(count * ((estimate - low) / float(norm.ppf(CONFIDENCE))) ** 2 if discordant else 0.0,
                     (discordant + 1) / (count + 2))
    return Difference(estimate=estimate, low=max(-1.0, low), high=min(1.0, high), discordant=discordant, spread=spread,
                      pictures=count)


def _variance(differences: list[Floats], shares: list[float], groups: NDArray[np.integer]) -> float:
    """Return the variance of the estimate, from what each source group adds to its deviation."""
    parts = [share * (values - values.mean()) / len(values) for values, share in zip(differences, shares, strict=True)]
    added = np.bincount(groups, np.concatenate(parts))
    return float((added**2).sum()) * len(added) / max(1, len(added) - 1)


def _bounds_of_few_groups(differences: list[Floats], shares: list[float], groups: Sequence[NDArray[np.integer]],
                          estimate: float) -> tuple[float, float]:
    """Return the bounds from Tango's for each cell of class and task, counted in source groups."""
    below, above = 0.0, 0.0
    for values, share, cell_groups in zip(differences, shares, groups, strict=True):
        present, members = np.unique(cell_groups, return_inverse=True)
        sizes = np.bincount(members)
        lost, gained = (float((np.bincount(members, values == sign) / sizes).sum()) for sign in (-1, 1))
        mean = (gained - lost) / len(present)
        below += (share * (mean - tango_bound(lost, gained, len(present)))) ** 2
        above += (share * (mean + tango_bound(gained, lost, len(present)))) ** 2
    return estimate - math.sqrt(below), estimate + math.sqrt(above)


def tango_bound(lost: float, gained: float, pairs: float, confidence: float = CONFIDENCE) -> float:
    """Return Tango's one-sided lower bound for (gained - lost) / pairs, the difference of two paired proportions.

    It is the difference D with (gained - lost - pairs D) / sqrt(pairs (2 p + D (1 - D))) = z, where p is the
    probability of a loss that is the most likely for D (Tango 1998, Eqs. 3 and 5). -1 without pairs.

    >>> round(tango_bound(0, 0, 100, 0.975), 4)
    -0.037
    """
    if pairs == 0:
        return -1.0
    z = float(norm.ppf(confidence))

    def excess(difference: float) -> float:
        b = (2 * pairs + lost - gained) * difference - gained - lost
        c = -lost * difference * (1 - difference)
        p = (math.sqrt(max(0.0, b * b - 8 * pairs * c)) - b) / (4 * pairs)
        variance = pairs * (2 * p + difference * (1 - difference))
        return gained - lost - pairs * difference - z * math.sqrt(max(0.0, variance))

    highest = (gained - lost) / pairs - TOLERANCE
    return -1.0 if highest <= -1 else float(root_scalar(excess, bracket=(-1.0, highest), xtol=TOLERANCE).root)


def not_worse(difference: Difference, delta: float) -> str:
    """Return PASS if the lower bound is above -`delta`, FAIL if the estimate is not, else TOO_FEW."""
    return _outcome(difference, -delta)


def better(difference: Difference) -> str:
    """Return PASS if the lower bound is above 0, FAIL if the estimate is not, else TOO_FEW."""
    return _outcome(difference, 0.0)


def _outcome(difference: Difference, limit: float) -> str:
    return PASS if difference.low > limit else FAIL if difference.estimate <= limit else TOO_FEW


def more_pictures(difference: Difference, margin: float) -> int:
    """Return how many more pictures are needed to decide with the probability POWER; 1 at least.

    n = (z_a + z_b)^2 spread / margin^2. `margin` is a fraction: what the estimate is away from the value that would
    fail, at most delta.
    """
    z = float(norm.ppf(CONFIDENCE) + norm.ppf(POWER))
    return max(1, math.ceil(z**2 * difference.spread / margin**2) - difference.pictures)


def summary(outcomes: list[str]) -> str:
    """Return the outcome of all checks: FAIL if one fails, else TOO_FEW if one is undecided, else PASS."""
    return FAIL if FAIL in outcomes else TOO_FEW if TOO_FEW in outcomes else PASS
