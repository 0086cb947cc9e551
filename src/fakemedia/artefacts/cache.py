"""A limit for the size of results in the project's folder that are also at an address."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from fakemedia.artefacts.files import GIB
from fakemedia.core.hashing import fingerprint

LARGE = (".u8", ".safetensors")
"""The endings of the files that are removed: pixels and weights."""
REDUCED = ".reduced"
"""The file that marks a folder without them."""
logger = logging.getLogger(__name__)


def is_large(path: Path) -> bool:
    """Return whether a file is one of those that may be removed."""
    return path.name.endswith(LARGE)


def is_reduced(folder: Path) -> bool:
    """Return whether the large files of `folder` are only at the address."""
    return (folder / REDUCED).exists()


class Cache:
    """The time of the last use of each folder: the modification time of its file in `ledger`."""

    def __init__(self, ledger: Path, root: Path, limit: float) -> None:
        self._ledger, self._root, self._limit = ledger, root, limit
        self._locks = ledger.with_name(f"{ledger.name}.locks")
        self._descriptors: dict[Path, int] = {}
        self._warned = False

    def use(self, folder: Path, *, hold: bool = False) -> None:
        """Record a use of `folder`; with `hold` no process removes its large files while this one runs."""
        entry = self._ledger / fingerprint(folder.relative_to(self._root).as_posix())
        self._ledger.mkdir(parents=True, exist_ok=True)
        entry.write_text(folder.relative_to(self._root).as_posix(), encoding="utf-8")
        if hold and folder not in self._descriptors:
            self._descriptors[folder] = os.open(entry, os.O_RDONLY)
            with suppress(OSError):  # Not every file system has locks.
                fcntl.flock(self._descriptors[folder], fcntl.LOCK_SH)

    @contextmanager
    def fetching(self, artefact: Path) -> Iterator[None]:
        """Let one process at a time fetch `artefact`: a second one waits, and finds it complete."""
        lock_path = self._locks / fingerprint(artefact.relative_to(self._root).as_posix())
        lock_path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(lock_path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            with suppress(OSError):  # Not every file system has locks.
                fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def evict(self, is_stored: Callable[[Path], bool], *, room: int = 0) -> None:
        """Remove the large files of the least recently used folders until all, and `room` more bytes, fit in the limit.

        Kept are folders that are held, the one used last, and those for which `is_stored` is false.
        """
        if self._limit == float("inf"):
            return
        sizes = {entry: sum(path.stat().st_size for path in _large(self._folder(entry))) for entry in self._entries()}
        remaining = self._limit - room - sum(sizes.values())
        for entry, size in list(sizes.items())[:-1]:
            if remaining >= 0:
                return
            if size and self._folder(entry) not in self._descriptors and is_stored(self._folder(entry)):
                with _unused(entry) as unused:
                    if unused:
                        (self._folder(entry) / REDUCED).touch()
                        for path in list(_large(self._folder(entry))):
                            path.unlink(missing_ok=True)
                        remaining += size
        if remaining < 0 and not self._warned:
            logger.warning("The cache of the storage takes %.3g GiB more than storage.cache_gib: that much is in use, "
                           "or not at the address.", -remaining / GIB)
            self._warned = True

    def _entries(self) -> list[Path]:
        return sorted(self._ledger.glob("*"), key=lambda entry: entry.stat().st_mtime_ns)

    def _folder(self, entry: Path) -> Path:
        return self._root / entry.read_text(encoding="utf-8")


def _large(folder: Path) -> Iterator[Path]:
    return (path for path in folder.glob("*") if is_large(path))


@contextmanager
def _unused(entry: Path) -> Iterator[bool]:
    """Yield whether no process holds the folder of `entry`; none can hold it inside the block."""
    descriptor, unused = os.open(entry, os.O_RDONLY), True
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        unused = False
    except OSError:  # Not every file system has locks.
        pass
    try:
        yield unused
    finally:
        os.close(descriptor)
