"""Decoded pictures by content, so that each image is decoded only once."""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import shutil
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fakemedia.artefacts.files import GIB, move_away, moved, scratch_folder, sync
from fakemedia.core.errors import UserError
from fakemedia.store.decode import checksum
from fakemedia.store.images import IMAGES, LOCATION_COLUMNS, PIXELS, Facts, read_facts, write_images
from fakemedia.store.policies import policy_function

BLOCK = 2**23
"""Size of a write, bytes."""


@dataclass
class Room:
    """The bytes of decoded pictures that may still be written; `total` is the user's limit."""

    total: float = float("inf")
    remaining: float = float("inf")

    def take(self, size: int, where: Path) -> None:
        """Reserve `size` bytes; UserError if they are not available."""
        if size > self.remaining:
            raise UserError(f"The decoded pictures need more than {self.total / GIB:g} GiB", where=where,
                            expected="no more than max_gib of the collection",
                            do="raise max_gib, set stream: true to decode during training, or set a policy such as "
                               "resize:256")
        self.remaining -= size


class PixelWriter:
    """Writes pictures one after another into a pixel file, each content once.

    They bypass the page cache if the file system allows it, since freeing the cache costs more than writing. A
    thread writes one block while the next is filled.

    `locations`: id -> (offset in bytes, height, width, checksum). UserError if there is no `room` or the disk is full.
    """

    def __init__(self, path: Path, room: Room) -> None:
        self.locations: dict[str, tuple[int, int, int, str]] = {}
        self.bytes = 0
        self._path, self._room = path, room
        self._block, self._spare = (memoryview(mmap.mmap(-1, BLOCK)) for _ in range(2))
        self._used = 0
        self._thread = ThreadPoolExecutor(1)
        self._writing: Future[None] | None = None
        self._file = _open_uncached(path)

    def write(self, id: str, pixels: NDArray[np.uint8], check: str) -> None:
        """Append a picture, uint8 (H, W, 3), of the checksum `check`, unless it is stored already."""
        if id in self.locations:
            return
        self._room.take(pixels.nbytes, self._path.parent)
        data = np.ascontiguousarray(pixels).data.cast("B")
        self.locations[id] = (self.bytes, *pixels.shape[:2], check)
        self.bytes += len(data)
        while data:
            part = data[:BLOCK - self._used]
            self._block[self._used:self._used + len(part)] = part
            self._used += len(part)
            data = data[len(part):]
            if self._used == BLOCK:
                self._wait()
                self._writing = self._thread.submit(self._put, self._block)
                self._block, self._spare, self._used = self._spare, self._block, 0

    def _wait(self) -> None:
        if self._writing is not None:
            self._writing.result()

    def _put(self, data: memoryview) -> None:
        while data:
            try:
                data = data[os.write(self._file, data):]
            except OSError as error:
                if error.errno == errno.EINVAL and _use_cache(self._file):
                    continue
                raise UserError(f"Writing the decoded pictures failed ({error.strerror})", where=self._path.parent,
                                expected="a writable disk with free space",
                                do="free space, or set stream: true to decode during training") from error

    def __enter__(self) -> PixelWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Write the rest and wait until it is on the disk; after an error only close the file."""
        try:
            if kind is None:
                self._wait()
                _use_cache(self._file)  # The rest does not fill complete sectors.
                self._put(self._block[:self._used])
                os.fsync(self._file)
        finally:
            self._thread.shutdown()
            os.close(self._file)


def _open_uncached(path: Path) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
    try:
        return os.open(path, flags | getattr(os, "O_DIRECT", 0), 0o666)
    except OSError:  # Not every file system supports it.
        return os.open(path, flags, 0o666)


def _use_cache(file: int) -> bool:
    """Let what is written to `file` from now on go through the page cache; return whether it did not before."""
    flags, direct = fcntl.fcntl(file, fcntl.F_GETFL), getattr(os, "O_DIRECT", 0)
    fcntl.fcntl(file, fcntl.F_SETFL, flags & ~direct)
    return bool(flags & direct)


class DecodedPictures:
    """A folder with a pixel file and a table of its pictures: a pixel store, or the decoded pictures of an index."""

    def __init__(self, folder: Path, policy: str, *, fresh: bool = False) -> None:
        """Open the folder, whose pictures are trusted without reading them if they are `fresh`.

        Raises OSError, ValueError, KeyError or TypeError unless it holds pictures under `policy`.
        """
        self._fresh = fresh
        facts = read_facts(folder)
        if facts.policy != policy or facts.streams:
            raise ValueError("other pictures")
        self.path = folder / PIXELS
        self.decoder = facts.decoder
        table = pd.read_parquet(folder / IMAGES, columns=list(LOCATION_COLUMNS))
        self.locations = {row[0]: row[1:] for row in table.itertuples(index=False, name=None)}
        self._file = self.path.open("rb", buffering=0)

    def holds(self, ids: Iterable[str]) -> bool:
        """Return whether all pictures of `ids` are there as they were written."""
        return all(id in self.locations if self._fresh else self.read(id) is not None for id in ids)

    def read(self, id: str) -> NDArray[np.uint8] | None:
        """Return a picture, uint8 (H, W, 3), or None if it is missing or damaged."""
        if id not in self.locations:
            return None
        offset, height, width, expected = self.locations[id]
        data = os.pread(self._file.fileno(), 3 * height * width, offset)
        return np.frombuffer(data, np.uint8).reshape(height, width, 3) if checksum(data) == expected else None


def open_decoded(folder: Path, policy: str, *, fresh: bool = False) -> DecodedPictures | None:
    """Return the pictures in `folder`, if it holds some under `policy`; see `DecodedPictures`."""
    try:
        return DecodedPictures(folder, policy, fresh=fresh)
    except (OSError, ValueError, KeyError, TypeError):
        return None


class Pool:
    """Collects the decoded pictures of an index for the stores; used in a `with` block.

    `folder` appears at the end of the block, complete or not at all, with a folder for each split of which pictures
    were decoded. A pool can be pickled before the block.
    """

    def __init__(self, folder: Path, *, policy: str, room: Room) -> None:
        policy_function(policy)
        self.policy = policy
        self._folder, self._room = folder, room
        self._writers: dict[str, PixelWriter] = {}

    def part(self, number: int) -> Pool:
        """Return a pool for some of the pictures, in its own folder; `add_part` adds them to this one."""
        return Pool(self._part(number), policy=self.policy, room=self._room)

    def _part(self, number: int) -> Path:
        return self._folder / f"part-{number:05d}"

    def __enter__(self) -> Pool:
        self._files = ExitStack()
        self._scratch = scratch_folder(self._folder)
        self._building = self._scratch.__enter__()
        return self

    def add(self, split: str, id: str, pixels: NDArray[np.uint8], check: str) -> None:
        """Keep a picture, under the policy already and with the checksum `check`; UserError without room."""
        if split not in self._writers:
            (self._building / split).mkdir()
            writer = PixelWriter(self._building / split / PIXELS, self._room)
            self._writers[split] = self._files.enter_context(writer)
        self._writers[split].write(id, pixels, check)

    def add_part(self, number: int, split: str, ids: Iterable[str]) -> None:
        """Keep the pictures of `ids`, in their order, that the pool `part(number)` has; as `add`."""
        decoded = open_decoded(self._part(number) / split, self.policy, fresh=True)
        if decoded is None:
            return
        for id in ids:
            if (pixels := decoded.read(id)) is not None:
                self.add(split, id, pixels, decoded.locations[id][-1])

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        try:
            self._files.__exit__(kind, error, trace)
            if kind is None and self._writers:
                for split, writer in self._writers.items():
                    _write_locations(self._building / split, writer, self.policy)
                while not moved(self._building, self._folder):
                    move_away(self._folder)
        finally:
            self._scratch.__exit__(kind, error, trace)


def _write_locations(folder: Path, writer: PixelWriter, policy: str) -> None:
    """Write the table of decoded pictures that belong to no store yet."""
    table = pd.DataFrame([(id, *location) for id, location in writer.locations.items()], columns=list(LOCATION_COLUMNS))
    write_images(table, Facts(policy=policy, bytes=writer.bytes, images=len(table)), folder)
    sync(folder)


def share_file(path: Path, target: Path) -> None:
    """Make `to` a hard link to the file `path`, or a copy if the file system has none."""
    try:
        os.link(path, target)
    except OSError:
        shutil.copyfile(path, target)
