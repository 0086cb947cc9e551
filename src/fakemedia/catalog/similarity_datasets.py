"""How similar the tasks of a sequence are, and their groups."""

from __future__ import annotations

import json
from typing import Any

from kedro_datasets._typing import JSONPreview

from fakemedia.catalog import freshness, previews
from fakemedia.catalog.names import SPLIT
from fakemedia.catalog.report_datasets import FiguresDataset, TableDataset, TextDataset
from fakemedia.context import project
from fakemedia.core.fingerprint import fingerprint


class _OfSimilarity:
    """Made from the training images of all tasks by today's settings; fresh as long as neither has changed."""

    _sequence: str

    def _identity(self) -> str:
        from fakemedia.store.pixels import PixelStore

        plan = project.plan(self._sequence)
        stores = [PixelStore.open(project.path(SPLIT, collection=plan.collection, task=task, split="train"))
                  for task in plan.listed]
        return fingerprint([plan.similarity_identity, [store.fingerprint for store in stores]])

    def _sources_are_fresh(self) -> bool:
        return freshness.train_fingerprints(self._sequence) is not None


class SimilarityFiguresDataset(_OfSimilarity, FiguresDataset):
    """Figures of similarities."""


class SimilarityTableDataset(_OfSimilarity, TableDataset):
    """A table of similarities, as CSV."""


class GroupsDataset(_OfSimilarity, TextDataset):
    """The groups of tasks that a sequence learns in turn, as JSON; they exist only if made from today's data."""

    def load(self) -> dict[str, Any]:
        """Return the groups and how they were found."""
        return json.loads(super().load())

    def save(self, data: dict[str, Any]) -> None:
        """Write the groups atomically."""
        super().save(json.dumps(data, indent=2) + "\n")
        project.forget()

    @previews.if_there
    def preview(self) -> JSONPreview:
        """Return the groups for the viewer."""
        return JSONPreview(json.dumps(self.load()))

    def _exists(self) -> bool:
        return freshness.groups_are_fresh(self._sequence)
