"""The pixels of one split of a task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import ImagePreview

from fakemedia.catalog import freshness, previews
from fakemedia.catalog.names import INDEX
from fakemedia.context import project
from fakemedia.core.errors import UserError

if TYPE_CHECKING:
    from fakemedia.store.pixels import PixelStore


class PixelStoreDataset(AbstractDataset):
    """A memory-mapped pixel store; it exists only if it was made from the fresh index with today's policy."""

    def __init__(self, filepath: str, collection: str, task: str, split: str,
                 metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self._key = (collection, task, split)
        self.metadata = metadata

    def load(self) -> PixelStore:
        """Open the store; UserError if it is missing or damaged."""
        from fakemedia.ingest.build_store import image_files
        from fakemedia.ingest.index import read_index
        from fakemedia.store.pixels import PixelStore

        store = PixelStore.open(self._path)
        if not store.streams:
            return store
        collection, task, _ = self._key
        index = read_index(project.path(INDEX, collection=collection, task=task))
        return PixelStore.open(self._path, image_files(index, project.open_source(collection)))

    def save(self, data: PixelStore) -> None:
        """Take note of a store that was built in place."""
        if Path(data.folder).resolve() != self._path.resolve():
            raise UserError("The pixel store lies elsewhere", where=data.folder, expected=self._path)
        project.forget()

    @previews.if_there
    def preview(self) -> ImagePreview:
        """Return some real and some fake pictures for the viewer."""
        return previews.pictures(self.load())

    def _exists(self) -> bool:
        return freshness.split_fingerprint(*self._key) is not None

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path), **dict(zip(("collection", "task", "split"), self._key, strict=True))}
