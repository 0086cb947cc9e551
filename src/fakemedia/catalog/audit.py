"""The audit of the data."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset

from fakemedia import project
from fakemedia.catalog import freshness
from fakemedia.catalog.names import FINDINGS
from fakemedia.catalog.report import FigureDataset, TableDataset, TextDataset
from fakemedia.catalog.tables import read_table, write_table

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

    def _exists(self) -> bool:
        return freshness.fresh_findings(*self._key) is not None

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path), "collection": self._key[0], "task": self._key[1]}


class _OfAudit:
    """A part of a sequence's audit; it exists only if it is younger than all findings it is made from."""

    _path: Path
    _sequence: str

    def _exists(self) -> bool:
        if not self._path.exists():
            return False
        plan, made = project.plan(self._sequence), self._path.stat().st_mtime_ns
        return all(
            freshness.fresh_findings(plan.collection, task) is not None
            and project.path(FINDINGS, collection=plan.collection, task=task).stat().st_mtime_ns <= made
            for task in plan.tasks
        )


class AuditFigureDataset(_OfAudit, FigureDataset):
    """A figure of the audit, as PNG and PDF."""


class AuditTableDataset(_OfAudit, TableDataset):
    """A table of the audit, as CSV."""


class AuditTextDataset(_OfAudit, TextDataset):
    """A text of the audit: HTML or JSON."""
