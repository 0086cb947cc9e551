"""Listing folders on the disk."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from fakemedia.artefacts.files import read_regular
from fakemedia.core.errors import UserError
from fakemedia.sources.pictures import HEAD, is_ignored


def is_folder(path: Path) -> bool:
    """Return whether `path` is a folder; UserError if permissions do not allow to determine that."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except PermissionError as error:
        raise _unreadable(path, error) from None
    except OSError:
        return False


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, sorted, but for hidden ones; UserError if it cannot be listed."""
    return [entry.name for entry in _entries(folder)]


def subfolders(folder: Path) -> list[str]:
    """Return the names of the folders in a folder, sorted, but for hidden ones; UserError if it cannot be listed."""
    return [entry.name for entry in _entries(folder) if _is_folder(entry)]


def walk(folder: str | Path) -> Iterator[str]:
    """Yield the path of each file below `folder`, in order, but for hidden ones and those that operating systems add.

    Linked folders are followed, each folder once. UserError if one cannot be listed.
    """
    yield from _walk(str(folder), set())


def head_of(path: str | Path) -> bytes:
    """Return the first bytes of a regular file, enough to recognise a picture; OSError if it cannot be read."""
    return read_regular(path, HEAD)


def _walk(folder: str, visited: set[tuple[int, int]]) -> Iterator[str]:
    try:
        status = os.stat(folder)
    except OSError as error:
        raise _unreadable(folder, error) from None
    if (status.st_dev, status.st_ino) in visited:
        return
    visited.add((status.st_dev, status.st_ino))
    for entry in _entries(folder):
        if _is_folder(entry):
            yield from _walk(entry.path, visited)
        else:
            yield entry.path


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # A link that leads to itself.
        return False


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted((entry for entry in entries if not is_ignored(entry.name)), key=lambda entry: entry.name)
    except OSError as error:
        raise _unreadable(folder, error) from None


def _unreadable(folder: str | Path, error: OSError) -> UserError:
    return UserError(f"The folder cannot be read ({error.strerror})", where=folder,
                     expected="a folder that you may list",
                     do="change its permissions, or remove it from the data")
