"""Files and folders that appear complete or not at all."""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

from filelock import lock_descriptor

from fakemedia.core.errors import MachineError

GIB = 2**30
PARTIAL = ".partial"
"""The suffix of a file that is being written, or whose writer was killed."""
UNFINISHED = "unfinished-"
"""The end of the name of a folder that is built in several steps, before its key."""
_LEFTOVER = re.compile(rf"\..+\.([0-9a-f]{{32}}({PARTIAL}|\.old)?|[0-9]+{PARTIAL})", re.DOTALL)
"""The names of scratch files and folders; those with a process id are of version 0.1."""


def sync(path: Path) -> None:
    """Flush the file or folder `path` to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read_regular(path: str | Path, size: int = -1) -> bytes:
    """Return the content of a regular file, or its first `size` bytes; OSError for anything else, such as a pipe."""
    with open_regular(path) as file:
        return file.read(size)


@contextmanager
def open_regular(path: str | Path) -> Iterator[BinaryIO]:
    """Open a regular file for reading; OSError for anything else, such as a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "Not a regular file")
        yield file


def check_writable(folder: Path) -> None:
    """Raise UserError if nothing can be written to `folder`, which is created if missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise MachineError(f"Nothing can be written here ({error})", where=folder, expected="a writable folder",
                           do="change its permissions, or choose another folder") from error


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turn the errors of a full disk or a read-only folder into one UserError that names `path`."""
    try:
        yield
    except OSError as error:
        raise MachineError(f"Writing failed ({error})", where=path, expected="a writable folder with free space",
                           do="free space or choose another folder, then run again: what was saved before is kept",
                           ) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; the written file becomes `path` at the end.

    The folder is created, and leftovers of killed writers in it are removed. Raises UserError if the disk is full or
    the folder is read-only; an older `path` is then kept.
    """
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_leftovers(path.parent)
        scratch, lock = _locked_scratch(path, lambda new: new.touch(exist_ok=False), PARTIAL)
        try:
            yield scratch
            sync(scratch)
            os.replace(scratch, path)
        finally:
            scratch.unlink(missing_ok=True)
            os.close(lock)


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Write a file atomically; raises as `replacing` does."""
    with replacing(path) as scratch:
        scratch.write_bytes(data)


@contextmanager
def scratch_folder(target: Path) -> Iterator[Path]:
    """Yield a new folder beside `target` to build it in; it is removed at the end, unless it was moved away.

    Leftovers of killed writers beside it are removed first.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(target.parent)
    building, lock = _locked_scratch(target, os.mkdir)
    try:
        yield building
    finally:
        shutil.rmtree(building, ignore_errors=True)
        os.close(lock)


@contextmanager
def resumable_folder(target: Path, key: str) -> Iterator[Path]:
    """Yield a folder beside `target` to build it in. After an error, or if the writer is killed, its content is kept
    for the next call with this `key`; for another key it is removed.

    While another process builds in it, and where there are no locks, the folder is a scratch folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    unfinished = target.with_name(f".{target.name}.{UNFINISHED}{key}")
    for stale in set(target.parent.glob(f".{target.name}.{UNFINISHED}*")) - {unfinished}:
        _remove_if_dead(stale)
    with ExitStack() as stack:
        try:
            unfinished.mkdir(exist_ok=True)
            descriptor = os.open(unfinished, os.O_RDONLY)
            stack.callback(os.close, descriptor)
            is_locked = lock_descriptor(descriptor, blocking=False) and _is(unfinished, descriptor)
        except OSError:
            is_locked = False
        if is_locked:
            stack.callback(_remove_if_empty, unfinished)
        yield unfinished if is_locked else stack.enter_context(scratch_folder(target))


def _remove_if_empty(folder: Path) -> None:
    with suppress(OSError):
        folder.rmdir()


def remove_leftovers(folder: Path) -> None:
    """Remove the scratch files and folders in `folder` whose writers were killed: a living writer holds a lock."""
    with suppress(OSError):
        for path in [entry.path for entry in os.scandir(folder) if _LEFTOVER.fullmatch(entry.name)]:
            _remove_if_dead(Path(path))


def _remove_if_dead(leftover: Path) -> None:
    with suppress(OSError):
        descriptor = os.open(leftover, os.O_RDONLY)
        try:
            if not lock_descriptor(descriptor, blocking=False):
                return
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
        finally:
            os.close(descriptor)


def _locked_scratch(target: Path, create: Callable[[Path], None], suffix: str = "") -> tuple[Path, int]:
    """Create a hidden file or folder beside `target` and lock it; return it and the descriptor that holds the lock."""
    while True:
        scratch = target.with_name(f".{target.name}.{uuid.uuid4().hex}{suffix}")
        create(scratch)
        try:
            descriptor = os.open(scratch, os.O_RDONLY)
        except FileNotFoundError:  # Another process removed it as a leftover before it was locked.
            continue
        with suppress(OSError):  # Not every file system has locks; without one no other process removes the scratch.
            lock_descriptor(descriptor)
        if _is(scratch, descriptor):
            return scratch, descriptor
        os.close(descriptor)


def _is(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except FileNotFoundError:
        return False


def moved(new: Path, folder: Path) -> bool:
    """Rename the folder `new` to `folder` unless one exists that is not empty; return whether it was renamed."""
    try:
        new.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def move_away(folder: Path) -> None:
    """Delete a folder atomically: it is renamed first."""
    old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old")
    with suppress(FileNotFoundError):  # Another process moved it away first.
        folder.rename(old)
        shutil.rmtree(old, ignore_errors=True)


def replace_folder(new: Path, folder: Path) -> None:
    """Rename the folder `new` to `folder`, immediately after renaming an older one there; then delete that one."""
    with ExitStack() as stack:
        while not moved(new, folder):
            old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old")
            with suppress(FileNotFoundError):  # Another process moved it away first.
                folder.rename(old)
                stack.callback(shutil.rmtree, old, ignore_errors=True)
