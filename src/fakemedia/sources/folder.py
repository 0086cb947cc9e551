"""Image folders in the reference layout, `<task>/{train,val,test}/{0_real,1_fake}/`.

Folders inside a class folder are content classes. A task may have a table `<task>/sources.csv` with the columns `path`
(relative to the task's folder) and `source` (id of the source photograph).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS
from fakemedia.sources.data_folders import DataFolder, data_folder, root_of
from fakemedia.sources.groups import is_sources_table, with_sources
from fakemedia.sources.layout import check_layout, class_folders, split_folders
from fakemedia.sources.pictures import HEAD, PICTURES, respelled, skipped, unplaced
from fakemedia.sources.source import Item, Note
from fakemedia.sources.split_names import label_named, storable


@dataclass(frozen=True, kw_only=True)
class Config:
    """Location of the folders."""

    root: str
    """The folder that holds one folder for each task, or its address, such as s3://bucket/data."""


@dataclass(frozen=True)
class FolderSource:
    """The tasks under `root`; see `fakemedia.sources.source.Source`."""

    root: Path | str

    @cached_property
    def _data(self) -> DataFolder:
        return data_folder(self.root)

    def tasks(self) -> list[str]:
        """Return the names of the folders under `root` that hold a split, sorted; UserError without `root`."""
        if not self._data.is_folder(""):
            raise UserError("The folder of the data does not exist", where=self.root)
        return [name for name in self._data.subfolders("") if split_folders(self._data, name)]

    def items(self, task: str) -> list[Item]:
        """Return the images of `task`, sorted by path.

        UserError: a folder is missing or empty, or `sources.csv` is malformed or lacks an image.
        """
        return self.listing(task)[0]

    def listing(self, task: str) -> tuple[list[Item], list[Note]]:
        """Return the images of `task`, sorted by path, and notes on other files; UserError as `items`."""
        check_layout(self._data, [task], fakes_only=True)
        items: list[Item] = []
        other_files: dict[str, Counter[str]] = defaultdict(Counter)
        for folder in class_folders(self._data, task):
            for file in self._data.walk(folder.path):
                relative = storable(file[len(folder.path) + 1:])
                subfolder, _, name = relative.rpartition("/")
                if not PICTURES.includes(name, lambda file=file: self._data.reader(file, HEAD)()):
                    other_files[folder.path][PurePosixPath(name).suffix.lower()] += 1
                    continue
                path = f"{storable(folder.path)}/{relative}"
                size, mtime_ns = self._data.status(file)
                items.append(Item(path=path, split=folder.split, label=folder.label, class_name=subfolder, source="",
                                  bytes=size, mtime_ns=mtime_ns))
        items = self._with_sources(task, sorted(items, key=lambda item: item.path))
        return items, [*self._spellings(task), *skipped(other_files), *unplaced(self._unplaced(task))]

    def reader(self, path: str) -> Callable[[], bytes]:
        """Return a function that reads the file `path`, relative to `root`; OSError if it cannot be read."""
        return self._data.reader(path)

    def _spellings(self, task: str) -> list[Note]:
        names = {f"{task}/{name}": split for name, split in split_folders(self._data, task).items()}
        names |= {folder.path: CLASS_FOLDERS[folder.label] for folder in class_folders(self._data, task)}
        return respelled(names)

    def _unplaced(self, task: str) -> Counter[str]:
        """Count the pictures of the task's folder that are in no class folder, by folder."""
        splits = split_folders(self._data, task)
        counts: Counter[str] = Counter()
        for level in ("", *splits):
            folder = f"{task}/{level}" if level else task
            folders = self._data.subfolders(folder)
            counts[folder] += sum(PICTURES.is_named(name) for name in self._data.names(folder) if name not in folders)
            for name in folders:
                if name not in splits if not level else label_named(name) is None:
                    counts[f"{folder}/{name}"] += sum(map(PICTURES.is_named, self._data.walk(f"{folder}/{name}")))
        return +counts

    def _with_sources(self, task: str, items: list[Item]) -> list[Item]:
        """Return the items with their sources from the task's table, if there is one."""
        name = next(filter(is_sources_table, self._data.names(task)), None)
        if name is None:
            return items
        table = self._data.full(f"{task}/{name}")
        try:
            return with_sources(items, self._data.reader(f"{task}/{name}")(), task, table)
        except OSError as error:
            raise UserError(f"The table of sources cannot be read: {error.strerror or error}", where=table) from None


def build(config: Config) -> FolderSource:
    """Return the source; nothing is read yet."""
    return FolderSource(root_of(config.root))
