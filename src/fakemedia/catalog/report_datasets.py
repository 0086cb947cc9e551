"""Figures, tables and texts of a report, with previews for the viewer."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import HTMLPreview, ImagePreview, TablePreview

from fakemedia.artefacts.files import write_file
from fakemedia.artefacts.parquet import stored_identity
from fakemedia.catalog import freshness, previews
from fakemedia.catalog.names import CALIBRATION, ROBUSTNESS, SCORES
from fakemedia.context import project
from fakemedia.core.fingerprint import fingerprint

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from fakemedia.core.plan import Plan
    from fakemedia.reporting.grids import Printed


def results_of(plan: Plan) -> dict[Path, Callable[[], bool]]:
    """Return the files of all runs of `plan` that reports are made from, each with the question whether it is fresh."""
    runs = [(method.label, stage.key, seed) for method in plan.methods for stage in plan.learned(method.label)
            for seed in plan.seeds]
    perturbed = {
        project.path(ROBUSTNESS, sequence=plan.sequence, method=method.label, seed=seed):
            partial(freshness.robustness_is_fresh, plan.sequence, method.label, seed)
        for method in plan.methods for seed in plan.seeds
    } if project.robustness(plan.sequence) else {}
    return perturbed | {
        project.path(entry, sequence=plan.sequence, method=method, stage=stage, seed=seed):
            partial(is_fresh, plan.sequence, method, stage, seed)
        for method, stage, seed in runs
        for entry, is_fresh in ((SCORES, freshness.scores_are_fresh), (CALIBRATION, freshness.calibration_is_fresh))
    }


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
        return results_of(project.plan(self._sequence))

    @property
    def _stamp(self) -> Path:
        return self._path.parent / ".made_from" / self._path.name

    def _identity(self) -> str:
        return fingerprint([[path, _made_from(path)] for path in self._tables()])

    def _sources_are_fresh(self) -> bool:
        return all(is_fresh() for is_fresh in self._tables().values())

    def _stamped(self) -> tuple[str, list[str]]:
        """Return what the part was made from and the names of its files; nothing if it was never made."""
        try:
            identity, *files = self._stamp.read_text(encoding="utf-8").splitlines()
        except (OSError, ValueError):
            return "", []
        return identity, files

    def _exists(self) -> bool:
        identity, files = self._stamped()
        return (bool(identity) and self._sources_are_fresh() and identity == self._identity()
                and all((self._path.parent / name).is_file() for name in files))

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path), "sequence": self._sequence}

    def _write(self, files: dict[str, bytes]) -> None:
        """Write the files, by name, atomically each; those that the part had before and has no more are removed."""
        folder, (_, before) = self._path.parent, self._stamped()
        for name, data in files.items():
            write_file(folder / name, data)
        for name in set(before) - set(files):
            (folder / name).unlink(missing_ok=True)
        write_file(self._stamp, "\n".join([self._identity(), *files]).encode())


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
        self._write(_both(self._path.stem, data))

    @previews.if_there
    def preview(self) -> ImagePreview:
        """Return the picture for the viewer."""
        return previews.image(self.load())


class FigureSetDataset(_ReportDataset):
    """One figure for each method, saved as PNG and PDF: `roc_kd.png` and so on where the path given is `roc.png`."""

    def load(self) -> dict[str, bytes]:
        """Return the bytes of the PNG files by name."""
        _, files = self._stamped()
        return {name: (self._path.parent / name).read_bytes() for name in files if name.endswith(".png")}

    def save(self, data: dict[str, Figure]) -> None:
        """Write all files atomically."""
        files: dict[str, bytes] = {}
        for method, figure in data.items():
            files |= _both(f"{self._path.stem}_{method}", figure)
        self._write(files)

    def preview(self) -> ImagePreview | None:
        """Return the pictures, one below the other, for the viewer."""
        from fakemedia.reporting.style import stacked

        pictures = list(self.load().values())
        return previews.image(stacked(pictures)) if pictures else None


def _both(name: str, figure: Figure) -> dict[str, bytes]:
    from fakemedia.reporting.style import render

    return {f"{name}.{kind}": render(figure, kind) for kind in ("pdf", "png")}


class TableDataset(_ReportDataset):
    """A table as CSV."""

    def load(self) -> pd.DataFrame:
        """Return the table."""
        import pandas as pd

        return pd.read_csv(self._path)

    def save(self, data: pd.DataFrame) -> None:
        """Write the table atomically."""
        self._write({self._path.name: data.to_csv(index=False).encode()})

    @previews.if_there
    def preview(self) -> TablePreview:
        """Return the first rows for the viewer."""
        return previews.table(self.load())


class PrintedTableDataset(TableDataset):
    """A table as CSV (the path given) and, beside it, as LaTeX and Markdown."""

    def save(self, data: Printed) -> None:  # type: ignore[override]
        """Write the three files atomically."""
        self._write({
            self._path.name: data.frame.to_csv(index=False).encode(),
            f"{self._path.stem}.tex": data.latex.encode(),
            f"{self._path.stem}.md": data.markdown.encode(),
        })


class TextDataset(_ReportDataset):
    """A text file: HTML, JSON or plain."""

    def load(self) -> str:
        """Return the text; nothing if it was never written."""
        return self._path.read_text(encoding="utf-8") if self._path.exists() else ""

    def save(self, data: str) -> None:
        """Write the text atomically."""
        self._write({self._path.name: data.encode()})

    @previews.if_there
    def preview(self) -> HTMLPreview | None:
        """Return the text for the viewer, unless it is a page for the browser."""
        return None if self._path.suffix == ".html" else previews.text(self.load())
