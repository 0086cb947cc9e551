"""Kedro datasets of the project.

What is large is made in place, under the path that the catalog names: its dataset checks what a node hands over and
opens it again. `project_catalog.py` writes a manifest after each save, and a dataset exists only if it is what the
current parameters and data would make, so that `kedro run --only-missing-outputs` makes what is missing or stale, and
nothing else.
"""

from fakemedia.catalog.file_datasets import (
    CalibrationDataset,
    IndexDataset,
    JSONDataset,
    PerturbedScoresDataset,
    ScoresDataset,
    TableDataset,
)
from fakemedia.catalog.folder_datasets import CheckpointDataset, FolderDataset, PixelStoreDataset
from fakemedia.catalog.report_datasets import CSVDataset, FiguresDataset, PrintedTableDataset, TextDataset

__all__ = [
    "CSVDataset",
    "CalibrationDataset",
    "CheckpointDataset",
    "FiguresDataset",
    "FolderDataset",
    "IndexDataset",
    "JSONDataset",
    "PerturbedScoresDataset",
    "PixelStoreDataset",
    "PrintedTableDataset",
    "ScoresDataset",
    "TableDataset",
    "TextDataset",
]
