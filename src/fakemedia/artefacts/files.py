"""Files and folders that are whole or not there."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile

from fakemedia.core.errors import UserError

GIB = 2**30
PARTIAL = ".partial"
"""How the name ends of what is being written, or was when its writer was killed."""


def sync(path: Path) -> None:
    """Wait until the file or folder `path` is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_regular(path: str | Path) -> bytes:
    """Return the content of a regular file; OSError for anything else, such as a pipe, which would never end."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        return file.read()


def check_writable(folder: Path) -> None:
    """Raise UserError if nothing can be written to `folder`, which is made if it is not there yet."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"Nothing can be written here ({error})", where=folder, expected="a writable folder",
                        do="give yourself the right to write there, or name another place") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the errors of a full disk or a read-only place into one UserError that names `path`."""
    try:
        yield
    except OSError as error:
        raise UserError(f"Writing failed ({error})", where=path, expected="a writable folder with free space",
                        do="make room or choose another folder, then run again: what was saved before is untouched",
                        ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; what was written becomes `path` at the end.

    The folder is made. Raises UserError if the disk is full or the place cannot be written; an older `path` then stays.
    """
    scratch = path.with_name(f".{path.name}.{os.getpid()}{PARTIAL}")
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield scratch
            sync(scratch)
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file atomically; raises as `replacing` does."""
    with replacing(path) as scratch:
        scratch.write_bytes(data)


@contextmanager
def _locked(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Hold the lock of `folder`, which ends with this process at the latest; yield whether it was obtained."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except FileNotFoundError:
        yield False
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield True
    except BlockingIOError:
        yield False
    finally:
        os.close(descriptor)


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target` to build it in; it is removed at the end, unless it was moved away.

    Folders that builders of `target` left behind when they were killed are removed first: a living builder holds the
    lock of its folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    building = target.with_name(f".{target.name}.{uuid.uuid4().hex}")
    with _locked(target.parent, wait=True):
        remove_leftovers(target)
        building.mkdir()
        holder = _locked(building, wait=True)
        holder.__enter__()
    try:
        yield building
    finally:
        shutil.rmtree(building, ignore_errors=True)
        holder.__exit__(None, None, None)


def remove_leftovers(target: Path) -> None:
    """Remove what killed builders of `target` left beside it."""
    for left in target.parent.glob(f".{target.name}.{'[0-9a-f]' * 32}*"):
        with _locked(left, wait=False) as dead:
            if dead:
                shutil.rmtree(left, ignore_errors=True)


def moved(new: Path, folder: Path) -> bool:
    """Rename the folder `new` to `folder` unless one that is not empty stands there; say whether it was done."""
    try:
        new.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def move_away(folder: Path) -> None:
    """Delete a folder, first renaming it, so that it is never seen half deleted."""
    old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old")
    with suppress(FileNotFoundError):  # Another process moved it away first.
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)
