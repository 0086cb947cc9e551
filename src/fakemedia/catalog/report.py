"""Figures, tables and texts of a report, with previews for the viewer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import HTMLPreview, ImagePreview, TablePreview

from fakemedia import project
from fakemedia.catalog import freshness, previews
from fakemedia.catalog.files import replacing
from fakemedia.catalog.names import CALIBRATION, SCORES
from fakemedia.catalog.tables import stored_identity
from fakemedia.core.fingerprint import fingerprint

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class _ReportDataset(AbstractDataset):
    """A part of the report of one sequence; it exists only if it was made from results that are all fresh.

    What it was made from stands beside it, in `.made_from`: fewer seeds or methods leave every table as it was.
    """

    def __init__(self, filepath: str, sequence: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self._sequence = sequence
        self.metadata = metadata

    def _tables(self) -> dict[Path, Callable[[], bool]]:
        """Return the files that the part is made from, each with the question whether it is fresh."""
        plan = project.plan(self._sequence)
        runs = [(method.name, stage.key, seed) for method in plan.methods for stage in plan.learned(method.name)
                for seed in plan.seeds]
        return {
            project.path(entry, sequence=plan.sequence, method=method, stage=stage, seed=seed):
                partial(is_fresh, plan.sequence, method, stage, seed)
            for method, stage, seed in runs
            for entry, is_fresh in ((SCORES, freshness.scores_are_fresh),
                                    (CALIBRATION, freshness.calibration_is_fresh))
        }

    @property
    def _stamp(self) -> Path:
        return self._path.parent / ".made_from" / self._path.name

    def _identity(self) -> str:
        return fingerprint([[path, _made_from(path)] for path in self._tables()])

    def _exists(self) -> bool:
        return (self._path.is_file() and self._stamp.is_file() and self._stamp.read_text() == self._identity()
                and all(is_fresh() for is_fresh in self._tables().values()))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path), "sequence": self._sequence}

    def _write(self, files: dict[Path, bytes]) -> None:
        for path, data in {**files, self._stamp: self._identity().encode()}.items():
            with replacing(path) as scratch:
                scratch.write_bytes(data)


def _made_from(path: Path) -> str | None:
    """Return what a table says it was made from, or the text of a file that is no table; None if it is not there."""
    if path.suffix == ".parquet":
        return stored_identity(path)
    return path.read_text(encoding="utf-8") if path.is_file() else None


class FigureDataset(_ReportDataset):
    """A matplotlib figure, saved as PNG (the path given) and, beside it, as PDF."""

    def load(self) -> bytes:
        """Return the bytes of the PNG file."""
        return self._path.read_bytes()

    def save(self, data: Figure) -> None:
        """Write both files atomically."""
        from fakemedia.reporting.style import render

        self._write({self._path.with_suffix(f".{kind}"): render(data, kind) for kind in ("pdf", "png")})

    @previews.if_there
    def preview(self) -> ImagePreview:
        """Return the picture for the viewer."""
        return previews.image(self.load())


class TableDataset(_ReportDataset):
    """A table as CSV."""

    def load(self) -> pd.DataFrame:
        """Return the table."""
        import pandas as pd

        return pd.read_csv(self._path)

    def save(self, data: pd.DataFrame) -> None:
        """Write the table atomically."""
        self._write({self._path: data.to_csv(index=False).encode()})

    @previews.if_there
    def preview(self) -> TablePreview:
        """Return the first rows for the viewer."""
        return previews.table(self.load())


class TextDataset(_ReportDataset):
    """A text file: LaTeX, Markdown, HTML or plain."""

    def load(self) -> str:
        """Return the text."""
        return self._path.read_text(encoding="utf-8")

    def save(self, data: str) -> None:
        """Write the text atomically."""
        self._write({self._path: data.encode()})

    @previews.if_there
    def preview(self) -> HTMLPreview | None:
        """Return the text for the viewer, unless it is a page for the browser."""
        return None if self._path.suffix == ".html" else previews.text(self.load())
