"""The program of a process that `ingest.process_pool` starts. It imports little, so that it starts quickly."""

from __future__ import annotations

import mmap
import os
import pickle
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from itertools import chain, cycle, islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fakemedia.core.errors import UserError
from fakemedia.runtime.threads import read_ahead

Pixels = NDArray[np.uint8]


def serve(shared: int) -> None:
    """Process the chunks of jobs from standard input; write the pictures to the file of the descriptor `shared`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # The results are no longer wanted.
    source, sink = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    halves = cycle(np.frombuffer(mmap.mmap(shared, 0), np.uint8).reshape(2, -1))

    def next_half() -> Pixels:
        if not source.read(1):
            sys.exit()
        return next(halves)

    try:
        function, chunks, reads = pickle.load(source)
        jobs = read_ahead(chain.from_iterable(chunks), reads)
        for chunk in chunks:
            for message, payload in _messages(map(function, islice(jobs, len(chunk))), next_half):
                pickle.dump(message, sink)
                sink.write(payload)
                sink.flush()
    except Exception as error:
        pickle.dump(error if isinstance(error, UserError) else RuntimeError(traceback.format_exc()), sink)
    sink.close()


def _messages(results: Iterable[tuple[Any, Pixels | None]],
              next_half: Callable[[], Pixels]) -> Iterator[tuple[list[tuple], memoryview | bytes]]:
    """Yield the facts of the pictures, with their positions and shapes, for each half that they fill.

    A picture that is larger than a half has no position: its bytes follow the message.
    """
    message: list[tuple] = []
    half, position = np.empty(0, np.uint8), 0
    for facts, pixels in results:
        size = 0 if pixels is None else pixels.size
        if message and position + size > len(half) >= size:
            yield message, b""
            message = []
        if not message:
            half, position = next_half(), 0
        if pixels is None:
            message.append((facts, None, None))
        elif size > len(half):
            yield [*message, (facts, None, pixels.shape)], np.ascontiguousarray(pixels).data
            message = []
        else:
            half[position:position + size] = pixels.ravel()
            message.append((facts, position, pixels.shape))
            position += size
    if message:
        yield message, b""
