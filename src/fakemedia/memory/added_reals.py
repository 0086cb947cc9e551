"""The training pictures of a task of fakes only, with real ones of the memory."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fakemedia.core.hashing import fingerprint
from fakemedia.core.types import REAL
from fakemedia.memory.memory import Memory
from fakemedia.store.pixels import PixelStore


class AddedReals(PixelStore):
    """The pictures `rows` of several stores, counted through them, as one store; nothing is copied."""

    def __init__(self, parts: Sequence[PixelStore], rows: NDArray[np.int64]) -> None:
        """Take the facts of the first of `parts`; a row may occur more than once."""
        self.parts, self.rows, first = tuple(parts), rows, parts[0]
        self.folder, self.task, self.split = first.folder, first.task, first.split
        self.policy, self.streams = first.policy, first.streams
        ends = np.cumsum([len(part) for part in parts])
        self._part = np.searchsorted(ends, rows, side="right")
        self._row = rows - np.concatenate([[0], ends])[self._part]
        images = pd.concat([pd.DataFrame({"id": part.ids, "label": part.labels, "source": part.sources,
                                          "height": part.heights, "width": part.widths}) for part in parts])
        self._images = images.iloc[rows].reset_index(drop=True)  # pyright: ignore
        self.fingerprint = fingerprint([[part.fingerprint for part in parts], rows.tolist()])

    def __len__(self) -> int:
        return len(self.rows)

    def __reduce__(self) -> tuple:
        return AddedReals, (self.parts, self.rows)

    def __getitem__(self, i: int) -> NDArray[np.uint8]:
        """Return image `i`, uint8 (H, W, 3)."""
        return self.parts[self._part[i]][int(self._row[i])]

    def crops(self, rows: NDArray[np.integer], tops: NDArray[np.integer], lefts: NDArray[np.integer],
              size: int) -> NDArray[np.uint8]:
        """Return square crops as `PixelStore.crops` does."""
        out = np.empty((len(rows), size, size, 3), np.uint8)
        for part in np.unique(self._part[rows]).tolist():
            at = np.flatnonzero(self._part[rows] == part)
            out[at] = self.parts[part].crops(self._row[rows[at]], tops[at], lefts[at], size)
        return out


def has_reals(store: PixelStore) -> bool:
    """Return whether a real picture is in `store`."""
    return bool((store.labels == REAL).any())


def with_reals(store: PixelStore, memory: Memory) -> PixelStore:
    """Return `store` with as many real pictures of `memory` as it has fakes, unless it has real ones itself.

    The tasks of the memory alternate, each in its order of preference, from the start again after its last picture.
    """
    donors = [donor for donor in memory.stores.values() if has_reals(donor)]
    if has_reals(store) or not donors:
        return store
    offsets = np.cumsum([len(store), *(len(donor) for donor in donors)])
    rounds, numbers = np.divmod(np.arange(len(store)), len(donors))
    added_rows = np.empty(len(store), np.int64)
    for number, (offset, donor) in enumerate(zip(offsets, donors, strict=False)):
        rows = np.flatnonzero(donor.labels == REAL)
        rows = rows[np.argsort(donor.images["rank"].to_numpy()[rows], kind="stable")]
        selected = numbers == number
        added_rows[selected] = offset + rows[rounds[selected] % len(rows)]
    return AddedReals([store, *donors], np.concatenate([np.arange(len(store)), added_rows]))
