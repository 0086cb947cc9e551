"""The report of a sequence as files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any

from fakemedia.reporting.figures import draw_figures
from fakemedia.reporting.formats import latex_table, markdown_table
from fakemedia.reporting.page import report_page
from fakemedia.reporting.style import render
from fakemedia.reporting.tables import Tables


def report_files(tables: Tables, *, configuration: Mapping[str, Any], versions: Mapping[str, str],
                 commands: Sequence[str]) -> dict[str, bytes]:
    """Return every file of the report by its path in the report's folder; arguments as for `page.report_page`.

    metrics.csv, tables/*.csv, tables/summary.tex and .md, figures/*.png and .pdf, report.html.
    """
    figures = draw_figures(tables)
    frames = {name: getattr(tables, name)
              for name in ("summary", "differences", "curves", "tasks", "matrices", "splits")}
    page = report_page(tables, figures, configuration=configuration, versions=versions, commands=commands)
    return {
        "metrics.csv": tables.runs.to_csv(index=False).encode(),
        **{f"tables/{name}.csv": frame.to_csv(index=False).encode() for name, frame in frames.items()},
        "tables/summary.tex": latex_table(tables).encode(),
        "tables/summary.md": markdown_table(tables).encode(),
        **{f"figures/{name}.{kind}": render(figure, kind)
           for name, figure in figures.items() for kind in ("png", "pdf")},
        "report.html": page.encode(),
    }


def write_files(files: Mapping[str, bytes], folder: Path) -> None:
    """Write `files` (path in the folder: content), each whole or not at all."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(file.name, 0o644)
        os.replace(file.name, path)
