"""The pixel stores of the tasks that a registered detector knows, found in the project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fakemedia.catalog.handles import fetch_missing
from fakemedia.catalog.lineage import Lineage
from fakemedia.catalog.names import SPLIT
from fakemedia.context.context import Context
from fakemedia.core.errors import UserError
from fakemedia.core.types import SPLITS
from fakemedia.registry.versions import Version

if TYPE_CHECKING:
    from fakemedia.store.pixels import PixelStore

UPDATE = "update"
"""The collection of the tasks that `kedro update` added; no configured one may have this name."""


class VersionStores:
    """The stores of tasks, each in the collection whose pictures a version or one before it has learned."""

    def __init__(self, context: Context, versions: Sequence[Version]) -> None:
        """Serve the tasks of `versions`; the versions that they were learned from should be among them."""
        self.context = context
        self._lineage = Lineage(context)
        self._learned_contents: dict[str, set[str]] = {}
        for version in versions:
            for name, content in version.facts.data.items():
                self._learned_contents.setdefault(name, set()).add(content)
        origins = [context.plan(name).collection for name in
                   dict.fromkeys(version.facts.origin.partition("/")[0] for version in versions)
                   if name in context.sequences]
        configured = context.parameters.get("collections") or {}
        self._collections = list(dict.fromkeys([*origins, UPDATE, *configured]))

    def features(self, task: str) -> Path:
        """Return the folder that keeps the features of the pictures of `task`."""
        return self.context.features_folder(self.collection(task) or UPDATE, task)

    def collection(self, task: str) -> str | None:
        """Return the collection that holds the pictures of `task` that were learned; None if none does."""
        return next((name for name in self._collections if self._holds(name, task)), None)

    def stores(self, tasks: Iterable[str], split: str) -> dict[str, PixelStore]:
        """Return the stores of one split by task; UserError, which names the first task that the project lacks."""
        stores = {}
        for task in tasks:
            name = self.collection(task)
            store = None if name is None else self._open(name, task, split)
            if store is None:
                raise UserError(f"The {split} pictures of {task!r} are not in this project, or changed since they were "
                                "learned", where=self.context.path(SPLIT, collection=name or "*", task=task,
                                                                   split=split),
                                expected="the pictures that the detector has learned, ingested",
                                do="kedro run --pipelines SEQUENCE --tags ingestion, with the sequence that has them")
            stores[task] = store
        return stores

    def _holds(self, collection: str, task: str) -> bool:
        """Return whether the stores in `collection` are those learned, as far as their contents were recorded."""
        stores = {split: self._open(collection, task, split) for split in SPLITS}
        contents = {f"{task} {split}": store.fingerprint for split, store in stores.items() if store is not None}
        return bool(contents) and all(content in self._learned_contents.get(name, {content})
                                      for name, content in contents.items())

    def _open(self, collection: str, task: str, split: str) -> PixelStore | None:
        from fakemedia.store.pixels import PixelStore

        path = self.context.path(SPLIT, collection=collection, task=task, split=split)
        fetch_missing(self.context, path)
        if not path.is_dir():
            return None
        store = PixelStore.open(path)
        return PixelStore.open(path, self._lineage.files(collection=collection, task=task)) if store.streams else store


def ancestors(version: Version, versions: Sequence[Version]) -> list[Version]:
    """Return `version` and those of `versions` that it was learned from, the last one first."""
    by_number: Mapping[int, Version] = {ancestor.number: ancestor for ancestor in versions}
    chain = [version]
    while (parent := by_number.get(chain[-1].facts.parent or 0)) is not None and parent not in chain:
        chain.append(parent)
    return chain
