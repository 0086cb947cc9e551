"""Figures, tables and texts of a report, with previews for the viewer."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING

from kedro_datasets._typing import HTMLPreview, ImagePreview, TablePreview

from fakemedia.catalog import previews
from fakemedia.catalog.file_datasets import FileDataset

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.reporting.grids import Printed
    from fakemedia.reporting.rendering import RenderedFigure


class FiguresDataset(FileDataset):
    """Figures: each as PDF, PNG and SVG beside the path given, which lists them with their captions as JSON."""

    def load(self) -> list[RenderedFigure]:
        """Return the rendered figures, none if there are none yet; UserError if a file is missing or damaged."""
        from fakemedia.reporting.rendering import RenderedFigure

        if not self._path.exists():
            return []
        return [RenderedFigure(name=entry["name"], caption=entry["caption"], wide=entry["wide"],
                               files={kind: self._read(f"{entry['name']}.{kind}") for kind in entry["files"]})
                for entry in json.loads(self._read())]

    def save(self, data: list[RenderedFigure]) -> None:
        """Write all files atomically, each."""
        entries = [{"name": figure.name, "caption": figure.caption, "wide": figure.wide, "files": [*figure.files]}
                   for figure in data]
        files = {f"{figure.name}.{kind}": content for figure in data for kind, content in figure.files.items()}
        self._write({**files, self._path.name: (json.dumps(entries, indent=1) + "\n").encode()})

    @previews.if_exists
    def preview(self) -> ImagePreview | None:
        """Return the figures in one column for the viewer."""
        from fakemedia.reporting.rendering import stacked

        pictures = [figure.files["png"] for figure in self.load()]
        return previews.image(stacked(pictures)) if pictures else None


class CSVDataset(FileDataset):
    """A table as CSV."""

    def load(self) -> pd.DataFrame:
        """Return the table; UserError if the file is missing or damaged."""
        import pandas as pd

        return pd.read_csv(io.BytesIO(self._read()))

    def save(self, data: pd.DataFrame) -> None:
        """Write the table atomically."""
        self._write({self._path.name: data.to_csv(index=False).encode()})

    @previews.if_exists
    def preview(self) -> TablePreview:
        """Return the first rows for the viewer."""
        return previews.table(self.load())


class PrintedTablesDataset(FileDataset):
    """Tables as CSV, LaTeX and Markdown beside the path given, which lists their names as JSON."""

    def load(self) -> dict[str, pd.DataFrame]:
        """Return the tables by name; UserError if a file is missing or damaged."""
        import pandas as pd

        return {name: pd.read_csv(io.BytesIO(self._read(f"{name}.csv"))) for name in json.loads(self._read())}

    def save(self, data: dict[str, Printed]) -> None:
        """Write all files atomically, each."""
        files = {self._path.name: (json.dumps(list(data)) + "\n").encode()}
        for name, printed in data.items():
            files |= {f"{name}.csv": printed.frame.to_csv(index=False).encode(), f"{name}.tex": printed.latex.encode(),
                      f"{name}.md": printed.markdown.encode()}
        self._write(files)

    @previews.if_exists
    def preview(self) -> TablePreview | None:
        """Return the first rows of the first table for the viewer."""
        tables = self.load()
        return previews.table(next(iter(tables.values()))) if tables else None


class TextDataset(FileDataset):
    """A text file: HTML, JSON or plain."""

    def load(self) -> str:
        """Return the text; empty if the file does not exist."""
        return self._read().decode() if self._path.exists() else ""

    def save(self, data: str) -> None:
        """Write the text atomically."""
        self._write({self._path.name: data.encode()})

    @previews.if_exists
    def preview(self) -> HTMLPreview | None:
        """Return the text for the viewer, unless it is a page for the browser."""
        return None if self._path.suffix == ".html" else previews.text(self.load())
