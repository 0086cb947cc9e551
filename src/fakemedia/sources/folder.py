"""Image folders in the reference layout, `<task>/{train,val,test}/{0_real,1_fake}/`.

A task may have a table `<task>/sources.csv` with the columns `path` (relative to the task's folder) and `source` (id of
the source photograph).
"""

from __future__ import annotations

import csv
import os
import stat
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fakemedia.artefacts.files import read_regular
from fakemedia.core.errors import UserError
from fakemedia.core.types import SPLITS
from fakemedia.sources.layout import check_layout, class_folders, image_names
from fakemedia.sources.source import Item

SOURCES_TABLE = "sources.csv"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where the folders are."""

    root: str
    """The folder that holds one folder a task."""


@dataclass(frozen=True)
class FolderSource:
    """The tasks under `root`; see `fakemedia.sources.source.Source`."""

    root: Path

    def tasks(self) -> list[str]:
        """Return the names of the folders under `root` that hold a split, sorted; UserError without `root`."""
        if not self.root.is_dir():
            raise UserError("The folder of the data does not exist", where=self.root)
        return sorted(path.name for path in self.root.iterdir() if any((path / split).is_dir() for split in SPLITS))

    def items(self, task: str) -> list[Item]:
        """Return the images of `task`, sorted by path.

        UserError: a folder is missing or empty, or `sources.csv` is malformed or lacks an image.
        """
        check_layout(self.root, [task])
        listed = sorted((f"{folder}/{name}", split, label) for split, label, folder in class_folders(task)
                        for name in image_names(self.root / folder))
        groups = self._source_groups(task)
        items = []
        for path, split, label in listed:
            is_folder, size, mtime_ns = _status(os.path.join(self.root, path))
            if is_folder:
                continue
            if groups is not None and path not in groups:
                raise UserError(f"The image {path} has no row in the table of sources",
                                where=self.root / task / SOURCES_TABLE, expected="a row for every image of the task",
                                do="add the row, or remove the table to make each image its own source")
            items.append(Item(path=path, split=split, label=label, class_name="", bytes=size, mtime_ns=mtime_ns,
                              source="" if groups is None else groups[path]))
        return items

    def reader(self, path: str) -> Callable[[], bytes]:
        """Return a function that reads the file `path`, relative to `root`; OSError if it cannot be read."""
        return partial(read_regular, os.path.join(self.root, path))

    def _source_groups(self, task: str) -> dict[str, str] | None:
        table = self.root / task / SOURCES_TABLE
        if not table.is_file():
            return None
        expected = "UTF-8 text with the columns path and source, both filled, each path once"
        groups: dict[str, str] = {}
        try:
            with table.open(newline="", encoding="utf-8-sig") as file:
                for number, row in enumerate(csv.DictReader(file), start=2):
                    path, source = row.get("path"), row.get("source")
                    if not path or not source or f"{task}/{path}" in groups:
                        raise UserError(f"Row {number} of the table of sources cannot be used: {row}", where=table,
                                        expected=expected)
                    groups[f"{task}/{path}"] = source
        except (UnicodeDecodeError, csv.Error) as error:
            raise UserError(f"The table of sources cannot be read: {error}", where=table, expected=expected) from None
        return groups


def _status(path: str) -> tuple[bool, int, int]:
    """Return whether `path` is a folder, its bytes and its mtime; zeros for what cannot be reached, such as a dead
    link, so that reading it later gives the reason."""
    try:
        status = os.stat(path)
    except OSError:
        return False, 0, 0
    return stat.S_ISDIR(status.st_mode), status.st_size, status.st_mtime_ns


def build(config: Config) -> FolderSource:
    """Return the source; nothing is read yet."""
    return FolderSource(Path(config.root))
