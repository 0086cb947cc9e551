"""One function on many items, by several threads."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from tqdm import tqdm

CORES = "FAKEMEDIA_CORES"
"""Environment variable: the cores that a worker of a cluster may use of its machine."""
T = TypeVar("T")
R = TypeVar("R")


def cores() -> int:
    """Return the number of processor cores that this process may use."""
    if CORES in os.environ:
        return int(os.environ[CORES])
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def use_cores(count: int) -> None:
    """Let this process, a worker of a cluster, use `count` cores of its machine; before torch is imported."""
    os.environ[CORES] = os.environ["OMP_NUM_THREADS"] = str(count)


def thread_map(function: Callable[[T], R], items: Iterable[T], *, workers: int, title: str, total: int,
               progress: bool, ahead: int = 0) -> Iterator[R]:
    """Yield `function` of each item, in order, computed by `workers` threads under a progress bar.

    Threads serve because decoding, hashing and file access release the interpreter lock. At most four results per
    worker, or `ahead` if that is more, are buffered, so memory stays bounded. The first exception is raised and cancels
    what has not started.
    """
    pending: deque[Future[R]] = deque()
    limit = max(4 * workers, ahead)
    with (
        ThreadPoolExecutor(workers) as pool,
        tqdm(total=total, desc=title, unit="image", disable=None if progress else True) as bar,
    ):
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) >= limit:
                    yield pending.popleft().result()
                    bar.update()
            while pending:
                yield pending.popleft().result()
                bar.update()
        finally:
            for future in pending:
                future.cancel()


def ahead(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[R]:
    """Yield `function` of each item, in order, computed by `workers` threads up to twice as many items ahead; without
    workers, by the caller on request."""
    if workers == 0:
        return map(function, items)
    return (future.result() for future in _futures(function, items, workers))


def read_ahead(readers: Iterable[Callable[[], bytes]], workers: int) -> Iterator[Callable[[], bytes]]:
    """Yield for each of `readers`, in order, a function that returns or raises what it does; see `ahead`."""
    if workers == 0:
        return iter(readers)
    return (future.result for future in _futures(lambda read: read(), readers, workers))


def _futures(function: Callable[[T], R], items: Iterable[T], workers: int) -> Iterator[Future[R]]:
    pending: deque[Future[R]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for item in items:
                pending.append(pool.submit(function, item))
                if len(pending) > 2 * workers:
                    yield pending.popleft()
            while pending:
                yield pending.popleft()
        finally:
            for future in pending:
                future.cancel()
