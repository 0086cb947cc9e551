"""Folders of the project as datasets: their producers write them in place, with the manifest inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview, JSONPreview, TablePreview

from fakemedia.catalog import previews
from fakemedia.core.errors import UserError

if TYPE_CHECKING:
    from fakemedia.ingest.parts import Index
    from fakemedia.networks.checkpoint import Checkpoint
    from fakemedia.store.pixels import PixelStore


class FolderDataset(AbstractDataset):
    """A folder that its producer writes in place; `ProjectCatalog` writes its manifest after each save."""

    def __init__(self, filepath: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self.metadata = metadata

    def load(self) -> Any:
        """Return the path of the folder."""
        return self._path

    def save(self, data: Any) -> None:
        """Write nothing: the folder is written in place."""

    def content(self, data: Any) -> str | None:
        """Return the content hash of `data`; None where its producer writes the manifest."""

    def _exists(self) -> bool:
        return self._path.is_dir()

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path)}


class IndexDataset(FolderDataset):
    """The index of a task: Parquet parts, read one at a time."""

    def load(self) -> Index:
        """Open the index; UserError if it is missing or damaged."""
        from fakemedia.ingest.parts import read_index

        return read_index(self._path)

    @previews.if_exists
    def preview(self) -> TablePreview:
        """Return the first rows for the viewer."""
        return previews.table(next(self.load().frames()))


class PixelStoreDataset(FolderDataset):
    """The decoded pixels of one split of a task, memory-mapped."""

    def load(self) -> PixelStore:
        """Open the store; UserError if it is missing or damaged."""
        from fakemedia.store.pixels import PixelStore

        return PixelStore.open(self._path)

    def save(self, data: PixelStore) -> None:
        """Check that the store was built in this folder; UserError otherwise."""
        if Path(data.folder).resolve() != self._path.resolve():
            raise UserError("The pixel store is in another folder", where=data.folder, expected=self._path)

    @previews.if_exists
    def preview(self) -> ImagePreview:
        """Return some real and some fake pictures for the viewer."""
        return previews.pictures(self.load())


class CheckpointDataset(FolderDataset):
    """The checkpoint folder of a stage: safetensors and JSON."""

    def load(self) -> Checkpoint:
        """Return the checkpoint; UserError if a file is missing or damaged."""
        from fakemedia.networks import checkpoint

        return checkpoint.load(self._path)

    def save(self, data: Checkpoint) -> None:
        """Check that the checkpoint was saved in this folder; UserError otherwise."""
        from fakemedia.networks import checkpoint

        if checkpoint.read_meta(self._path) != data.meta:
            raise UserError("This folder holds another checkpoint", where=self._path,
                            expected="the checkpoint that has just been trained")

    @previews.if_exists
    def preview(self) -> JSONPreview:
        """Return the configuration of the checkpoint for the viewer."""
        meta = json.loads((self._path / "checkpoint.json").read_text(encoding="utf-8"))
        return previews.facts({key: meta[key] for key in ("method", "network", "training", "stage", "seed",
                                                         "best_epoch", "computed_with", "versions", "weights_sha256")})
