"""Batches of pictures of earlier tasks, beside those of a stage."""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fakemedia.core.rng import bits, derive, integers
from fakemedia.memory.memory import Memory, cells
from fakemedia.store.augmentations.augmentation import Augment, augmented
from fakemedia.store.batches import Batch
from fakemedia.store.crops import centre
from fakemedia.store.resident import ResidentPixels

BLOCK_STEPS = 64
"""Steps whose pictures are drawn together."""


class MemoryBatches:
    """Random crops of a memory's pictures, each class of each task as often as any other.

    The pictures of a class are read completely in random order before they start again in a new order. The content of a
    batch depends only on the seed and the step; several processes each use their share of it.
    """

    def __init__(self, memory: Memory, *, crop: int, flip: bool, seed: int, share: tuple[int, int] = (0, 1),
                 device: torch.device | None = None, augment: Augment | None = None) -> None:
        """Take crops of `crop` x `crop` pixels of `memory`; `share`: rank of this process, and number of processes."""
        self.memory, self.crop, self.flip, self.seed = memory, crop, flip, seed
        self._augment = augment
        self.device = device or torch.device("cpu")
        self._rank, self._world = share
        self._stores, self._cells = list(memory.stores.values()), list(cells(memory.stores))
        self._blocks: dict[str, tuple[tuple[int, int], tuple[int, int], NDArray[np.int64]]] = {}

    def batch(self, step: int, size: int, *, at_centre: bool = False, draw: str = "memory",
              whole: bool = False) -> Batch:
        """Return the batch of a step, of `size` pictures in this process, on the device.

        `tasks` are positions in the memory. `at_centre`: centre crops, as they are. `draw` names one of several
        batches of a step. `whole`: the same batch in every process, not a share.
        """
        positions, tasks, rows, labels = self._step_draws(step, size, draw,
                                                          (0, 1) if whole else (self._rank, self._world))
        return Batch(images=self._images(tasks, rows, positions, at_centre, draw), labels=torch.from_numpy(labels),
                     tasks=torch.from_numpy(tasks), rows=torch.from_numpy(rows)).to(self.device)

    def _step_draws(self, step: int, size: int, draw: str, share: tuple[int, int]) -> NDArray[np.int64]:
        """Return positions, tasks, rows and labels of a step's pictures, (4, size), drawn for BLOCK_STEPS steps."""
        (block, offset), (rank, world) = divmod(step, BLOCK_STEPS), share
        if draw not in self._blocks or self._blocks[draw][:2] != ((block, size), share):
            steps = (block * BLOCK_STEPS + np.arange(BLOCK_STEPS)) * world + rank
            positions = (steps[:, None] * size + np.arange(size)).reshape(-1)
            tasks, rows, labels = np.empty((3, len(positions)), np.int64)
            for number, (task, label, members) in enumerate(self._cells):
                at = np.flatnonzero(positions % len(self._cells) == number)
                rows[at] = members[self._order(number, positions[at] // len(self._cells), len(members), draw)]
                tasks[at], labels[at] = task, label
            block_draws = np.stack([positions, tasks, rows, labels]).reshape(4, BLOCK_STEPS, size)
            self._blocks[draw] = (block, size), share, block_draws
        return self._blocks[draw][2][:, offset]

    def _images(self, tasks: NDArray[np.int64], rows: NDArray[np.int64], positions: NDArray[np.int64],
                at_centre: bool, draw: str) -> Tensor:
        """Return the crops of the pictures `rows` of `tasks`, uint8 (N, 3, crop, crop)."""
        tops, lefts, mirrored = np.empty((3, len(rows)), np.int64)
        images = np.empty((len(rows), self.crop, self.crop, 3), np.uint8) if self._resident is None else None
        for task in np.unique(tasks).tolist():
            at = np.flatnonzero(tasks == task)
            tops[at], lefts[at], mirrored[at] = self._crop_positions(task, rows[at], positions[at], at_centre, draw)
            if images is not None:
                images[at] = self._stores[task].crops(rows[at], tops[at], lefts[at], self.crop)
        if self._resident is not None:
            on_device = [torch.from_numpy(array).to(self.device) for array in (tasks, rows, tops, lefts, mirrored == 1)]
            return self._resident.crops(*on_device, size=self.crop)
        assert images is not None
        flipped = np.flatnonzero(mirrored)
        images[flipped] = images[flipped, :, ::-1]
        if self._augment is not None and not at_centre:
            images = augmented(images, self._augment, derive(self.seed, draw, "augment"), positions)
        return torch.from_numpy(images).permute(0, 3, 1, 2)

    def balance(self, step: int, size: int) -> Tensor:
        """Return weights of the pictures of a batch in this process, float32 (size,), on the device.

        The sum over a batch, of several processes the mean of their sums, of weights times losses is then the mean
        loss with equal weights of the classes, and of the tasks within a class.
        """
        cells = (step * self._world * size + np.arange(self._world * size)) % len(self._cells)
        process_cells = torch.from_numpy(cells[self._rank * size:(self._rank + 1) * size])
        sizes = torch.from_numpy(np.bincount(cells, minlength=len(self._cells)))
        labels = torch.tensor([label for _, label, _ in self._cells])
        tasks = torch.bincount(labels[sizes > 0], minlength=2)
        return (self._world / (sizes[process_cells] * tasks[labels[process_cells]] * (tasks > 0).sum())).to(self.device)

    def _order(self, cell: int, numbers: NDArray[np.int64], size: int, draw: str) -> NDArray[np.int64]:
        """Return the positions in a class of the pictures drawn at the `numbers`, which count from 0."""
        passes, remainders = np.divmod(numbers, size)
        ordered = np.empty(len(numbers), np.int64)
        for number in np.unique(passes).tolist():
            order = np.argsort(bits(derive(self.seed, draw, "order", cell, number), np.arange(size)), kind="stable")
            ordered[passes == number] = order[remainders[passes == number]]
        return ordered

    def _crop_positions(self, task: int, rows: NDArray[np.int64], positions: NDArray[np.int64], at_centre: bool,
                        draw: str) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """Return tops and lefts of the crops of the pictures `rows` of a task, and whether they are mirrored, (N,)."""
        store, mirrored = self._stores[task], np.zeros(len(rows), bool)
        if at_centre:
            return *centre(store.heights[rows], store.widths[rows], self.crop), mirrored
        tops, lefts = (integers(derive(self.seed, draw, side), positions, bound + 1)
                       for side, bound in zip(("top", "left"), store.limits(rows, self.crop), strict=True))
        if self.flip:
            mirrored = integers(derive(self.seed, draw, "flip"), positions, 2).astype(bool)
        return tops, lefts, mirrored

    @cached_property
    def _resident(self) -> ResidentPixels | None:
        """The pixels on a GPU, which then waits for no crops; the host crops what it augments."""
        return ResidentPixels(self._stores, self.device) if self.device.type == "cuda" and not self._augment else None
