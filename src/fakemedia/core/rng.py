"""Counter-based random numbers: each depends on the seed and its purpose, never on earlier draws.

So the order of images and their crops depend neither on the number of workers or devices, nor on the point at which a
run was interrupted.
"""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)


def derive(seed: int, *purpose: str | int) -> int:
    """Return a 63-bit seed for `purpose`; equal arguments give equal seeds.

    >>> derive(0, "crop", 1), derive(0, "crop", 2)
    (4585484393309860484, 1189894037475698717)
    """
    text = "\x1f".join([f"{int(seed)}", *(f"{type(part).__name__}:{part}" for part in purpose)])
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little") >> 1


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """Return a NumPy generator (Philox) for `purpose`, independent of all others."""
    return np.random.Generator(np.random.Philox(key=derive(seed, *purpose)))


def bits(key: int, counters: NDArray[np.integer]) -> NDArray[np.uint64]:
    """Return 64 random bits for each counter, in its shape (SplitMix64; Steele, Lea and Flood 2014)."""
    with np.errstate(over="ignore"):
        z = np.uint64(key) + (np.asarray(counters).astype(np.uint64) + np.uint64(1)) * _GOLDEN
        z = (z ^ (z >> np.uint64(30))) * _MIX_1
        z = (z ^ (z >> np.uint64(27))) * _MIX_2
        return z ^ (z >> np.uint64(31))


def integers(key: int, counters: NDArray[np.integer], high: NDArray[np.integer] | int) -> NDArray[np.int64]:
    """Return an integer in [0, high) for each counter, int64; `high` >= 1 broadcasts (bias below high / 2**32).

    >>> integers(derive(0, "crop", 1), np.arange(5), 10)
    array([4, 5, 8, 8, 1])
    >>> integers(derive(0, "crop", 1), np.array([3]), 10)  # number 3, independently of earlier draws
    array([8])
    """
    top = bits(key, counters) >> np.uint64(32)
    return ((top * np.asarray(high).astype(np.uint64)) >> np.uint64(32)).astype(np.int64)
