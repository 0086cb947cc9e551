"""What comes of comparing a sequence with others of the same tasks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from fakemedia.catalog.report_datasets import FiguresDataset, TableDataset, TextDataset, _ReportDataset, results_of
from fakemedia.context import project
from fakemedia.core.fingerprint import fingerprint


class _OfSequences(_ReportDataset):
    """Made from the scores of all sequences compared and from the distances between their tasks."""

    def _tables(self) -> dict[Path, Callable[[], bool]]:
        plans = project.compared(self._sequence)
        return {path: is_fresh for plan in plans for path, is_fresh in results_of(plan).items()}

    def _identity(self) -> str:
        return fingerprint([project.plan(self._sequence).similarity_identity, super()._identity()])


class ComparisonFiguresDataset(_OfSequences, FiguresDataset):
    """Figures of the comparison."""


class ComparisonTableDataset(_OfSequences, TableDataset):
    """A table of the comparison, as CSV."""


class ComparisonTextDataset(_OfSequences, TextDataset):
    """A text about the comparison: LaTeX, Markdown, HTML or plain."""
