"""Pixels on the device: whole stores that are cropped there, or batches that are prepared while the device computes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from fakemedia.store.pixels import PixelStore

CHUNK = 2**26
"""Size of a copy to the device, bytes."""


def pixel_bytes(stores: Sequence[PixelStore]) -> int:
    """Return the size of the pictures of `stores`, bytes."""
    return sum(int(3 * (store.heights * store.widths).sum()) for store in stores)


class ResidentPixels:
    """The pictures of several stores on one device, where `PixelStore.crops` runs for a batch at once."""

    def __init__(self, stores: Sequence[PixelStore], device: torch.device) -> None:
        """Copy the pixels of all `stores` to `device`."""
        self._pixels = torch.empty((pixel_bytes(stores) // 3, 3), dtype=torch.uint8, device=device)
        self._firsts = torch.tensor(np.cumsum([0, *(len(store) for store in stores)]), device=device)
        heights, widths = (np.concatenate([getattr(store, side) for store in stores]) for side in ("heights", "widths"))
        ends = np.cumsum(heights * widths)
        self._starts = torch.from_numpy(ends - heights * widths).to(device)
        self._heights, self._widths = torch.from_numpy(heights).to(device), torch.from_numpy(widths).to(device)
        start = 0
        for part in _chunks(image.reshape(-1, 3) for store in stores for image in map(store.__getitem__,
                                                                                    range(len(store)))):
            self._pixels[start:start + len(part)] = torch.from_numpy(part).to(device)
            start += len(part)

    def crops(self, tasks: Tensor, rows: Tensor, tops: Tensor, lefts: Tensor, mirrored: Tensor, size: int) -> Tensor:
        """Return square crops, uint8 (N, 3, size, size) in channels_last memory, some mirrored.

        `tasks` (positions of the stores), `rows`, `tops`, `lefts` int64 and `mirrored` bool are (N,), on the device. An
        image smaller than `size` is padded as in `PixelStore.crops`.
        """
        images = self._firsts[tasks] + rows
        widths = self._widths[images]
        offsets = torch.arange(size, device=images.device)
        column_offsets = torch.where(mirrored[:, None], size - 1 - offsets, offsets)
        y = _reflected(self._heights[images], tops, offsets, size)
        x = _reflected(widths, lefts, column_offsets, size)
        pixels = (self._starts[images, None, None] + y[:, :, None] * widths[:, None, None]) + x[:, None, :]
        return self._pixels[pixels].permute(0, 3, 1, 2)


def _reflected(lengths: Tensor, starts: Tensor, offsets: Tensor, size: int) -> Tensor:
    """Return the positions (N, size) in lines of `lengths` that crops at `starts` of the padded lines show."""
    period = (2 * (lengths - 1)).clamp(min=1)[:, None]
    positions = (offsets + (starts - (size - lengths).clamp(min=0) // 2)[:, None]) % period
    return torch.minimum(positions, period - positions)


def _chunks(images: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    """Yield the rows of `images` in arrays of about CHUNK bytes."""
    buffered, size = [], 0
    for image in images:
        buffered.append(image)
        size += image.nbytes
        if size >= CHUNK:
            yield np.concatenate(buffered)
            buffered, size = [], 0
    if buffered:
        yield np.concatenate(buffered)
