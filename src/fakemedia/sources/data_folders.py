"""Where the files of a source are: in a folder of this machine, or at an address such as `s3://bucket/cddb`."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Protocol

from fakemedia.artefacts.addresses import ListedFile, is_address, list_files, read_file
from fakemedia.artefacts.files import read_regular
from fakemedia.sources import walking
from fakemedia.sources.pictures import is_ignored
from fakemedia.sources.split_names import on_disk


class DataFolder(Protocol):
    """A folder with the files of a source; paths in it are POSIX and relative, and `` is the folder itself."""

    def full(self, path: str) -> Path | str:
        """Return the path or the address of a file or folder."""
        ...

    def is_folder(self, path: str) -> bool:
        """Return whether a folder exists; UserError if that cannot be determined."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the names in a folder, sorted, but for hidden ones; UserError if it cannot be listed."""
        ...

    def subfolders(self, folder: str) -> list[str]:
        """Return the names of the folders in a folder, sorted, but for hidden ones; UserError as `names`."""
        ...

    def walk(self, folder: str) -> Iterator[str]:
        """Yield the path of each file below a folder, in order, but for hidden ones; UserError as `names`."""
        ...

    def status(self, path: str) -> tuple[int, int]:
        """Return the bytes and the time of the last change, nanoseconds, of a file; zeros if it cannot be reached."""
        ...

    def reader(self, path: str, size: int = -1) -> Callable[[], bytes]:
        """Return a function that reads a file, or its first `size` bytes; OSError if it cannot be read."""
        ...


@dataclass(frozen=True)
class LocalFolder:
    """A folder of this machine."""

    root: Path

    def full(self, path: str) -> Path:
        return self.root / path

    def is_folder(self, path: str) -> bool:
        return walking.is_folder(self.root / path)

    def names(self, folder: str) -> list[str]:
        return walking.names_in(self.root / folder)

    def subfolders(self, folder: str) -> list[str]:
        return walking.subfolders(self.root / folder)

    def walk(self, folder: str) -> Iterator[str]:
        start = len(os.path.join(self.root, "")) if str(self.root) != "." else 0
        return (path[start:] for path in walking.walk(self.root / folder))

    def status(self, path: str) -> tuple[int, int]:
        try:
            status = os.stat(on_disk(self.root, path))
        except OSError:
            return 0, 0
        return status.st_size, status.st_mtime_ns

    def reader(self, path: str, size: int = -1) -> Callable[[], bytes]:
        return partial(read_regular, on_disk(self.root, path), size)


@dataclass(frozen=True)
class RemoteFolder:
    """A folder at an address, listed once; the contents of its files are not kept."""

    root: str

    @cached_property
    def files(self) -> dict[str, ListedFile]:
        """The files by path, in order, but for hidden ones; UserError if they cannot be listed."""
        return {path: file for path, file in sorted(list_files(self.root).items())
                if not any(map(is_ignored, path.split("/")))}

    @cached_property
    def _folders(self) -> dict[str, dict[str, bool]]:
        """The names in each folder, and whether they are folders."""
        folders: dict[str, dict[str, bool]] = {"": {}} if self.files else {}
        for path in self.files:
            current, is_folder = path, False
            while current:
                folder, _, name = current.rpartition("/")
                entries = folders.setdefault(folder, {})
                if name in entries:
                    break
                entries[name] = is_folder
                current, is_folder = folder, True
        return folders

    def full(self, path: str) -> str:
        return f"{self.root.rstrip('/')}/{path}" if path else self.root

    def is_folder(self, path: str) -> bool:
        return path in self._folders

    def names(self, folder: str) -> list[str]:
        return sorted(self._folders.get(folder, {}))

    def subfolders(self, folder: str) -> list[str]:
        return sorted(name for name, is_folder in self._folders.get(folder, {}).items() if is_folder)

    def walk(self, folder: str) -> Iterator[str]:
        return (path for path in self.files if not folder or path.startswith(f"{folder}/"))

    def status(self, path: str) -> tuple[int, int]:
        file = self.files.get(path)
        return (0, 0) if file is None else (file.bytes, file.mtime_ns)

    def reader(self, path: str, size: int = -1) -> Callable[[], bytes]:
        return partial(read_file, self.full(path), size)


def root_of(root: str) -> Path | str:
    """Return the root of a source as a path or, if it is one, an address."""
    return root if is_address(root) else Path(root)


def data_folder(root: str | Path | DataFolder) -> DataFolder:
    """Return the folder at a path or an address."""
    if isinstance(root, (str, Path)):
        location = root_of(str(root)) if isinstance(root, str) else root
        return RemoteFolder(location) if isinstance(location, str) else LocalFolder(location)
    return root
