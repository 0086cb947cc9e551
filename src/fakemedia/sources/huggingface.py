"""Data sets of the Hugging Face format, by name or as local files; needs the extra `huggingface`.

Each row gives one image for each of the columns named, such as `image_gen0` to `image_gen3` of ELSA_D3. The images of
a row form one source group.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from fakemedia.core.errors import UserError
from fakemedia.core.extras import install
from fakemedia.core.types import FAKE, REAL, check_name
from fakemedia.sources.source import Item
from fakemedia.sources.split_names import SPLIT_NAMES, split_named
from fakemedia.sources.splits import complete


@dataclass(frozen=True, kw_only=True)
class Config:
    """The data set, and its columns."""

    task: str
    """Name of the one task that the data set gives."""
    real: tuple[str, ...]
    """Columns with real images."""
    fake: tuple[str, ...]
    """Columns with fake images."""
    dataset: str = ""
    """Name of the data set; empty: the local files in `root`."""
    root: str = ""
    """Folder with Parquet files, `<split>*.parquet`; other names have no split."""


@dataclass(frozen=True)
class HuggingFaceSource:
    """The images of one data set; see `fakemedia.sources.source.Source`."""

    config: Config

    def tasks(self) -> list[str]:
        """Return the name of the task."""
        return [check_name(self.config.task)]

    def items(self, task: str) -> list[Item]:
        """Return an item for each row and column, missing splits made by rule. UserError if a column is missing."""
        items = []
        for part, rows in self._parts.items():
            for columns, label in ((self.config.real, REAL), (self.config.fake, FAKE)):
                for column in columns:
                    if column not in rows.column_names:
                        raise UserError(f"The data set has no column {column!r}", where=self._where,
                                        expected=f"some of {', '.join(rows.column_names)}")
                    stamp = int(str(rows._fingerprint)[:15], 16)
                    items += [Item(path=f"{part}/{row:08d}/{column}", split=split_named(part) or "", label=label,
                                   class_name=column, source=f"{part}/{row}", bytes=0, mtime_ns=stamp)
                              for row in range(len(rows))]
        return complete(items, where=self._where)

    def reader(self, path: str) -> Callable[[], bytes]:
        """Return a function that reads an image; OSError if the row has none."""
        part, row, column = path.split("/")
        return partial(_image, self._parts[part], int(row), column)

    @property
    def _where(self) -> str:
        return self.config.dataset or self.config.root

    @cached_property
    def _parts(self) -> dict[str, Any]:
        try:
            import datasets  # pyright: ignore[reportMissingImports]
        except ImportError:
            raise UserError("Reading such data sets needs a package that is not installed", where="source huggingface",
                            do=install("huggingface")) from None
        try:
            if self.config.dataset:
                splits = datasets.load_dataset(self.config.dataset)
            else:
                files = sorted(Path(self.config.root).glob("*.parquet"))
                files_by_split: dict[str, list[str]] = {}
                for file in files:
                    part = next((name for name in SPLIT_NAMES if file.name.lower().startswith(name)), "all")
                    files_by_split.setdefault(part, []).append(str(file))
                splits = datasets.load_dataset("parquet", data_files=files_by_split)
        except Exception as error:  # The library raises many kinds of errors, also for a data set that does not exist.
            raise UserError(f"The data set cannot be loaded ({error})", where=self._where,
                            do="check its name, or point root to a folder with Parquet files") from None
        columns = {*self.config.real, *self.config.fake}
        for part, rows in splits.items():
            for column in columns & set(rows.column_names):
                rows = rows.cast_column(column, datasets.Image(decode=False))
            splits[part] = rows
        return dict(splits)


def _image(rows: Any, row: int, column: str) -> bytes:
    image = rows[row][column]
    data = image and (image["bytes"] or Path(image["path"]).read_bytes())
    if not data:
        raise OSError("the row has no image in this column")
    return data


def build(config: Config) -> HuggingFaceSource:
    """Return the source; nothing is read yet."""
    return HuggingFaceSource(config)
