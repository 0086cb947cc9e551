"""Perceptual hash and grey levels of pictures, to find duplicates and empty pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations, pairwise

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_WAVES = np.pi / 64 * np.outer(np.arange(8), 2 * np.arange(32) + 1)
_BASIS = (np.cos(_WAVES) * np.sqrt(np.where(np.arange(8) == 0, 1, 2) / 32)[:, None]).astype(np.float32)
"""The first 8 of the 32 vectors of the orthonormal discrete cosine transform (type II)."""
_LEVELS = np.arange(256.0)
NEIGHBOURS = 8
"""Most near hashes that one is paired with, of those that agree in the same parts."""
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class PerceptualFacts:
    """Perceptual hash (16 hex digits), and mean and standard deviation of the grey levels, 0 to 255."""

    phash: str
    mean: float
    spread: float


def perceptual_facts(pixels: NDArray[np.uint8]) -> PerceptualFacts:
    """Return the perceptual facts of a picture, uint8 (H, W, 3).

    The hash has a bit for each of the 8 x 8 lowest frequencies of the discrete cosine transform of the picture at
    32 x 32 grey pixels: above the median or not (Zauner 2010, Implementation and Benchmarking of Perceptual Image Hash
    Functions). Recompression changes few of the bits, resizing some more. Of large pictures every n-th pixel is used,
    at least 64 per side.
    """
    step = max(1, min(pixels.shape[:2]) // 64)
    sampled = pixels[::step, ::step]
    total = np.add(sampled[..., 0], sampled[..., 2], dtype=np.uint16)
    total += sampled[..., 1]
    total += sampled[..., 1]
    grey = (total >> 2).astype(np.uint8)
    small = np.asarray(Image.fromarray(grey).resize((32, 32), Image.Resampling.BOX), np.float32)
    frequencies = (_BASIS @ small @ _BASIS.T).ravel()
    median = np.sort(frequencies)[31:33].mean()
    counts = np.bincount(grey.ravel(), minlength=256)
    mean = counts @ _LEVELS / grey.size
    spread = np.sqrt(counts @ (_LEVELS - mean) ** 2 / grey.size)
    return PerceptualFacts(np.packbits(frequencies > median).tobytes().hex(), float(mean), float(spread))


def near_pairs(words: NDArray[np.uint64], *, distance: int = 3,
               keep: Callable[[Rows, Rows], NDArray[np.bool_]] | None = None) -> NDArray[np.int64]:
    """Return the pairs (i, j), i < j, of hashes that differ in at most `distance` bits, int64 (P, 2), sorted.

    Hashes (N,) that differ in at most 3 bits agree in at least two of 5 parts; only those are compared (Manku, Jain and
    Das Sarma 2007, Detecting Near-Duplicates for Web Crawling). Where very many are that near, each is paired with
    the first NEIGHBOURS of those that agree in the same two parts. `keep` says which of the pairs it is given are
    returned. Memory: about 50 bytes a hash, and 16 a pair.
    """
    edges = np.linspace(0, 64, distance + 3).astype(int).tolist()
    masks = [np.uint64(2**high - 2**low) for low, high in pairwise(edges)]
    pair_numbers = [np.empty(0, np.int64)]
    for first, second in combinations(masks, 2):
        for i, j in _agreeing(words, first | second, distance):
            i, j = np.minimum(i, j), np.maximum(i, j)
            selected = slice(None) if keep is None else keep(i, j)
            pair_numbers.append(i[selected] * len(words) + j[selected])
    return np.stack(np.divmod(np.unique(np.concatenate(pair_numbers)), max(len(words), 1)), 1)


def _agreeing(words: NDArray[np.uint64], mask: np.uint64, distance: int) -> Iterator[tuple[Rows, Rows]]:
    """Yield the pairs of near hashes that are equal in the bits of `mask`: those next to each other, then by twos."""
    order = np.argsort(words & mask, kind="stable")
    words = words[order]
    first = np.flatnonzero((words[1:] ^ words[:-1]) & mask == 0)
    pair_counts = np.zeros(len(words), np.uint8)
    step = 1
    while len(first):
        differences = words[first] ^ words[first + step]
        first, differences = first[differences & mask == 0], differences[differences & mask == 0]
        near = first[np.bitwise_count(differences) <= distance]
        yield order[near], order[near + step]
        pair_counts[near] += 1
        step += 1
        first = first[(pair_counts[first] < NEIGHBOURS) & (first + step < len(words))]
