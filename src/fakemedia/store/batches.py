"""Batches of crops from pixel stores, as uint8 tensors.

The content of a batch depends only on the seed, the epoch and the position in the epoch: not on workers, devices or the
point at which a run was interrupted.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fakemedia.core.errors import UserError
from fakemedia.core.rng import bits, derive, integers
from fakemedia.runtime.threads import ahead, cores
from fakemedia.store.augmentations.augmentation import Augment, augmented
from fakemedia.store.pixels import PixelStore
from fakemedia.store.resident import ResidentPixels, pixel_bytes


@dataclass
class Batch:
    """Crops, their labels and positions."""

    images: Tensor
    """uint8 (N, 3, H, W) RGB, in channels_last memory."""
    labels: Tensor
    """int64 (N,), 0 real, 1 fake."""
    tasks: Tensor
    """int64 (N,), position of the image's store in the given list."""
    rows: Tensor
    """int64 (N,), row of the image in its store."""
    inputs: Tensor | None = None
    """float (N, 3, H, W), what the network saw: normalised on the device."""

    def to(self, device: torch.device | str) -> Batch:
        """Return the batch on `device`; a GPU copies it without the host waiting if it is `pinned`."""
        if self.images.device == torch.device(device):
            return self
        return self._map(lambda tensor: tensor.to(device, non_blocking=tensor.is_pinned()))

    def pinned(self) -> Batch:
        """Return a batch of the host's memory in pinned memory, which a GPU copies without waiting."""
        return self._map(lambda tensor: tensor.pin_memory() if tensor.device.type == "cpu" else tensor)

    def _map(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return replace(self, **{name: change(tensor) for name, tensor in vars(self).items() if tensor is not None})


@dataclass(frozen=True, kw_only=True)
class Draws:
    """The images of an epoch and their crops: arrays, or tensors on a device, (N,), int64 or bool."""

    tasks: Any
    rows: Any
    labels: Any
    tops: Any
    lefts: Any
    mirrored: Any
    positions: Any
    """Positions in the epoch."""

    def at(self, positions: Any) -> Draws:
        """Return the draws at `positions`, a slice or indices."""
        return Draws(**{name: values[positions] for name, values in vars(self).items()})

    def to(self, device: torch.device) -> Draws:
        """Return the draws as tensors on `device`."""
        return Draws(**{name: torch.from_numpy(values).to(device) for name, values in vars(self).items()})


def _batch(images: NDArray[np.uint8], labels: NDArray[np.int64], tasks: NDArray[np.int64],
           rows: NDArray[np.int64]) -> Batch:
    return Batch(images=torch.from_numpy(images).permute(0, 3, 1, 2), labels=torch.from_numpy(labels),
                 tasks=torch.from_numpy(tasks), rows=torch.from_numpy(rows))


def _workers(stores: Sequence[PixelStore], device: torch.device, augment: Augment | None) -> int:
    """Return the number of threads that prepare batches: 0 if crops are cheap compared with the step."""
    if augment is not None or any(store.streams for store in stores):
        return max(cores(), *(store.readers for store in stores))
    return 0 if device.type == "cpu" else 2


def _mirrored(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    out = np.empty_like(images)
    for channel in range(3):  # Five times faster than all channels at once: the inner loop is over pixels.
        out[..., channel] = images[:, :, ::-1, channel]
    return out


def on_device(batches: Iterable[Batch], device: torch.device) -> Iterator[Batch]:
    """Yield `batches` on `device`; a GPU copies each while it computes with the previous one."""
    if device.type != "cuda":
        yield from (batch.to(device) for batch in batches)
        return
    copy_stream, pending = torch.cuda.Stream(device), deque()
    for batch in batches:
        with torch.cuda.stream(copy_stream):
            pending.append((batch.pinned().to(device), copy_stream.record_event()))
        if len(pending) > 1:
            yield _copied(*pending.popleft())
    while pending:
        yield _copied(*pending.popleft())


def _copied(batch: Batch, copy_event: torch.cuda.Event) -> Batch:
    """Return `batch` for the current stream, which waits for the copy; its memory is kept until that stream is done."""
    stream = torch.cuda.current_stream(batch.images.device)
    stream.wait_event(copy_event)
    for tensor in vars(batch).values():
        if tensor is not None:
            tensor.record_stream(stream)
    return batch


class TrainBatches:
    """Shuffled random crops of one or several stores, optionally mirrored and augmented.

    An epoch has as many images as the stores together; a remainder smaller than a batch is dropped. Several stores
    alternate, so that each has the same share of every epoch. Each store is read completely in random order before it
    starts again in a new order, also across epochs.
    """

    def __init__(self, stores: Sequence[PixelStore], *, batch_size: int, crop: int, flip: bool, seed: int,
                 share: tuple[int, int] = (0, 1), augment: Augment | None = None) -> None:
        """Take crops of `crop` x `crop` pixels; `flip` mirrors half of them; `augment` then sees each.

        `share` is the rank of this process and the number of processes that divide each batch. A batch has no more
        images than the stores together. UserError: fewer images than processes, a batch that cannot be divided, a crop
        larger than every image, or stores decoded under different policies.
        """
        self.stores = list(stores)
        self.crop, self.flip, self.seed = crop, flip, seed
        self._rank, self._world = share
        self._augment = augment
        self._size = sum(len(store) for store in self.stores)
        self._resident: ResidentPixels | None = None
        self._device = torch.device("cpu")
        names = ", ".join(store.task for store in self.stores)
        self.batch_size = batch_size if batch_size <= self._size else self._size - self._size % self._world
        if self.batch_size < 1:
            raise UserError(f"There are fewer training images ({self._size}) than devices ({self._world})",
                            where=f"training split of {names}", do="lower runtime.devices or add images")
        if batch_size % self._world:
            raise UserError(f"A batch of {batch_size} cannot be divided among {self._world} devices",
                            where="training.batch_size", expected=f"a multiple of {self._world}")
        largest = max(int(np.minimum(store.heights, store.widths).max()) for store in self.stores)
        if crop > largest:
            raise UserError(f"A crop of {crop} pixels is larger than every image", where=f"training split of {names}",
                            expected=f"{largest} pixels at most; smaller images among larger ones are padded",
                            do="lower training.crop, or set the collection's policy to resize:<n>")
        if len({store.policy for store in self.stores}) > 1:
            raise UserError("The pixel stores were decoded under different policies", where=names,
                            expected="one policy for all tasks", do="run the ingestion of all tasks again")

    @property
    def steps(self) -> int:
        """Batches per epoch."""
        return self._size // self.batch_size

    @property
    def images(self) -> int:
        """Images per epoch."""
        return self.steps * self.batch_size

    def to(self, device: torch.device, room: int) -> TrainBatches:
        """Make the batches on `device` from now on; all pixels are kept there if they need no more than `room` bytes.

        Otherwise, and with an augmentation, which the host computes, batches are cropped in the host's memory and
        copied while the device computes. The batches are the same in both cases.
        """
        self._device = device
        streams = any(store.streams for store in self.stores)
        if self._augment is None and not streams and pixel_bytes(self.stores) <= room:
            self._resident = ResidentPixels(self.stores, device)
        return self

    def epoch(self, epoch: int, start_step: int = 0) -> Iterator[Batch]:
        """Yield the batches of `epoch` (from 0), from `start_step` on; of each, this process's share."""
        draws = self._draw(epoch)
        shares = [self._share(step) for step in range(start_step, self.steps)]
        if self._resident is not None:
            device_draws = draws.to(self._device)
            yield from (self._resident_batch(device_draws.at(positions)) for positions in shares)
            return
        host_batches = ahead(lambda positions: self._batch(draws.at(positions), epoch), shares,
                             _workers(self.stores, self._device, self._augment))
        yield from on_device(host_batches, self._device)

    def _share(self, step: int) -> slice:
        """Return the positions of a batch for this process: neighbours, which belong to different stores.

        The shares rotate with the steps, so that a process sees all stores even if a share is smaller than their
        number.
        """
        size = self.batch_size // self._world
        start = step * self.batch_size + (self._rank + step) % self._world * size
        return slice(start, start + size)

    def _draw(self, epoch: int) -> Draws:
        positions = np.arange(self._size)
        tasks = positions % len(self.stores)
        rows, labels, max_tops, max_lefts = np.empty((4, self._size), np.int64)
        for task, store in enumerate(self.stores):
            at = np.flatnonzero(tasks == task)
            rows[at] = self._order(task, epoch, len(at))
            labels[at] = store.labels[rows[at]]
            max_tops[at], max_lefts[at] = store.limits(rows[at], self.crop)
        flips = integers(derive(self.seed, "flip", epoch), positions, 2) if self.flip else np.zeros_like(rows)
        return Draws(tasks=tasks, rows=rows, labels=labels, mirrored=flips.astype(bool), positions=positions,
                     tops=integers(derive(self.seed, "top", epoch), positions, max_tops + 1),
                     lefts=integers(derive(self.seed, "left", epoch), positions, max_lefts + 1))

    def _order(self, task: int, epoch: int, count: int) -> NDArray[np.int64]:
        """Return the rows of the store `task` in `epoch`, (count,): pass after pass over the store."""
        size = len(self.stores[task])
        passes, positions = np.divmod(np.arange(epoch * count, (epoch + 1) * count), size)
        orders = {number: np.argsort(bits(derive(self.seed, "order", task, number), np.arange(size)), kind="stable")
                  for number in np.unique(passes).tolist()}
        return np.concatenate([order[positions[passes == number]] for number, order in orders.items()])

    def _batch(self, draws: Draws, epoch: int) -> Batch:
        images = np.empty((len(draws.rows), self.crop, self.crop, 3), np.uint8)
        for task, store in enumerate(self.stores):
            at = np.flatnonzero(draws.tasks == task)
            images[at] = store.crops(draws.rows[at], draws.tops[at], draws.lefts[at], self.crop)
        mirrored = np.flatnonzero(draws.mirrored)
        images[mirrored] = _mirrored(images[mirrored])
        if self._augment is not None:
            images = augmented(images, self._augment, derive(self.seed, "augment", epoch), draws.positions)
        batch = _batch(images, draws.labels, draws.tasks, draws.rows)
        return batch.pinned() if self._device.type == "cuda" else batch  # in the thread that makes it

    def _resident_batch(self, draws: Draws) -> Batch:
        assert self._resident is not None
        images = self._resident.crops(draws.tasks, draws.rows, draws.tops, draws.lefts, draws.mirrored, self.crop)
        return Batch(images=images, labels=draws.labels, tasks=draws.tasks, rows=draws.rows)


class EvalBatches:
    """The centre crops of a store, or of some `rows` of it, in order; the last batch may be smaller."""

    def __init__(self, store: PixelStore, *, batch_size: int, crop: int,
                 rows: NDArray[np.int64] | None = None) -> None:
        """Take crops of `crop` x `crop` pixels."""
        self.store, self.batch_size, self.crop = store, batch_size, crop
        self.rows = np.arange(len(store)) if rows is None else np.asarray(rows, np.int64)

    def __len__(self) -> int:
        return math.ceil(len(self.rows) / self.batch_size)

    def cached(self, device: torch.device, room: int) -> Sequence[Batch] | EvalBatches:
        """Return the batches kept on `device`, to be read repeatedly, if they have no more than `room` bytes.

        Not on the CPU, where a crop costs little compared with a forward pass.
        """
        mapped = device.type == "cpu" and not self.store.streams
        if mapped or 3 * self.crop * self.crop * len(self.rows) > room:
            return self
        return [batch.to(device) for batch in self]

    def __iter__(self) -> Iterator[Batch]:
        parts = (self.rows[start:start + self.batch_size] for start in range(0, len(self.rows), self.batch_size))
        return ahead(self._batch, parts, self.store.readers)

    def _batch(self, rows: NDArray[np.int64]) -> Batch:
        images = self.store.centre_crops(rows, self.crop)
        return _batch(images, self.store.labels[rows], np.zeros(len(rows), np.int64), rows)


def select_rows(store: PixelStore, maximum: int | None, seed: int) -> NDArray[np.int64]:
    """Return `maximum` rows of the store, sorted, drawn by `seed` with the store's share of each label.

    All rows if `maximum` is None or the store has no more. Shares are rounded by largest remainder.
    """
    total = len(store)
    if maximum is None or total <= maximum:
        return np.arange(total)
    labels, counts = np.unique(store.labels, return_counts=True)
    quotas, remainders = np.divmod(counts * maximum, total)
    quotas[np.argsort(-remainders, kind="stable")[:maximum - quotas.sum()]] += 1
    selected = []
    for label, quota in zip(labels.tolist(), quotas.tolist(), strict=True):
        rows = np.flatnonzero(store.labels == label)
        selected.append(rows[np.argsort(bits(derive(seed, "select", label), rows), kind="stable")[:quota]])
    return np.sort(np.concatenate(selected))
