"""Figures, tables and texts of a report, with previews for the viewer."""

from __future__ import annotations

import json
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

    from fakemedia.core.plan import Plan
    from fakemedia.reporting.grids import Printed
    from fakemedia.reporting.rendering import Drawn


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


class FiguresDataset(_ReportDataset):
    """Figures: each as PDF, PNG and SVG beside the path given, which lists them with their captions as JSON."""

    def load(self) -> list[Drawn]:
        """Return the figures as they were drawn."""
        from fakemedia.reporting.rendering import Drawn

        listed = json.loads(self._path.read_text(encoding="utf-8"))
        return [Drawn(name=each["name"], caption=each["caption"], wide=each["wide"],
                      files={kind: self._path.with_name(f"{each['name']}.{kind}").read_bytes()
                             for kind in each["files"]}) for each in listed]

    def save(self, data: list[Drawn]) -> None:
        """Write all files atomically, each."""
        listed = [{"name": each.name, "caption": each.caption, "wide": each.wide, "files": [*each.files]}
                  for each in data]
        files = {f"{each.name}.{kind}": content for each in data for kind, content in each.files.items()}
        self._write({**files, self._path.name: (json.dumps(listed, indent=1) + "\n").encode()})

    @previews.if_there
    def preview(self) -> ImagePreview | None:
        """Return the figures, one below the other, for the viewer."""
        from fakemedia.reporting.rendering import stacked

        pictures = [each.files["png"] for each in self.load()]
        return previews.image(stacked(pictures)) if pictures else None


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
