"""Images that a table lists: CSV or Parquet with `path` and `label`, and optionally `task`, `split`, `source`
and `generator`.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath

import pandas as pd

from fakemedia.core.errors import UserError
from fakemedia.core.types import SPLITS, check_name
from fakemedia.sources.data_folders import DataFolder, data_folder, root_of
from fakemedia.sources.source import Item, Note
from fakemedia.sources.split_names import split_named
from fakemedia.sources.splits import completed
from fakemedia.sources.text_table import decoded, header_of

LABELS = {"0": 0, "0.0": 0, "real": 0, "0_real": 0, "false": 0, "1": 1, "1.0": 1, "fake": 1, "1_fake": 1, "true": 1}
"""Spellings of the labels: true is fake."""
REQUIRED_COLUMNS, COLUMNS = ("path", "label"), ("path", "label", "task", "split", "source", "generator")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Location of the table and the images."""

    root: str
    """The folder that the paths in the table count from, or its address, such as s3://bucket/data."""
    table: str
    """The table, .csv or .parquet, relative to `root`."""
    task: str = ""
    """Name of the task if the table has no column `task`; empty: the name of the table's file."""


@dataclass(frozen=True)
class TableSource:
    """The images of a table; see `fakemedia.sources.source.Source`."""

    root: Path | str
    table: str
    """Relative to `root`."""
    task: str

    @cached_property
    def _data(self) -> DataFolder:
        return data_folder(self.root)

    @property
    def _where(self) -> Path | str:
        return self._data.full(self.table)

    def tasks(self) -> list[str]:
        """Return the names of the tasks, sorted; UserError for a table that cannot be used."""
        return sorted(set(self._rows["task"]))

    def items(self, task: str) -> list[Item]:
        """Return the images of `task`; missing splits are made by rule. UserError for a table that cannot be used."""
        return list(self.listing(task)[0])

    def listing(self, task: str) -> tuple[Iterable[Item], list[Note]]:
        """Return the images of `task` one after another, and no notes; UserError as `items`."""
        rows = self._rows.loc[self._rows["task"] == task]
        if rows.empty:
            raise UserError(f"The table has no images of the task {task}", where=self._where,
                            expected=f"one of {', '.join(self.tasks())}")
        where = f"{self._where}, task {task}"
        return completed(_items(rows, lambda path: (0, 0)), _items(rows, self._data.status), where=where), []

    def reader(self, path: str) -> Callable[[], bytes]:
        """Return a function that reads an image file; OSError if it cannot be read."""
        return self._data.reader(path)

    @cached_property
    def _rows(self) -> pd.DataFrame:
        rows = self._table()
        missing = [name for name in REQUIRED_COLUMNS if name not in rows]
        if missing:
            raise self._error(f"The table lacks the column {missing[0]}")
        for name in COLUMNS:
            if name not in rows:
                rows[name] = self.task if name == "task" else ""
        text = pd.DataFrame(rows[list(COLUMNS)].astype("str").where(rows[list(COLUMNS)].notna(), ""))
        path = pd.Series(text["path"])
        self._check(path != "", "has no path")
        text["label"] = label = pd.Series(text["label"]).str.strip().str.lower().map(LABELS.get)
        self._check(label.notna(), f"has a label other than {', '.join(LABELS)}")
        text["split"] = split = pd.Series(text["split"]).str.strip().map(lambda name: split_named(name) if name else "")
        self._check(split.notna(), f"has a split other than {', '.join(SPLITS)}")
        self._check(path.map(self._inside), "names a path outside of the root")
        self._check(~path.duplicated(), "repeats a path")
        for task in set(text["task"]):
            check_name(task)
        return text

    def _table(self) -> pd.DataFrame:
        try:
            data = self._data.reader(self.table)()
            if PurePosixPath(self.table).suffix.lower() == ".parquet":
                rows = pd.read_parquet(io.BytesIO(data))
                return rows.rename(columns={name: str(name).strip().lower() for name in rows})
            text = decoded(data, self._where)
            delimiter, columns = header_of(text, REQUIRED_COLUMNS, self._where)
            with warnings.catch_warnings():
                warnings.simplefilter("error", pd.errors.ParserWarning)  # Rows with more cells than the header.
                return pd.read_csv(io.StringIO(text), sep=delimiter, dtype=str, keep_default_na=False, na_values=[""],
                                   names=columns, header=0, index_col=False)
        except UserError:
            raise
        except (OSError, ValueError, pd.errors.ParserError, pd.errors.ParserWarning) as error:
            raise self._error(f"The table cannot be read ({error})") from None

    def _inside(self, path: str) -> bool:
        try:
            if isinstance(self.root, str):
                return not path.startswith("/") and ".." not in path.split("/")
            root = self.root.resolve()
            return (root / path).resolve().is_relative_to(root)
        except (OSError, RuntimeError, ValueError):  # A cycle of links, a NUL in the name.
            return "\0" not in path and not Path(path).is_absolute() and ".." not in Path(path).parts

    def _check(self, is_valid: pd.Series, problem: str) -> None:
        if not is_valid.all():
            raise self._error(f"Row {int(is_valid.to_numpy().argmin()) + 2} of the table {problem}")

    def _error(self, message: str) -> UserError:
        return UserError(message, where=self._where, do="see docs/how-to/own-data.md",
                         expected=f"columns {' and '.join(REQUIRED_COLUMNS)}, "
                                  "and optionally task, split, source, generator")


def _items(rows: pd.DataFrame, status: Callable[[str], tuple[int, int]]) -> Iterator[Item]:
    columns = (rows[name] for name in ("path", "split", "label", "source", "generator"))
    for path, split, label, source, generator in zip(*columns, strict=True):
        size, mtime_ns = status(path)
        yield Item(path=path, split=split, label=int(label), source=source, class_name=generator, bytes=size,
                   mtime_ns=mtime_ns)


def build(config: Config) -> TableSource:
    """Return the source; nothing is read yet."""
    return TableSource(root_of(config.root), config.table, config.task or PurePosixPath(config.table).stem)
