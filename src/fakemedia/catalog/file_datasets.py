"""Files of the project as datasets: written atomically, compared with their manifest when read."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview, TablePreview

from fakemedia.artefacts.files import write_file
from fakemedia.artefacts.manifest import damaged, read_manifest, read_of
from fakemedia.catalog import previews
from fakemedia.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.evaluation.calibration import Calibration
    from fakemedia.evaluation.novelty import Novelty


class FileDataset(AbstractDataset):
    """One file, or several of one stem; `ProjectCatalog` writes their manifest after each save."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata
        self.written: dict[str, bytes] = {}
        """The files written by the last save, by name, beside the path."""

    def content(self, data: Any) -> str | None:
        """Return the content hash of `data`; None: that of the files."""

    def _write(self, files: dict[str, bytes]) -> None:
        """Write the files, by name, atomically each; those of the last save that are not among them are removed."""
        previous = read_manifest(self._path)
        for name, data in files.items():
            write_file(self._path.parent / name, data)
        for name in set(previous.files if previous else self.written) - set(files):
            (self._path.parent / name).unlink(missing_ok=True)
        self.written = files

    def _read(self, name: str | None = None) -> bytes:
        """Return the bytes of a file; UserError if it is missing or differs from its manifest."""
        return read_of(self._path, self._path.with_name(name or self._path.name))

    def _exists(self) -> bool:
        return self._path.is_file()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}


class TableDataset(FileDataset):
    """A pandas table as Parquet."""

    def load(self) -> pd.DataFrame:
        """Return the table; UserError if the file is missing or damaged."""
        import pandas as pd

        try:
            return pd.read_parquet(io.BytesIO(self._read()))
        except UserError:
            raise
        except (OSError, ValueError, KeyError):  # pyarrow's errors derive from these
            raise damaged(self._path) from None

    def save(self, data: pd.DataFrame) -> None:
        """Write the table atomically."""
        buffer = io.BytesIO()
        plain = data.copy(deep=False)
        plain.attrs = {}
        plain.to_parquet(buffer, index=False)
        self._write({self._path.name: buffer.getvalue()})

    @previews.if_exists
    def preview(self) -> TablePreview:
        """Return the first rows for the viewer."""
        return previews.table(self.load())


class ScoresDataset(TableDataset):
    """The scores of a checkpoint, as Parquet; empty if they do not exist, which the report states."""

    def load(self) -> pd.DataFrame:
        """Return the scores; UserError if the file is damaged."""
        return super().load() if self._path.exists() else _empty_scores()


class PerturbedScoresDataset(TableDataset):
    """The scores of a checkpoint on perturbed images, as Parquet; empty if they do not exist."""

    def load(self) -> pd.DataFrame:
        """Return the scores; UserError if the file is damaged."""
        return super().load() if self._path.exists() else _empty_scores(perturbed=True)


class JSONDataset(FileDataset):
    """A mapping as JSON."""

    def load(self) -> dict[str, Any]:
        """Return the mapping; UserError if the file is missing or damaged."""
        try:
            return json.loads(self._read())
        except UserError:
            raise
        except ValueError:
            raise damaged(self._path) from None

    def save(self, data: dict[str, Any]) -> None:
        """Write the mapping atomically."""
        self._write({self._path.name: (json.dumps(data, indent=2) + "\n").encode()})

    @previews.if_exists
    def preview(self) -> JSONPreview:
        """Return keys and values for the viewer."""
        return previews.facts(self.load())


class CalibrationDataset(FileDataset):
    """The calibration of a checkpoint, as JSON inside its folder; None if it is not calibrated."""

    def load(self) -> Calibration | None:
        """Return the calibration; UserError if the file is damaged."""
        from fakemedia.evaluation.calibration import Calibration

        if not self._path.exists():
            return None
        return Calibration.from_json(self._read().decode(errors="replace"), where=self._path)

    def save(self, data: Calibration) -> None:
        """Write the calibration atomically."""
        self._write({self._path.name: data.to_json().encode()})

    @previews.if_exists
    def preview(self) -> JSONPreview:
        """Return temperature, threshold and band for the viewer."""
        return previews.facts(json.loads(self._read()))


class NoveltyDataset(FileDataset):
    """The novelty of a checkpoint, as JSON inside its folder."""

    def load(self) -> Novelty:
        """Return the novelty; UserError if the file is missing or damaged."""
        from fakemedia.evaluation.novelty import Novelty

        return Novelty.from_json(self._read().decode(errors="replace"), where=self._path)

    def save(self, data: Novelty) -> None:
        """Write the novelty atomically."""
        self._write({self._path.name: data.to_json().encode()})

    def content(self, data: Novelty) -> str:
        """Return the hash that the recipes of scores name."""
        return data.content

    @previews.if_exists
    def preview(self) -> JSONPreview:
        """Return thresholds and tasks for the viewer."""
        return previews.facts({name: value for name, value in json.loads(self._read()).items() if name != "centres"})


def _empty_scores(*, perturbed: bool = False) -> pd.DataFrame:
    """Return a table of scores without rows, optionally of perturbed images."""
    import pandas as pd

    columns = {"id": str, "task": str, "label": "int8", "source": str, "logit": "float64", "novelty": "float64"}
    if perturbed:
        columns |= {"perturbation": str, "strength": "float64"}
    return pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in columns.items()})
