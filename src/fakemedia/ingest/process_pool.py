"""Pictures processed by several processes at once; see `fakemedia.runtime.threads` for threads."""

from __future__ import annotations

import contextlib
import math
import mmap
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from fakemedia import sources
from fakemedia.artefacts.addresses import READS, is_remote
from fakemedia.core.errors import UserError
from fakemedia.runtime.threads import read_ahead

R = TypeVar("R")
Pixels = NDArray[np.uint8]
Read = Callable[[], bytes]

CHUNK = 16
"""Images that a process handles before the next one's turn."""
HALF = 2**24
"""Bytes of pictures that a process transfers at once; it fills one half while the other is read."""
ALLOCATION = {"MALLOC_MMAP_THRESHOLD_": str(2**25), "MALLOC_TRIM_THRESHOLD_": str(2**27)}
"""Makes the C library keep the memory of one picture for the next instead of requesting it every time."""

_START = """
import os, sys
sys.path[:] = sys.argv[3:]
from fakemedia import sources
from fakemedia.ingest.worker import serve
sources.__path__[:] = sys.argv[2].split(os.pathsep)  # sources outside the package, too
serve(int(sys.argv[1]))
"""


def picture_map(function: Callable[[Read], tuple[R, Pixels | None]], jobs: Sequence[Read], *, workers: int,
                title: str, progress: bool) -> Iterator[tuple[R, Pixels | None]]:
    """Yield `function` of each job, in order, under a progress bar: the facts of a picture, and the picture.

    A job reads the file of a picture; jobs that read at an address are called ahead, several concurrently.

    A picture, uint8 (H, W, 3), is valid until the next result is requested. With several `workers` and enough jobs,
    `function` and the jobs are pickled for processes that import only what these need; otherwise the work is done in
    this process. Processes work ahead by a limited amount, so memory stays bounded. An exception of `function` ends the
    work and is raised here. UserError if a process is killed.
    """
    in_process = workers == 1 or len(jobs) <= 2 * CHUNK
    reads = READS if jobs and is_remote(jobs[0]) else 0
    results = map(function, read_ahead(jobs, reads)) if in_process else _in_processes(function, jobs, workers, reads)
    with tqdm(total=len(jobs), desc=title, unit="image", disable=None if progress else True) as bar:
        for result in results:
            yield result
            bar.update()


def _in_processes(function: Callable[[Read], tuple[R, Pixels | None]], jobs: Sequence[Read], workers: int,
                  reads: int) -> Iterator[tuple[R, Pixels | None]]:
    chunks = [jobs[start:start + CHUNK] for start in range(0, len(jobs), CHUNK)]
    with contextlib.ExitStack() as stack:
        pool = [stack.enter_context(_Worker()) for _ in range(min(workers, len(chunks)))]
        for number, worker in enumerate(pool):
            worker.begin(function, chunks[number::len(pool)], reads)
        for number, chunk in enumerate(chunks):
            yield from pool[number % len(pool)].results(len(chunk))


class _Worker:
    """A process that handles chunks of jobs and writes the pictures to memory that it shares with this one."""

    def __enter__(self) -> _Worker:
        with _shared_file(2 * HALF) as shared:
            self._halves = cycle(np.frombuffer(mmap.mmap(shared, 0), np.uint8).reshape(2, -1))
            self._process = subprocess.Popen(
                [sys.executable, "-c", _START, str(shared), os.pathsep.join(sources.__path__), *sys.path],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=[shared], env={**os.environ, **ALLOCATION})
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        with contextlib.suppress(BrokenPipeError):
            self._stdin.close()
        self._stdout.close()
        self._process.wait()

    def begin(self, function: Callable, chunks: Sequence[Sequence[Read]], reads: int) -> None:
        """Send all jobs, and allow both halves to be filled."""
        self._send(pickle.dumps((function, chunks, reads)) + b"..")

    def results(self, length: int) -> Iterator[tuple[Any, Pixels | None]]:
        """Yield the results of the next chunk, which has `length` jobs; release each half when it has been read."""
        while length:
            try:
                message = pickle.load(self._stdout)
            except (EOFError, pickle.UnpicklingError):
                raise self._ended_error() from None
            if isinstance(message, Exception):
                raise message
            length -= len(message)
            half = next(self._halves)
            for facts, start, shape in message:
                if shape is None:
                    yield facts, None
                else:
                    size = math.prod(shape)
                    flat = self._received(size) if start is None else half[start:start + size]
                    yield facts, flat.reshape(shape)
            self._send(b".")

    def _send(self, data: bytes) -> None:
        try:
            self._stdin.write(data)
            self._stdin.flush()
        except BrokenPipeError:  # Expected of a process that has finished.
            if self._process.wait() != 0:
                raise self._ended_error() from None

    def _received(self, size: int) -> Pixels:
        pixels = np.empty(size, np.uint8)
        if self._stdout.readinto(pixels.data) != size:  # type: ignore[attr-defined]
            raise self._ended_error()
        return pixels

    def _ended_error(self) -> UserError:
        return UserError(f"A process that decodes images ended (status {self._process.wait()})",
                         expected="enough memory for a picture in each process",
                         do="see the messages above; if memory is short, run on fewer cores (taskset)")


@contextlib.contextmanager
def _shared_file(size: int) -> Iterator[int]:
    """Yield the descriptor of an unnamed file, in memory if the system supports that."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("pictures")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    try:
        os.ftruncate(descriptor, size)
        yield descriptor
    finally:
        os.close(descriptor)
