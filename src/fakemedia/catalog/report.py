"""Figures, tables and texts of a report, with previews for the viewer."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview, TablePreview

from fakemedia import project
from fakemedia.catalog import freshness
from fakemedia.catalog.names import SCORES
from fakemedia.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


class _ReportDataset(AbstractDataset):
    """A part of the report of one sequence; it exists only if it is younger than all scores it is drawn from."""

    def __init__(self, filepath: str, sequence: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self._sequence = sequence
        self.metadata = metadata

    def _exists(self) -> bool:
        if not self._path.exists():
            return False
        plan, drawn = project.plan(self._sequence), self._path.stat().st_mtime_ns
        runs = [(method.name, stage.key, seed) for method in plan.methods for stage in plan.learned(method.name)
                for seed in plan.seeds]
        return all(
            freshness.scores_are_fresh(plan.sequence, method, stage, seed)
            and project.path(SCORES, sequence=plan.sequence, method=method, stage=stage,
                             seed=seed).stat().st_mtime_ns <= drawn
            for method, stage, seed in runs
        )

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path), "sequence": self._sequence}

    def _write(self, data: bytes, path: Path | None = None) -> None:
        path = path or self._path
        scratch = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch.write_bytes(data)
            os.replace(scratch, path)
        except OSError as error:
            raise UserError(f"Writing failed ({error})", where=path, expected="a writable folder with free space",
                            do="make room, then draw the report again with: kedro run --tags reporting") from error
        finally:
            scratch.unlink(missing_ok=True)


class FigureDataset(_ReportDataset):
    """A matplotlib figure, saved as PNG (the path given) and, beside it, as PDF."""

    def load(self) -> bytes:
        """Return the bytes of the PNG file."""
        return self._path.read_bytes()

    def save(self, data: Figure) -> None:
        """Write both files atomically."""
        from fakemedia.reporting.style import render

        for kind in ("pdf", "png"):
            self._write(render(data, kind), self._path.with_suffix(f".{kind}"))

    def preview(self) -> ImagePreview:
        """Return the picture for the viewer."""
        return ImagePreview(base64.b64encode(self.load()).decode())


class TableDataset(_ReportDataset):
    """A table as CSV."""

    def load(self) -> pd.DataFrame:
        """Return the table."""
        import pandas as pd

        return pd.read_csv(self._path)

    def save(self, data: pd.DataFrame) -> None:
        """Write the table atomically."""
        self._write(data.to_csv(index=False).encode())

    def preview(self, nrows: int = 20) -> TablePreview:
        """Return the first rows for the viewer."""
        return TablePreview(self.load().head(nrows).to_dict(orient="split"))


class TextDataset(_ReportDataset):
    """A text file: LaTeX, Markdown, HTML or plain."""

    def load(self) -> str:
        """Return the text."""
        return self._path.read_text(encoding="utf-8")

    def save(self, data: str) -> None:
        """Write the text atomically."""
        self._write(data.encode())
