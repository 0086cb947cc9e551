"""An artefact of the project: where it is stored, and what the current parameters and data make it from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from fakemedia.artefacts.manifest import Manifest, Recipe, has_files, read_manifest

Hashes = Mapping[str, str]


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """What the current parameters and data make a file or folder from."""

    path: Path
    recipe: Callable[[Hashes], Recipe]
    """The recipe, given the content hash of each input by name."""
    inputs: Mapping[str, Artefact] = field(default_factory=dict)
    folder: bool = False
    """Whether it is a folder whose maker writes the manifest inside."""
    holds: Callable[[], bool] = lambda: True
    """A check of what no manifest records, such as that the source's files are still those indexed."""


class Currency:
    """Checks whether stored results match the current parameters and data: same recipe, and all inputs current.

    A positive answer is kept while the command runs, until the artefact is `saved` again.
    """

    def __init__(self) -> None:
        self._content: dict[Path, str] = {}

    def content(self, artefact: Artefact) -> str | None:
        """Return the content hash of `artefact` if it is current, else None."""
        known = self._content.get(artefact.path)
        if known is not None:
            return known
        manifest = read_manifest(artefact.path, folder=artefact.folder)
        if manifest is None or not self._is_current(artefact, manifest):
            return None
        self._content[artefact.path] = manifest.content
        return manifest.content

    def recipe(self, artefact: Artefact) -> Recipe | None:
        """Return the current recipe of `artefact`; None if one of its inputs is missing or stale."""
        hashes: dict[str, str] = {}
        for name, each in artefact.inputs.items():
            content = self.content(each)
            if content is None:
                return None
            hashes[name] = content
        return artefact.recipe(hashes)

    def saved(self, artefact: Artefact) -> None:
        """Discard the answer for `artefact`, which has just been written."""
        self._content.pop(artefact.path, None)

    def _is_current(self, artefact: Artefact, manifest: Manifest) -> bool:
        if not has_files(artefact.path, manifest, folder=artefact.folder) or not artefact.holds():
            return False
        recipe = self.recipe(artefact)
        return recipe is not None and recipe.fingerprint == manifest.recipe
