"""The manifest of an artefact: what it was made from. The one mechanism that decides whether it is current.

An artefact is a file or a folder that a run makes: a pixel store, a checkpoint, a table of scores, a figure. Its
`Manifest` holds the `Recipe` it was made by (inputs by content hash, settings, the version of the code that made it)
and the SHA-256 of every file of its own content. Paths in it are relative and modification times are not used, so a
copied or moved project stays current.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass, field, is_dataclass
from pathlib import Path
from typing import Any

from fakemedia.artefacts.files import write_file
from fakemedia.core.errors import UserError
from fakemedia.core.hashing import fingerprint

FOLDER_MANIFEST = "manifest.json"
FILE_MANIFESTS = ".manifest"
"""The hidden folder beside files, for the manifest of each."""
SEAL = "zz_sha256"
"""The key of the hash of the other values in a manifest's file; it is the last one."""
BLOCK = 2**22


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """What an artefact is made from."""

    producer: str
    """The code that makes it, such as `stage` or `scores`."""
    version: int
    """Version of the code that makes it: raised in the producer's module when its results change."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """The settings that it depends on: JSON values, or what `core.hashing` takes."""
    inputs: Mapping[str, str] = field(default_factory=dict)
    """The content hash of each artefact that it is made from, by name."""

    @property
    def fingerprint(self) -> str:
        """The hash of the recipe, 32 hex digits."""
        return fingerprint({"producer": self.producer, "version": self.version, "settings": self.settings,
                            "inputs": dict(self.inputs)})


@dataclass(frozen=True, kw_only=True)
class Manifest:
    """The recipe of an artefact that was made, and its content."""

    recipe: str
    """`Recipe.fingerprint`."""
    producer: str
    version: int
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    content: str
    """Hash of the content: what the recipes of later artefacts name as their input."""
    files: Mapping[str, tuple[int, str]]
    """Size in bytes and SHA-256 of each file, by POSIX path relative to the artefact's folder."""


def make_manifest(recipe: Recipe, files: Mapping[str, bytes | memoryview | Path], *,
                  content: str | None = None) -> Manifest:
    """Return the manifest of `files`, by relative path: their bytes, or where they are.

    `content` is the artefact's content hash; None: it follows from the hashes of the files.
    """
    measured = {name: _measured(data) for name, data in sorted(files.items())}
    return Manifest(
        recipe=recipe.fingerprint, producer=recipe.producer, version=recipe.version,
        settings=json.loads(json.dumps(dict(recipe.settings), default=_plain)), inputs=dict(recipe.inputs),
        content=content or fingerprint({name: sha for name, (_, sha) in measured.items()}), files=measured)


def manifest_path(artefact: Path, *, folder: bool) -> Path:
    """Return where the manifest of `artefact` is: inside a folder, or in a hidden folder beside a file."""
    return artefact / FOLDER_MANIFEST if folder else artefact.parent / FILE_MANIFESTS / f"{artefact.name}.json"


def write_manifest(manifest: Manifest, artefact: Path, *, folder: bool = False) -> None:
    """Write `manifest` atomically; UserError as `artefacts.files.replacing`."""
    write_file(manifest_path(artefact, folder=folder), manifest_bytes(manifest))


def manifest_bytes(manifest: Manifest) -> bytes:
    """Return `manifest` as the bytes of its JSON file, which ends with a hash of the rest."""
    sealed = {**vars(manifest), SEAL: _seal(vars(manifest))}
    return (json.dumps(sealed, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _seal(values: Mapping[str, Any]) -> str:
    text = json.dumps(values, sort_keys=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def read_manifest(artefact: Path, *, folder: bool = False) -> Manifest | None:
    """Return the manifest of `artefact`; None if there is none, or it is damaged."""
    try:
        return parse_manifest(manifest_path(artefact, folder=folder).read_bytes())
    except OSError:
        return None


def parse_manifest(data: bytes) -> Manifest | None:
    """Return the manifest in the JSON file `data`; None if it is damaged."""
    try:
        values = json.loads(data)
        seal = values.pop(SEAL, None)
        if seal is not None and seal != _seal(values):  # Manifests of earlier versions have none.
            return None
        files = {name: (int(size), str(sha)) for name, (size, sha) in values.pop("files").items()}
        return Manifest(**values, files=files)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def is_current(artefact: Path, recipe: Recipe, *, folder: bool = False) -> bool:
    """Return whether `artefact` was made by `recipe` and has its files; see `has_files`."""
    manifest = read_manifest(artefact, folder=folder)
    return manifest is not None and manifest.recipe == recipe.fingerprint and has_files(artefact, manifest,
                                                                                        folder=folder)


def has_files(artefact: Path, manifest: Manifest, *, folder: bool = False) -> bool:
    """Return whether all files of `manifest` exist, with their recorded sizes, as they were written.

    The content of files that changed after the manifest was written, by their modification times, is compared; that of
    the others only when they are read. The manifest is then touched, so that they are not compared again.
    """
    base, manifest_file = (artefact if folder else artefact.parent), manifest_path(artefact, folder=folder)
    try:
        changed = changed_since(manifest_file, [base / name for name in manifest.files])
        if any((base / name).stat().st_size != size for name, (size, _) in manifest.files.items()):
            return False
        if not all(_matches(path, manifest.files[path.relative_to(base).as_posix()]) for path in changed):
            return False
    except OSError:
        return False
    if changed:
        touch(manifest_file)
    return True


def changed_since(manifest: Path, files: Iterable[Path]) -> list[Path]:
    """Return the `files` that changed after the file `manifest` did; OSError if one does not exist."""
    manifest_time = manifest.stat().st_mtime_ns
    return [path for path in files if path.stat().st_mtime_ns > manifest_time]


def touch(manifest: Path) -> None:
    """Record that the files of `manifest` are as they were written, by its modification time."""
    with suppress(OSError):
        os.utime(manifest)


def read_checked(path: Path) -> bytes:
    """Return the content of a file, verified if it has a manifest.

    UserError if it is missing, or it or its manifest is damaged.
    """
    return read_of(path, path)


def read_of(artefact: Path, path: Path) -> bytes:
    """Return the content of the file `path` of `artefact`, itself a file; UserError as `read_checked`."""
    manifest = read_manifest(artefact)
    if manifest is None and manifest_path(artefact, folder=False).exists():
        raise damaged(manifest_path(artefact, folder=False))
    try:
        data = path.read_bytes()
    except OSError:
        raise damaged(path) from None
    return data if manifest is None else checked(data, manifest, path.name, path)


def verify(artefact: Path, manifest: Manifest, *, folder: bool = False, names: Iterable[str] | None = None) -> None:
    """Read the files of `artefact`, or those of `names`; UserError for one that is missing or not as it was written."""
    base = artefact if folder else artefact.parent
    for name in manifest.files if names is None else names:
        if not _matches(base / name, manifest.files[name]):
            raise damaged(base / name)


def checked(data: bytes, manifest: Manifest, name: str, where: Path) -> bytes:
    """Return `data`, read of the file `name`, if it is as it was written; UserError otherwise."""
    if name not in manifest.files or _measured(data) != manifest.files[name]:
        raise damaged(where)
    return data


def damaged(path: Path) -> UserError:
    """Return the error for a file that is missing, incomplete or was changed."""
    return UserError("A result file is missing, incomplete or was changed", where=path,
                     expected="the file as it was written",
                     do="delete it and run again with --only-missing-outputs")


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits; OSError if it cannot be read."""
    return _measured(path)[1]


def _measured(data: bytes | memoryview | Path) -> tuple[int, str]:
    if not isinstance(data, Path):
        return len(data), hashlib.sha256(data).hexdigest()
    digest, size = hashlib.sha256(), 0
    with data.open("rb", buffering=0) as file:
        while block := file.read(BLOCK):
            digest.update(block)
            size += len(block)
    return size, digest.hexdigest()


def _matches(path: Path, expected: tuple[int, str]) -> bool:
    try:
        return path.stat().st_size == expected[0] and _measured(path) == expected
    except OSError:
        return False


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)
