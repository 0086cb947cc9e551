"""Full pictures of earlier tasks, held in memory and stored in checkpoints as tensors."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from fakemedia.core.hashing import fingerprint
from fakemedia.core.rng import derive
from fakemedia.memory.budget import MIB, Budget, quotas
from fakemedia.memory.selection import fit_budget, herding_order, random_order
from fakemedia.store.decode import checksum
from fakemedia.store.pixels import PixelStore

PREFIX = "memory."
"""Prefix of the names of its tensors in the state of a method."""
COLUMNS = ("id", "label", "source", "height", "width", "rank")


class StoredPictures(PixelStore):
    """The kept pictures of a task, as a pixel store in memory."""

    def __init__(self, task: str, policy: str, images: pd.DataFrame, pixels: NDArray[np.uint8]) -> None:
        """Hold `images` (COLUMNS; rank: the position in the order of preference of its class) one after another."""
        self.folder = Path(f"memory of {task}")
        self.task, self.split, self.policy, self.streams = task, "memory", policy, False
        self.decoder: dict[str, str] = {}
        self.sizes = 3 * images["height"].to_numpy(np.int64) * images["width"].to_numpy(np.int64)
        self._images = images.assign(offset=np.cumsum(self.sizes) - self.sizes)  # pyright: ignore
        self._pixels = pixels  # pyright: ignore
        self._unchecked = np.zeros(len(images), bool)  # pyright: ignore
        self.fingerprint = fingerprint({"policy": policy, "images": _lists(images),
                                        "pixels": checksum(pixels.data)})

    def __len__(self) -> int:
        return len(self._images)

    def __reduce__(self) -> tuple:
        return StoredPictures, (self.task, self.policy, self.images, self._pixels)

    @property
    def images(self) -> pd.DataFrame:
        """One row per picture: COLUMNS."""
        return self._images.loc[:, list(COLUMNS)]

    def rows_in(self, store: PixelStore) -> NDArray[np.int64] | None:
        """Return the rows of these pictures in `store`, (N,), by their content ids; None if one is missing."""
        row_of_id = {name: row for row, name in enumerate(store.ids)}
        rows = np.array([row_of_id.get(name, -1) for name in self.ids], np.int64)
        return rows if self.policy == store.policy and (rows >= 0).all() else None

    def subset(self, rows: NDArray[np.int64]) -> StoredPictures:
        """Return only the pictures `rows`."""
        return copy_pictures(self, rows, self._images["rank"].to_numpy(np.int64)[rows])


def _lists(images: pd.DataFrame) -> dict[str, list]:
    return {column: images[column].tolist() for column in COLUMNS}


def copy_pictures(store: PixelStore, rows: NDArray[np.int64], ranks: NDArray[np.int64]) -> StoredPictures:
    """Return a copy of the pictures `rows` of `store`."""
    images = pd.DataFrame({
        "id": [store.ids[row] for row in rows], "label": store.labels[rows],
        "source": [store.sources[row] for row in rows], "height": store.heights[rows], "width": store.widths[rows],
        "rank": ranks})
    pixels = np.concatenate([store[row].reshape(-1) for row in rows.tolist()])
    return StoredPictures(store.task, store.policy, images, pixels)


@dataclass(frozen=True)
class Memory:
    """The pictures kept of the tasks learned so far."""

    stores: Mapping[str, StoredPictures] = field(default_factory=dict)
    """By task."""

    def __len__(self) -> int:
        return sum(map(len, self.stores.values()))

    def tensors(self) -> dict[str, Tensor]:
        """Return the memory as tensors, uint8, for the state of a method."""
        state = {}
        for task, store in self.stores.items():
            facts = {"policy": store.policy, "images": _lists(store.images)}
            state[f"{PREFIX}{task}.facts"] = torch.frombuffer(bytearray(json.dumps(facts).encode()), dtype=torch.uint8)
            state[f"{PREFIX}{task}.pixels"] = torch.from_numpy(store._pixels)
        return state

    @classmethod
    def read(cls, state: Mapping[str, Tensor]) -> Memory:
        """Return the memory that is among the tensors of `state`, on the CPU; empty if there is none."""
        stores = {}
        for name, tensor in state.items():
            if name.startswith(PREFIX) and name.endswith(".facts"):
                task = name.removeprefix(PREFIX).removesuffix(".facts")
                facts = json.loads(tensor.numpy().tobytes())
                stores[task] = StoredPictures(task, facts["policy"], pd.DataFrame(facts["images"]),
                                              state[f"{PREFIX}{task}.pixels"].numpy())
        return cls(stores)

    def table(self, config: Budget) -> pd.DataFrame:
        """Return a table with one row per picture: task, COLUMNS, bytes and selection."""
        tables = [store.images.assign(task=task, bytes=store.sizes, selection=config.selection)
                  for task, store in self.stores.items()]
        return pd.concat(tables, ignore_index=True).loc[:, ["task", *COLUMNS, "bytes", "selection"]]


def smallest(stores: Mapping[str, PixelStore]) -> dict[tuple[str, int], int]:
    """Return the bytes of the smallest picture of each (task, class)."""
    return {(task, label): int(3 * (store.heights * store.widths)[store.labels == label].min())
            for task, store in stores.items() for label in np.unique(store.labels).tolist()}


def update_memory(memory: Memory, learned: Mapping[str, PixelStore], config: Budget, *, seed: int,
                  features: Callable[[PixelStore], NDArray[np.floating]]) -> Memory:
    """Return the memory after learning the tasks of `learned`: equal numbers of pictures of every class of every task.

    `features` returns the features of a store, (N, D), for herding. Dropped pictures do not return.
    """
    stores = {**memory.stores, **learned}
    cells = {(task, label): np.flatnonzero(store.labels == label) for task, store in stores.items()
             for label in np.unique(store.labels).tolist()}
    counts = quotas({cell: len(rows) for cell, rows in cells.items()}, config.pictures)
    room = float("inf") if config.mib is None else config.mib * MIB / len(cells)
    pictures: dict[str, StoredPictures] = {}
    for task, store in stores.items():
        task_cells = [(rows, counts[cell]) for cell, rows in cells.items() if cell[0] == task]
        if isinstance(store, StoredPictures):
            selected = [_reduced_rows(store, rows, count, room) for rows, count in task_cells]
            pictures[task] = store.subset(np.sort(np.concatenate(selected)))
        else:
            store_features = features(store) if config.selection == "herding" else None
            parts = [_selected_rows(store, rows, count, room, config, seed, store_features)
                     for rows, count in task_cells]
            ranks = np.concatenate([np.arange(len(part)) for part in parts])
            pictures[task] = copy_pictures(store, np.concatenate(parts), ranks)
    return Memory(pictures)


def _selected_rows(store: PixelStore, rows: NDArray[np.int64], count: int, room: float, config: Budget, seed: int,
                   features: NDArray[np.floating] | None) -> NDArray[np.int64]:
    """Return the rows that are kept of a class, in order of preference."""
    if features is None:
        ids = [store.ids[row] for row in rows]
        groups = [store.sources[row] for row in rows] if config.selection == "reservoir" else ids
        order = random_order(ids, groups, derive(seed, "memory"))
    else:
        order = herding_order(features[rows], count)
    return rows[fit_budget(order, _bytes(store, rows), pictures=count, room=room)]


def _reduced_rows(store: StoredPictures, rows: NDArray[np.int64], count: int, room: float) -> NDArray[np.int64]:
    order = np.argsort(store.images["rank"].to_numpy()[rows], kind="stable").tolist()
    return rows[fit_budget(order, _bytes(store, rows), pictures=count, room=room)]


def _bytes(store: PixelStore, rows: NDArray[np.int64]) -> list[int]:
    return (3 * store.heights[rows] * store.widths[rows]).tolist()


def without_memory(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a method's state that are not of the memory."""
    return {name: tensor for name, tensor in state.items() if not name.startswith(PREFIX)}


def cells(stores: Mapping[str, PixelStore]) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """Yield the position of the store, the label and the rows of each class of each task."""
    for task, store in enumerate(stores.values()):
        for label in np.unique(store.labels).tolist():
            yield task, label, np.flatnonzero(store.labels == label)
