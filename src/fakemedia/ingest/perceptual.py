"""Perceptual hash and grey levels of pictures, to find duplicates and empty pictures."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_WAVES = np.pi / 64 * np.outer(np.arange(8), 2 * np.arange(32) + 1)
_BASIS = (np.cos(_WAVES) * np.sqrt(np.where(np.arange(8) == 0, 1, 2) / 32)[:, None]).astype(np.float32)
"""The first 8 of the 32 vectors of the orthonormal discrete cosine transform (type II)."""
_LEVELS = np.arange(256.0)


@dataclass(frozen=True)
class Look:
    """Perceptual hash (16 hex digits), and mean and standard deviation of the grey levels, 0 to 255."""

    phash: str
    mean: float
    spread: float


def look(pixels: NDArray[np.uint8]) -> Look:
    """Return the perceptual facts of a picture, uint8 (H, W, 3).

    The hash has a bit for each of the 8 x 8 lowest frequencies of the discrete cosine transform of the picture at
    32 x 32 grey pixels: above the median or not (Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash
    Functions). Recompression changes few of the bits, resizing some more. Of large pictures every n-th pixel is used,
    at least 64 per side.
    """
    step = max(1, min(pixels.shape[:2]) // 64)
    few = pixels[::step, ::step]
    total = np.add(few[..., 0], few[..., 2], dtype=np.uint16)
    total += few[..., 1]
    total += few[..., 1]
    grey = (total >> 2).astype(np.uint8)
    small = np.asarray(Image.fromarray(grey).resize((32, 32), Image.Resampling.BOX), np.float32)
    frequencies = (_BASIS @ small @ _BASIS.T).ravel()
    middle = np.sort(frequencies)[31:33].mean()
    counts = np.bincount(grey.ravel(), minlength=256)
    mean = counts @ _LEVELS / grey.size
    spread = np.sqrt(counts @ (_LEVELS - mean) ** 2 / grey.size)
    return Look(np.packbits(frequencies > middle).tobytes().hex(), float(mean), float(spread))


def near_pairs(hashes: list[str], *, distance: int = 3) -> NDArray[np.int64]:
    """Return the pairs (i, j), i < j, of hashes that differ in at most `distance` bits, int64 (P, 2), sorted.

    Hashes that differ in at most 3 bits agree in one of 4 parts of 16 bits; only those are compared. Of many
    equal hashes, each is paired with the next eight.
    """
    parts = distance + 1
    words = np.array([int(value, 16) for value in hashes], np.uint64)
    found = [np.empty((0, 2), np.int64)]
    edges = np.linspace(0, 64, parts + 1).astype(int)
    for low, high in pairwise(edges.tolist()):
        part = (words >> np.uint64(low)) & np.uint64(2 ** (high - low) - 1)
        order = np.argsort(part, kind="stable")
        for bucket in np.split(order, np.flatnonzero(np.diff(part[order])) + 1):
            for start in range(len(bucket) - 1):
                others = bucket[start + 1:]
                close = others[np.bitwise_count(words[bucket[start]] ^ words[others]) <= distance][:8]
                if len(close):
                    found.append(np.stack([np.full(len(close), bucket[start]), close], 1))
    return np.unique(np.sort(np.concatenate(found), 1), axis=0)
