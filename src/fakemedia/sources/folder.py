"""Image folders in the reference layout, `<task>/{train,val,test}/{0_real,1_fake}/`.

Folders inside a class folder are content classes. A task may have a table `<task>/sources.csv` with the columns `path`
(relative to the task's folder) and `source` (id of the source photograph).
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from fakemedia.artefacts.files import read_regular
from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS
from fakemedia.sources.groups import is_sources_table, with_sources
from fakemedia.sources.layout import check_layout, class_folders, split_folders
from fakemedia.sources.pictures import PICTURES, respelled, skipped, unplaced
from fakemedia.sources.source import Item, Note
from fakemedia.sources.split_names import label_named, on_disk, shown
from fakemedia.sources.walking import head_of, is_folder, names_in, subfolders, walk


@dataclass(frozen=True, kw_only=True)
class Config:
    """Location of the folders."""

    root: str
    """The folder that holds one folder for each task."""


@dataclass(frozen=True)
class FolderSource:
    """The tasks under `root`; see `fakemedia.sources.source.Source`."""

    root: Path

    def tasks(self) -> list[str]:
        """Return the names of the folders under `root` that hold a split, sorted; UserError without `root`."""
        if not is_folder(self.root):
            raise UserError("The folder of the data does not exist", where=self.root)
        return [name for name in subfolders(self.root) if split_folders(self.root, name)]

    def items(self, task: str) -> list[Item]:
        """Return the images of `task`, sorted by path.

        UserError: a folder is missing or empty, or `sources.csv` is malformed or lacks an image.
        """
        return self.listing(task)[0]

    def listing(self, task: str) -> tuple[list[Item], list[Note]]:
        """Return the images of `task`, sorted by path, and what else is in its folder; UserError as `items`."""
        check_layout(self.root, [task], fakes_only=True)
        items: list[Item] = []
        others: dict[str, Counter[str]] = defaultdict(Counter)
        for folder in class_folders(self.root, task):
            start = len(os.path.join(self.root, folder.path)) + 1
            for place in walk(self.root / folder.path):
                relative = shown(place[start:])
                inner, _, name = relative.rpartition("/")
                if not PICTURES.includes(name, partial(head_of, place)):
                    others[folder.path][PurePosixPath(name).suffix.lower()] += 1
                    continue
                path = f"{shown(folder.path)}/{relative}"
                size, mtime_ns = _status(place)
                items.append(Item(path=path, split=folder.split, label=folder.label, class_name=inner, source="",
                                  bytes=size, mtime_ns=mtime_ns))
        items = self._with_sources(task, sorted(items, key=lambda item: item.path))
        return items, [*self._spellings(task), *skipped(others),
                                                           *unplaced(self._unplaced(task))]

    def reader(self, path: str) -> Callable[[], bytes]:
        """Return a function that reads the file `path`, relative to `root`; OSError if it cannot be read."""
        return partial(read_regular, on_disk(self.root, path))

    def _spellings(self, task: str) -> list[Note]:
        names = {f"{task}/{name}": split for name, split in split_folders(self.root, task).items()}
        names |= {folder.path: CLASS_FOLDERS[folder.label] for folder in class_folders(self.root, task)}
        return respelled(names)

    def _unplaced(self, task: str) -> Counter[str]:
        """Count the pictures of the task's folder that are in no class folder, by folder."""
        splits = split_folders(self.root, task)
        found: Counter[str] = Counter()
        for level in ("", *splits):
            place = self.root / task / level
            found[(f"{task}/{level}" if level else task)] += sum(
                PICTURES.is_named(name) and not os.path.isdir(place / name) for name in names_in(place))
            for name in subfolders(place):
                if name not in splits if not level else label_named(name) is None:
                    found["/".join(part for part in (task, level, name) if part)] += sum(
                        PICTURES.is_named(path) for path in walk(place / name))
        return +found

    def _with_sources(self, task: str, items: list[Item]) -> list[Item]:
        """Return the items with their sources from the task's table, if there is one."""
        name = next(filter(is_sources_table, names_in(self.root / task)), None)
        if name is None:
            return items
        table = self.root / task / name
        try:
            return with_sources(items, read_regular(table), task, table)
        except OSError as error:
            raise UserError(f"The table of sources cannot be read: {error.strerror or error}", where=table) from None


def _status(path: str) -> tuple[int, int]:
    """Return the bytes and the mtime of a file; zeros for a file that cannot be reached, such as a dead link, whose
    reading later fails with the reason."""
    try:
        status = os.stat(path)
    except OSError:
        return 0, 0
    return status.st_size, status.st_mtime_ns


def build(config: Config) -> FolderSource:
    """Return the source; nothing is read yet."""
    return FolderSource(Path(config.root))
