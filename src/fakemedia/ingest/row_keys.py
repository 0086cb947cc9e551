"""What the audit keeps in memory of every image: some numbers that tell which images it must examine."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pandas.util import hash_array

from fakemedia.core.types import SPLITS
from fakemedia.ingest.parts import Index
from fakemedia.ingest.perceptual import near_pairs

MIN_SPREAD = 1.0
"""Standard deviation of the grey levels (0 to 255) under which a picture counts as empty."""
MAX_GREY_DIFFERENCE = 6.0
"""Largest difference in mean and in spread of the grey levels between near duplicates."""
Rows = NDArray[np.int64]
COLUMNS = ("id", "source", "split", "phash", "mean", "spread", "tiles", "error")


@dataclass(frozen=True)
class Keys:
    """Numbers about every row of an index, (N,) each; 45 bytes a row."""

    id: NDArray[np.uint64]
    """Hash of the content id, 64 bits."""
    source: NDArray[np.uint64]
    """Hash of the source group, 64 bits."""
    phash: NDArray[np.uint64]
    mean: NDArray[np.float64]
    spread: NDArray[np.float64]
    split: NDArray[np.int8]
    """Its position in SPLITS."""
    readable: NDArray[np.bool_]
    """Whether the image can be read."""
    flagged: NDArray[np.bool_]
    """Whether it is unreadable, nearly empty or a sheet."""
    has_source: NDArray[np.bool_]
    """Whether the source photograph is known."""

    @cached_property
    def order(self) -> Rows:
        """The rows that can be read: train before val before test, by path inside each."""
        readable = np.flatnonzero(self.readable)
        return readable[np.argsort(self.split[readable], kind="stable")]

    def copies(self) -> Rows:
        """Return the rows whose content another row has."""
        return self.order[_repeated(self.id[self.order])[0]]

    def source_leaks(self) -> Rows:
        """Return the rows of known sources that have rows in several splits."""
        rows = np.flatnonzero(self.has_source)
        rows = rows[np.argsort(self.source[rows], kind="stable")]
        if not len(rows):
            return rows
        source, split = self.source[rows], self.split[rows]
        starts = np.flatnonzero(np.r_[True, source[1:] != source[:-1]])
        leaks = np.minimum.reduceat(split, starts) < np.maximum.reduceat(split, starts)
        return rows[np.repeat(leaks, np.diff(np.r_[starts, len(rows)]))]

    def near(self) -> tuple[Rows, NDArray[np.int64]]:
        """Return rows, train before val before test, and the pairs of them that are nearly the same picture, (P, 2).

        Of rows with one content only the last one counts. Pairs in one split are of different source groups.
        """
        rows = self.order[~_repeated(self.id[self.order])[1]]
        rows = rows[self.spread[rows] >= MIN_SPREAD]

        def similar(first: Rows, second: Rows) -> NDArray[np.bool_]:
            i, j = rows[first], rows[second]
            return ((abs(self.mean[i] - self.mean[j]) <= MAX_GREY_DIFFERENCE)
                    & (abs(self.spread[i] - self.spread[j]) <= MAX_GREY_DIFFERENCE)
                    & ((self.split[i] != self.split[j]) | (self.source[i] != self.source[j])))

        return rows, near_pairs(self.phash[rows], keep=similar)


def row_keys(index: Index) -> Keys:
    """Return the keys of all rows, read part by part."""
    parts = [_keys(frame) for frame in index.frames(COLUMNS)]
    return Keys(**{name: np.concatenate([part.pop(name) for part in parts]) for name in list(parts[0])})


def hashes(texts: Any) -> NDArray[np.uint64]:
    """Return a hash of each text, 64 bits: of ten million different ones, two are equal with a chance of 3e-6."""
    return hash_array(np.asarray(texts, object), categorize=False)  # pyright: ignore[reportCallIssue]


def _keys(frame: pd.DataFrame) -> dict[str, np.ndarray]:
    readable = (frame["error"] == "").to_numpy(bool)
    positions = {split: position for position, split in enumerate(SPLITS)}
    return {
        "id": hashes(frame["id"]), "source": hashes(frame["source"]), "phash": _words(frame["phash"]),
        "mean": frame["mean"].to_numpy(), "spread": frame["spread"].to_numpy(),
        "split": frame["split"].map(positions.get).to_numpy(np.int8), "readable": readable,
        "flagged": np.any([~readable, frame["spread"] < MIN_SPREAD, frame["tiles"] > 0], axis=0),
        "has_source": (frame["source"] != frame["id"]).to_numpy(bool),
    }


def _words(texts: Any) -> NDArray[np.uint64]:
    """Return 64-bit numbers written as 16 hex digits; 0 for empty texts."""
    return np.array([int(text or "0", 16) for text in texts], np.uint64)


def _repeated(values: NDArray[np.uint64]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return which values occur several times, and which of them are not the last of their kind."""
    order = np.argsort(values, kind="stable")
    same = values[order[1:]] == values[order[:-1]]
    several, earlier = np.zeros((2, len(values)), bool)
    earlier[order[:-1]] = same
    several[order[1:]] = same
    return several | earlier, earlier
