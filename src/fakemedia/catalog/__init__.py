"""Kedro datasets of the project.

Large results are written in place, under the path in the catalog: on save, the dataset checks the node's output; on
load, it opens the folder. `project_catalog.py` writes a manifest after each save. A dataset exists only if its stored
result matches the current parameters and data, so `kedro run --only-missing-outputs` makes only what is missing or
stale.
"""

from fakemedia.catalog.file_datasets import (
    CalibrationDataset,
    JSONDataset,
    NoveltyDataset,
    PerturbedScoresDataset,
    ScoresDataset,
    TableDataset,
)
from fakemedia.catalog.folder_datasets import CheckpointDataset, FolderDataset, IndexDataset, PixelStoreDataset
from fakemedia.catalog.monitoring_datasets import ReferenceDataset, WindowsDataset
from fakemedia.catalog.report_datasets import CSVDataset, FiguresDataset, PrintedTablesDataset, TextDataset

__all__ = [
    "CSVDataset",
    "CalibrationDataset",
    "CheckpointDataset",
    "FiguresDataset",
    "FolderDataset",
    "IndexDataset",
    "JSONDataset",
    "NoveltyDataset",
    "PerturbedScoresDataset",
    "PixelStoreDataset",
    "PrintedTablesDataset",
    "ReferenceDataset",
    "ScoresDataset",
    "TableDataset",
    "TextDataset",
    "WindowsDataset",
]
