"""Checkpoints of stages, and their scores."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import JSONPreview, TablePreview

from fakemedia.artefacts.files import write_file
from fakemedia.artefacts.parquet import empty_scores, read_table, write_table
from fakemedia.catalog import freshness, previews
from fakemedia.context import project

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.evaluation.calibration import Calibration
    from fakemedia.networks.checkpoint import Checkpoint


class RobustnessDataset(AbstractDataset):
    """The scores of the last checkpoint of a method and seed on perturbed test images, as Parquet."""

    def __init__(self, filepath: str, sequence: str, method: str, seed: str | int,
                 metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self._key = (sequence, method, int(seed))
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """Return the scores, none if they were never made; UserError if the file is damaged."""
        return read_table(self._path) if self._path.exists() else empty_scores(perturbed=True)

    def save(self, data: pd.DataFrame) -> None:
        """Write the scores atomically."""
        write_table(data, self._path)
        project.forget()

    def _exists(self) -> bool:
        return freshness.robustness_is_fresh(*self._key)

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path), **dict(zip(("sequence", "method", "seed"), self._key, strict=True))}


class _OfStage(AbstractDataset):
    """What one method makes at one stage with one seed."""

    def __init__(self, filepath: str, sequence: str, method: str, stage: str, seed: str | int,
                 metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self._key = (sequence, method, stage, int(seed))
        self.metadata = metadata

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path), **dict(zip(("sequence", "method", "stage", "seed"), self._key,
                                                        strict=True))}


class CheckpointDataset(_OfStage):
    """The checkpoint folder of a stage: safetensors and JSON.

    It exists only with the fingerprint that the parameters and the data of today ask for, as do its ancestors.
    """

    def load(self) -> Checkpoint:
        """Return the checkpoint; UserError if a file is missing or damaged."""
        from fakemedia.networks import checkpoint

        return checkpoint.load(self._path)

    def save(self, data: Checkpoint) -> None:
        """Write the checkpoint atomically, unless it already lies there."""
        from fakemedia.networks import checkpoint

        if not checkpoint.is_valid(self._path, data.meta["fingerprint"], data.meta.get("parent_weights_sha256")):
            checkpoint.save(data, self._path)
        project.forget()

    @previews.if_there
    def preview(self) -> JSONPreview:
        """Return for the viewer what the checkpoint was made by."""
        meta = json.loads((self._path / "checkpoint.json").read_text(encoding="utf-8"))
        return previews.facts({key: meta[key] for key in ("method", "network", "training", "stage", "seed",
                                                         "best_epoch", "computed_with", "versions", "weights_sha256")})

    def _exists(self) -> bool:
        return freshness.checkpoint_sha256(*self._key) is not None


class ScoresDataset(_OfStage):
    """The scores of a checkpoint over the test splits of all tasks, as Parquet."""

    def load(self) -> pd.DataFrame:
        """Return the scores, none if they were never made: a report says so; UserError if the file is damaged."""
        return read_table(self._path) if self._path.exists() else empty_scores()

    def save(self, data: pd.DataFrame) -> None:
        """Write the scores atomically."""
        write_table(data, self._path)
        project.forget()

    @previews.if_there
    def preview(self) -> TablePreview:
        """Return the first scores for the viewer."""
        return previews.table(self.load())

    def _exists(self) -> bool:
        return freshness.scores_are_fresh(*self._key)


class ValidationScoresDataset(ScoresDataset):
    """The scores of a checkpoint over the validation splits of the tasks it has seen, as Parquet."""

    def _exists(self) -> bool:
        return freshness.validation_is_fresh(*self._key)


class CalibrationDataset(_OfStage):
    """The calibration of a checkpoint, as JSON, inside its folder."""

    def load(self) -> Calibration | None:
        """Return the calibration, None if it was never made; UserError if the file is damaged."""
        from fakemedia.evaluation.calibration import Calibration

        if not self._path.exists():
            return None
        try:
            text = self._path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            text = ""
        return Calibration.from_json(text, where=self._path)

    def save(self, data: Calibration) -> None:
        """Write the calibration atomically."""
        write_file(self._path, data.to_json().encode())
        project.forget()

    @previews.if_there
    def preview(self) -> JSONPreview:
        """Return temperature, threshold and band for the viewer."""
        return previews.facts(json.loads(self._path.read_text(encoding="utf-8")))

    def _exists(self) -> bool:
        return freshness.calibration_is_fresh(*self._key)
