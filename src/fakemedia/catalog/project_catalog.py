"""Kedro's context and catalog of the project: typed parameters for nodes, artefacts with manifests."""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar
from typing import Any

from kedro.framework.context import KedroContext
from kedro.io import DataCatalog
from kedro.io.core import CatalogProtocol

from fakemedia.artefacts.manifest import Recipe, make_manifest, write_manifest
from fakemedia.catalog.artefact import Artefact
from fakemedia.catalog.file_datasets import FileDataset
from fakemedia.catalog.folder_datasets import FolderDataset, PixelStoreDataset
from fakemedia.catalog.lineage import Lineage
from fakemedia.catalog.names import (
    COLLECTION_PARAMETERS,
    GATE_PARAMETERS,
    METHOD_PARAMETERS,
    MONITORING_PARAMETERS,
    SCORE_LOG,
    SIMILARITY_PARAMETERS,
    UPDATE_PARAMETERS,
)
from fakemedia.context.context import Context
from fakemedia.context.loading import make_context
from fakemedia.runtime import launch

CURRENT_CONTEXT: ContextVar[Context | None] = ContextVar("context", default=None)
"""From Kedro's context to `register_pipelines`, which Kedro calls without arguments; read only there."""


class ProjectCatalog(DataCatalog):
    """A catalog in which an artefact exists only while it is current, and every save writes its manifest."""

    lineage: Lineage | None = None

    def exists(self, ds_name: str) -> bool:
        """Return whether the dataset exists and matches the current parameters and data."""
        artefact = self._artefact(ds_name)
        return super().exists(ds_name) if artefact is None else self._lineage.content(artefact) is not None

    def save(self, ds_name: str, data: Any) -> None:
        """Save the dataset and, for an artefact, its manifest."""
        super().save(ds_name, data)
        artefact = self._artefact(ds_name)
        if artefact is not None:
            self._record(artefact, ds_name, data)
            if launch.number() == 0:
                self._lineage.currency.upload(artefact)

    def fetch(self, ds_names: Iterable[str]) -> None:
        """Fetch those of the named datasets that are only in the storage."""
        for artefact in filter(None, map(self._artefact, ds_names)):
            self._lineage.currency.fetch(artefact)

    def fetch_outputs(self, ds_names: Iterable[str]) -> None:
        """Fetch those outputs of the next node that are only in the storage: current ones, which it need not make, and
        stale ones that it reuses to make them again."""
        for artefact in filter(None, map(self._artefact, ds_names)):
            if artefact.reused or self._lineage.content(artefact) is not None:
                self._lineage.currency.fetch(artefact)

    def upload(self, ds_names: Iterable[str]) -> None:
        """Write to the storage the current results of the named datasets that it lacks."""
        for artefact in filter(None, map(self._artefact, ds_names)):
            if self._lineage.currency.is_here(artefact):
                self._lineage.currency.upload(artefact)

    def load(self, ds_name: str, version: str | None = None) -> Any:
        """Load the dataset, fetched from the storage if necessary; a streaming pixel store gets the current paths of
        its files."""
        self.fetch([ds_name])
        data = super().load(ds_name, version)
        if isinstance(self.get(ds_name), PixelStoreDataset) and self.lineage is not None:
            self.lineage.hold(data.folder)
        if isinstance(self.get(ds_name), PixelStoreDataset) and data.streams and self.lineage is not None:
            collection, task, _ = ds_name.split("__")
            return type(data).open(data.folder, self.lineage.files(collection=collection, task=task))
        return data

    @property
    def _lineage(self) -> Lineage:
        assert self.lineage is not None
        return self.lineage

    def _artefact(self, ds_name: str) -> Artefact | None:
        if self.lineage is None or not isinstance(self.get(ds_name), FileDataset | FolderDataset):
            return None
        return self.lineage.artefact(ds_name)

    def _record(self, artefact: Artefact, ds_name: str, data: Any) -> None:
        """Write the manifest of the saved data; a result made from stale inputs is never current."""
        dataset, currency = self[ds_name], self._lineage.currency
        if isinstance(dataset, FileDataset | FolderDataset) and not artefact.folder:
            recipe = currency.recipe(artefact) or Recipe(producer="stale inputs", version=0)
            files = dataset.written if isinstance(dataset, FileDataset) else {}
            write_manifest(make_manifest(recipe, files, content=dataset.content(data)), artefact.path)
        currency.saved(artefact)


class ProjectContext(KedroContext):
    """Kedro's context; it makes the project's `Context` once and passes it to the pipelines and the catalog."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.project = make_context(self.config_loader, self.project_path)
        CURRENT_CONTEXT.set(self.project)

    @property
    def params(self) -> dict[str, Any]:
        """The parameters as configured; they are checked where plans are made."""
        return dict(self.project.parameters)

    def _get_catalog(self, catalog_class: type = DataCatalog, save_version: str | None = None,
                     load_versions: dict[str, str] | None = None) -> CatalogProtocol:
        if catalog_class is DataCatalog:
            catalog_class = ProjectCatalog
        catalog = super()._get_catalog(catalog_class, save_version, load_versions)
        if isinstance(catalog, ProjectCatalog):
            catalog.lineage = Lineage(self.project)
        return catalog

    def _get_parameters(self) -> dict[str, Any]:
        """Return the parameters by name; those that nodes read are checked settings."""
        return super()._get_parameters() | typed_parameters(self.project)


def typed_parameters(context: Context) -> dict[str, Any]:
    """Return the checked settings that nodes read, by parameter name."""
    plans = [context.plan(sequence) for sequence in context.sequences]
    methods = {METHOD_PARAMETERS.format(sequence=plan.sequence, label=method.label): method
               for plan in plans for method in plan.rooted(context.root).methods}
    collections = {COLLECTION_PARAMETERS.format(collection=name): context.collection(name)
                   for name in {plan.collection for plan in plans}}
    return {**methods, **collections, SIMILARITY_PARAMETERS: plans[0].similarity, UPDATE_PARAMETERS: context.update,
            GATE_PARAMETERS: context.gate, MONITORING_PARAMETERS: context.monitoring,
            SCORE_LOG: context.score_log} if plans else {}
