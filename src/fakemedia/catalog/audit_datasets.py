"""The audit of the data."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import TablePreview

from fakemedia.artefacts.parquet import read_table, write_table
from fakemedia.catalog import freshness, previews
from fakemedia.catalog.names import FINDINGS
from fakemedia.catalog.report_datasets import FiguresDataset, TableDataset, TextDataset
from fakemedia.context import project

if TYPE_CHECKING:
    import pandas as pd


class FindingsDataset(AbstractDataset):
    """The findings about one task, as Parquet; they exist only if they are those of the fresh index."""

    def __init__(self, filepath: str, collection: str, task: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self._key = (collection, task)
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """Return the findings; UserError if the file is missing or damaged."""
        return read_table(self._path)

    def save(self, data: pd.DataFrame) -> None:
        """Write the findings atomically."""
        write_table(data, self._path)
        project.forget()

    @previews.if_there
    def preview(self) -> TablePreview:
        """Return the first findings for the viewer."""
        return previews.table(self.load())

    def _exists(self) -> bool:
        return _are_fresh(*self._key)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path), "collection": self._key[0], "task": self._key[1]}


class _OfData:
    """A part of a sequence's report that is made from the data alone: fresh if the findings of all tasks are."""

    _sequence: str

    def _tables(self) -> dict[Path, Callable[[], bool]]:
        plan = project.plan(self._sequence)
        return {project.path(FINDINGS, collection=plan.collection, task=task):
                partial(_are_fresh, plan.collection, task) for task in plan.tasks}


def _are_fresh(collection: str, task: str) -> bool:
    return freshness.fresh_findings(collection, task) is not None


class DataFiguresDataset(_OfData, FiguresDataset):
    """Figures of the data."""


class DataTableDataset(_OfData, TableDataset):
    """A table of the data, as CSV."""


class DataTextDataset(_OfData, TextDataset):
    """A text about the data: HTML or JSON."""
