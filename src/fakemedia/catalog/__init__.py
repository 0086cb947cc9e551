"""Kedro datasets of the project.

What is large is made in place, under the path that the catalog names: its dataset checks what a node hands over and
opens it again. A dataset exists only if it is what the parameters and the data of today would make, so that
`kedro run --only-missing-outputs` makes anew what is missing or stale, and nothing else.
"""

from fakemedia.catalog.audit_datasets import DataFiguresDataset, DataTableDataset, DataTextDataset, FindingsDataset
from fakemedia.catalog.comparison_datasets import (
    ComparisonFiguresDataset,
    ComparisonTableDataset,
    ComparisonTextDataset,
)
from fakemedia.catalog.index_dataset import IndexDataset
from fakemedia.catalog.model_datasets import (
    CalibrationDataset,
    CheckpointDataset,
    RobustnessDataset,
    ScoresDataset,
    ValidationScoresDataset,
)
from fakemedia.catalog.pixel_dataset import PixelStoreDataset
from fakemedia.catalog.report_datasets import (
    FiguresDataset,
    PrintedTableDataset,
    TableDataset,
    TextDataset,
)
from fakemedia.catalog.similarity_datasets import GroupsDataset, SimilarityFiguresDataset, SimilarityTableDataset

__all__ = [
    "CalibrationDataset",
    "CheckpointDataset",
    "ComparisonFiguresDataset",
    "ComparisonTableDataset",
    "ComparisonTextDataset",
    "DataFiguresDataset",
    "DataTableDataset",
    "DataTextDataset",
    "FiguresDataset",
    "FindingsDataset",
    "GroupsDataset",
    "IndexDataset",
    "PixelStoreDataset",
    "PrintedTableDataset",
    "RobustnessDataset",
    "ScoresDataset",
    "SimilarityFiguresDataset",
    "SimilarityTableDataset",
    "TableDataset",
    "TextDataset",
    "ValidationScoresDataset",
]
