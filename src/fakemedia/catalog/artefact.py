"""An artefact of the project: its path, its inputs, and its recipe under the current parameters and data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fakemedia.artefacts.cache import is_reduced
from fakemedia.artefacts.manifest import Manifest, Recipe, has_files, is_current, read_manifest
from fakemedia.artefacts.storage import Storage

Hashes = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """A file or folder with its inputs and its recipe under the current parameters."""

    path: Path
    recipe: Callable[[Hashes], Recipe]
    """The recipe, given the content hash of each input by name."""
    inputs: Mapping[str, Artefact] = field(default_factory=dict)
    folder: bool = False
    """Whether it is a folder whose producer writes the manifest inside."""
    read_first: bool = False
    """Whether a folder that is only in the storage is fetched before `holds` is called, as files are."""
    reused: bool = False
    """Whether its producer uses a stale one to make the next one."""
    holds: Callable[[], bool] = lambda: True
    """A check of facts that no manifest records, such as that the source's files are still those indexed."""


class Currency:
    """Checks whether stored results match the current parameters and data: same recipe, and all inputs current.

    A result that is current only in the `storage` counts too. A positive answer is cached while the command runs, until
    the artefact is `saved` again.
    """

    def __init__(self, storage: Storage | None = None) -> None:
        self._content: dict[Path, str] = {}
        self._storage = storage
        self._only_in_storage: set[Path] = set()

    def content(self, artefact: Artefact) -> str | None:
        """Return the content hash of `artefact` if it is current, else None."""
        cached = self._content.get(artefact.path)
        if cached is not None:
            return cached
        manifest = read_manifest(artefact.path, folder=artefact.folder)
        if manifest is None or not self._is_current(artefact, manifest):
            manifest = self._stored(artefact)
        if manifest is None:
            return None
        self._content[artefact.path] = manifest.content
        return manifest.content

    def is_here(self, artefact: Artefact) -> bool:
        """Return whether `artefact` is current and in the project's folder."""
        return (self.content(artefact) is not None and artefact.path not in self._only_in_storage
                and not is_reduced(artefact.path))

    def fetch(self, artefact: Artefact, *, light: bool = False) -> None:
        """Fetch `artefact` from the storage if it is current only there, or missing here; see `Storage.fetch`."""
        if self._storage is None:
            return
        current = self.content(artefact) is not None
        missing = not current and read_manifest(artefact.path, folder=artefact.folder) is None
        if missing or artefact.path in self._only_in_storage or is_reduced(artefact.path):
            self._storage.fetch(artefact.path, folder=artefact.folder, light=light)
            if not light:
                self._only_in_storage.discard(artefact.path)

    def upload(self, artefact: Artefact) -> None:
        """Write `artefact`, which is in the project's folder, to the storage, if there is one."""
        if self._storage is not None:
            self._storage.upload(artefact.path, folder=artefact.folder)

    def recipe(self, artefact: Artefact) -> Recipe | None:
        """Return the current recipe of `artefact`; None if one of its inputs is missing or stale."""
        hashes: dict[str, str] = {}
        for name, dependency in artefact.inputs.items():
            content = self.content(dependency)
            if content is None:
                return None
            hashes[name] = content
        return artefact.recipe(hashes)

    def saved(self, artefact: Artefact) -> None:
        """Discard the cached answer for `artefact`, which has just been written."""
        self._content.pop(artefact.path, None)
        self._only_in_storage.discard(artefact.path)
        if self._storage is not None:
            self._storage.forget(artefact.path, folder=artefact.folder)

    def _stored(self, artefact: Artefact) -> Manifest | None:
        """Return the manifest of `artefact` in the storage if it is current there.

        Files are fetched, and folders that must be read to know whether they are current.
        """
        if self._storage is None:
            return None
        manifest, recipe = self._storage.manifest(artefact.path, folder=artefact.folder), self.recipe(artefact)
        if manifest is None or recipe is None or recipe.fingerprint != manifest.recipe:
            return None
        if artefact.folder and not artefact.read_first:
            self._only_in_storage.add(artefact.path)
            return manifest
        if is_current(artefact.path, recipe, folder=artefact.folder):  # `holds` is false, whatever is in the storage.
            return None
        fetched = self._storage.fetch(artefact.path, folder=artefact.folder)
        return manifest if fetched and artefact.holds() else None

    def _is_current(self, artefact: Artefact, manifest: Manifest) -> bool:
        if not has_files(artefact.path, manifest, folder=artefact.folder) or not artefact.holds():
            return False
        recipe = self.recipe(artefact)
        return recipe is not None and recipe.fingerprint == manifest.recipe
