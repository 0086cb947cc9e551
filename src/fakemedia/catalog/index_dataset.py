"""The index of a task."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from kedro.io import AbstractDataset
from kedro_datasets._typing import TablePreview

from fakemedia.catalog import freshness, previews
from fakemedia.context import project

if TYPE_CHECKING:
    import pandas as pd


class IndexDataset(AbstractDataset):
    """The validated index of a task, one row an image, as Parquet; it exists only if its files are unchanged."""

    def __init__(self, filepath: str, collection: str, task: str, metadata: dict[str, Any] | None = None) -> None:
        self._path = Path(filepath)
        self._key = (collection, task)
        self.metadata = metadata

    def load(self) -> pd.DataFrame:
        """Return the index; UserError if the file is missing or damaged."""
        from fakemedia.ingest.index import read_index

        return read_index(self._path)

    def save(self, data: pd.DataFrame) -> None:
        """Write the index atomically."""
        from fakemedia.ingest.index import write_index

        write_index(data, self._path)
        project.forget()

    @previews.if_there
    def preview(self) -> TablePreview:
        """Return the first rows for the viewer."""
        return previews.table(self.load())

    def _exists(self) -> bool:
        return freshness.fresh_index(*self._key) is not None

    def _describe(self) -> dict[str, Any]:
        return {"filepath": str(self._path), "collection": self._key[0], "task": self._key[1]}
