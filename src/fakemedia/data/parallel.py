"""The same work on many images at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

T = TypeVar("T")
R = TypeVar("R")


def thread_map(function: Callable[[T], R], items: Sequence[T], *, workers: int, title: str, progress: bool) -> list[R]:
    """Return `function` of each item, in order, computed by `workers` threads under a progress bar.

    Threads serve because decoding, hashing and file access release the interpreter lock. The first exception is raised
    and cancels what has not begun.
    """
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(function, items)
        return list(tqdm(results, total=len(items), desc=title, unit="image", disable=None if progress else True))
