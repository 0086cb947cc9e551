"""Datasets that monitoring reuses in the next run; missing or damaged ones are computed again from the log."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kedro.io import DatasetError

from fakemedia.catalog.file_datasets import TableDataset

if TYPE_CHECKING:
    import pandas as pd


class WindowsDataset(TableDataset):
    """The windows that were judged, as Parquet."""

    def load(self) -> pd.DataFrame:
        """Return the table; empty if the file is missing or damaged."""
        from fakemedia.monitoring.timeline import no_windows

        try:
            return super().load()
        except DatasetError:
            return no_windows()


class ReferenceDataset(TableDataset):
    """The pictures of the reference windows, as Parquet."""

    def load(self) -> pd.DataFrame:
        """Return the table; empty if the file is missing or damaged."""
        from fakemedia.monitoring.timeline import no_reference

        try:
            return super().load()
        except DatasetError:
            return no_reference()
