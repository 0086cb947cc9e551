"""Has a window of scored pictures drifted from the reference windows before it? Four statistics and their thresholds.

`mmd`      MMD^2 between the embeddings, unbiased estimate (Gretton et al., JMLR 2012, lemma 6), with the kernel
           exp(-|x - y|^2 / median |x - y|^2), embeddings standardised, median and scale from the reference
`ks`       largest distance between the distribution functions of the logits (two-sample Kolmogorov-Smirnov)
`unsure`   share of pictures with the verdict unsure, minus that of the reference
`unknown`  the same for the verdict unknown

Tests of the hypothesis "nothing changed" always fire with thousands of pictures. So a threshold is a quantile of the
same statistic between as many pictures of the reference, drawn at random, and the rest of it; or the largest value
of a reference window against the others, if that is larger: what changes from hour to hour is no drift.

Each threshold is the 1 - LEVELS quantile, and an alarm needs the same statistic above its threshold in two windows in a
row: at most one alarm in 20 windows of a stream that does not change, on average. `mmd` and `ks`, which notice a new
generator, have most of the level.

Embeddings that are whitened by the reference itself would notice more, and be wrong: pictures that the reference does
not hold, of the same kind, are then always far from it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray

from fakemedia.core.rng import generator
from fakemedia.similarity.pair_means import mean_of_others

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]
STATISTICS = ("mmd", "ks", "unsure", "unknown")
LEVELS = {"mmd": 0.1, "ks": 0.1, "unsure": 0.0125, "unknown": 0.0125}
"""Share of the windows of a stream that does not change in which each threshold may be exceeded."""
DRAWS = 1000
"""Draws of a window from the reference, for the thresholds."""
MAX_COMPARED = 500
"""Pictures of a window whose embeddings are compared."""
MAX_REFERENCE_COMPARED = 2500
"""The same for all reference windows together."""
MIN_INCREASE = 3
"""Number of unsure or unknown pictures in a window, beyond the share of the reference, that never counts as drift: a
share of 0 among the pictures of a reference does not exclude so many (rule of three)."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Consecutive pictures that one detector scored."""

    logits: Floats
    """z_fake - z_real, (N,)."""
    unsure: Bools
    """Whether the verdict is unsure, (N,)."""
    unknown: Bools
    """Whether the verdict is unknown, (N,)."""
    embeddings: NDArray[np.floating] | None
    """(N, D); None from a detector without embeddings."""

    def __len__(self) -> int:
        return len(self.logits)


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The statistics and thresholds that windows are compared by."""

    statistics: Mapping[str, Callable[[Window], float]]
    """Each takes a window as large as those of the reference."""
    thresholds: Mapping[str, float]


def make_reference(windows: Sequence[Window]) -> Reference:
    """Return the reference of at least two `windows` of equal size, with its thresholds.

    Without embeddings, in any of them, there is no `mmd`. The draws are the same every time.
    """
    if len(windows) < 2 or len({len(window) for window in windows}) > 1:
        raise ValueError("at least two reference windows of equal size")
    size = len(windows[0])
    membership = _draws(len(windows), size)
    logits = np.concatenate([window.logits for window in windows])
    statistics: dict[str, Callable[[Window], float]] = {"ks": partial(_ks, logits)}
    values = {"ks": _ks_to_rest(logits, membership)}
    for name in ("unsure", "unknown"):
        flags = np.concatenate([getattr(window, name) for window in windows]).astype(np.float64)
        statistics[name] = partial(_increase, name, float(flags.mean()))
        sums = membership @ flags
        values[name] = np.maximum(sums / size - (flags.sum() - sums) / (len(flags) - size), MIN_INCREASE / size)
    embeddings = [window.embeddings for window in windows if window.embeddings is not None]
    if len(embeddings) == len(windows):
        reference_embeddings = _ReferenceEmbeddings(embeddings)
        statistics["mmd"], values["mmd"] = reference_embeddings.squared_mmd, reference_embeddings.to_rest()
    return Reference(statistics=statistics, thresholds={name: _threshold(values[name], 1 - LEVELS[name])
                                                        for name in values})


def measure(window: Window, reference: Reference) -> dict[str, float]:
    """Return every statistic of `window`; without embeddings, `mmd` is NaN."""
    return {name: statistic(window) for name, statistic in reference.statistics.items()}


def exceeded(values: Mapping[str, float], thresholds: Mapping[str, float]) -> tuple[str, ...]:
    """Return the statistics above their thresholds, in the order of STATISTICS."""
    return tuple(name for name in STATISTICS if values.get(name, np.nan) > thresholds.get(name, np.inf))


def _draws(windows: int, size: int) -> Bools:
    """Return which pictures of the reference (P,) are in each window: DRAWS drawn at random, then its own; (W, P)."""
    rng, count = generator(0, "thresholds of drift"), windows * size
    random_windows = np.zeros((DRAWS, count), bool)
    for row in random_windows:
        row[rng.choice(count, size, replace=False)] = True
    reference_windows = np.arange(windows)[:, None] == np.arange(count) // size
    return np.concatenate([random_windows, reference_windows])


def _threshold(values: Floats, level: float) -> float:
    """Return the quantile `level` of the first DRAWS values, or the largest of the others."""
    return float(max(np.quantile(values[:DRAWS], level, method="higher"), values[DRAWS:].max()))


def _ks(reference: Floats, window: Window) -> float:
    from scipy.stats import ks_2samp  # takes a second to import

    return float(ks_2samp(window.logits, reference, method="asymp").statistic)  # pyright: ignore


def _ks_to_rest(logits: Floats, membership: Bools) -> Floats:
    """Return the largest distance between the distribution of logits (P,) in each window and that of the rest, (W,).

    `membership`, bool (W, P), says which are in it.
    """
    order = np.argsort(logits)
    last_of_equal = np.append(np.diff(logits[order]) > 0, True)
    counts = np.cumsum(membership[:, order], axis=1)[:, last_of_equal]
    ranks, sizes = np.flatnonzero(last_of_equal) + 1, membership.sum(1, keepdims=True)
    return np.abs(counts / sizes - (ranks - counts) / (len(logits) - sizes)).max(1)


def _increase(name: str, share: float, window: Window) -> float:
    return float(getattr(window, name).mean()) - share


class _ReferenceEmbeddings:
    """Embeddings of the reference windows, at most MAX_COMPARED of each, with the statistics that the MMD needs."""

    def __init__(self, embeddings: Sequence[NDArray[np.floating]]) -> None:
        self.windows = len(embeddings)
        self.size = min(len(embeddings[0]), MAX_COMPARED, MAX_REFERENCE_COMPARED // self.windows)
        rows = np.concatenate([window_rows[_sample(len(window_rows), self.size)]
                               for window_rows in embeddings]).astype(np.float64)
        self.mean, deviation = rows.mean(0), rows.std(0)
        self.deviation = np.where(deviation > 0, deviation, 1)
        self.rows = (rows - self.mean) / self.deviation
        squares = squared_distances(self.rows, self.rows)
        self.median = float(np.median(squares[np.triu_indices(len(squares), 1)])) or 1.0
        self.gram = np.exp(-squares / self.median)
        self.within = mean_of_others(self.gram)

    def squared_mmd(self, window: Window) -> float:
        """Return the unbiased estimate of MMD^2 between the reference and `window`; NaN without embeddings."""
        if window.embeddings is None:
            return np.nan
        embeddings = window.embeddings[_sample(len(window), self.size)].astype(np.float64)
        rows = (embeddings - self.mean) / self.deviation
        within, cross = (np.exp(-squared_distances(rows, other) / self.median) for other in (rows, self.rows))
        return mean_of_others(within) + self.within - 2 * float(cross.mean())

    def to_rest(self) -> Floats:
        """Return MMD^2 between each window of `_draws` and the rest of the reference, (W,)."""
        membership = _draws(self.windows, self.size).astype(np.float64)
        size, rest = self.size, len(self.rows) - self.size
        sums = membership @ self.gram
        within = (sums * membership).sum(1)
        cross = sums.sum(1) - within
        others = self.gram.sum() - within - 2 * cross
        return ((within - size) / (size * (size - 1)) + (others - rest) / (rest * (rest - 1))
                - 2 * cross / (size * rest))


def squared_distances(x: Floats, y: Floats) -> Floats:
    """Return |x_i - y_j|^2, float64 (N, M), of rows (N, D) and (M, D)."""
    return np.maximum((x**2).sum(1)[:, None] + (y**2).sum(1) - 2 * x @ y.T, 0)


def _sample(total: int, count: int) -> NDArray[np.int64]:
    """Return `count` of `total` rows, sorted, the same every time."""
    return np.sort(generator(0, "embeddings compared").permutation(total)[:count])
