"""Versions of the detector: what each consists of, where it comes from, and that its files are as they were."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from fakemedia.artefacts.manifest import file_sha256
from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.hashing import fingerprint
from fakemedia.registry.client import FINISHED, RUNNING, Entry, Registry

if TYPE_CHECKING:
    from fakemedia.scoring.model_card import CardInfo

CHAMPION, CANDIDATE, PREVIOUS = "champion", "candidate", "previous"
"""Aliases: the version that serves; the one registered last, which may replace it; the former champion."""
EXPERIMENT = "versions"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a version was made from; kept as tags of the version."""

    origin: str
    """The run that made it: `sequence/label/seed0/stage`, or the folder's name."""
    network: str
    tasks: tuple[str, ...]
    """The tasks it has learned, in their order."""
    weights_sha256: str
    checkpoint: str
    """Content hash of weights and method state: what the checkpoint of a next stage names as its parent."""
    parent: int | None = None
    """The version that learned the stages before its last one; None: none of the registry."""
    data: Mapping[str, str] = field(default_factory=dict)
    """The content hash of each split that its last stage read, by `task split`."""
    calibration: Mapping[str, Any] | None = None
    """Its calibration; None: it has none, and gives no verdicts."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of the detector in a registry."""

    number: int
    run: str
    created: datetime
    """In UTC."""
    aliases: tuple[str, ...]
    content: str
    """Hash of all its files."""
    files: Mapping[str, str]
    """SHA-256 of each file, by its path in the folder."""
    facts: Facts


def register_checkpoint(registry: Registry, checkpoint: Path, info: CardInfo, *, parent: int | None = None) -> Version:
    """Write a checkpoint folder as a detector folder with state and ONNX file, and `register` that (imports torch).

    `info` is what the model card says; its name is the origin. UserError as `register` and `write_detector`.
    """
    from fakemedia.scoring.detector_folder import write_detector
    from fakemedia.scoring.onnx_model import require_packages

    require_packages("onnx", "onnxscript")
    with TemporaryDirectory(prefix=".new-", dir=registry.folder) as scratch:
        write_detector(checkpoint, Path(scratch) / "detector", info, state=True, onnx=True)
        return register(registry, Path(scratch) / "detector", origin=info.name, parent=parent)


def register(registry: Registry, folder: Path, *, origin: str, parent: int | None = None) -> Version:
    """Make the detector folder `folder` the next version and the candidate; return it.

    `folder` is what `scoring.detector_folder.write_detector` writes, with state and ONNX file. `parent` is the version
    that it was learned from; None: found by the checkpoint that it names. A detector that is registered already is not
    stored again. UserError if the folder is damaged or the registry cannot be written; no version is then made.
    """
    facts, files = describe(folder, origin), hashes(folder)
    content = fingerprint(files)
    with registry.changing():
        versions = list_versions(registry)
        registered = next((version for version in versions if version.content == content), None)
        if registered is None:
            number = parent if parent is not None else _parent(folder, versions)
            number = _store(registry, folder, {**asdict(facts), "parent": number}, files)
        else:
            number = registered.number
        if registered is None or CHAMPION not in registered.aliases:
            registry.set_alias(CANDIDATE, number)
        return find_version(registry, number)


def _store(registry: Registry, folder: Path, facts: Mapping[str, Any], files: Mapping[str, str]) -> int:
    tags = {name: value if isinstance(value, str) else json.dumps(value) for name, value in facts.items()}
    tags |= {"content": fingerprint(dict(files)), "files": json.dumps(files)}
    run = registry.record(EXPERIMENT, str(facts["origin"]), tags={"content": tags["content"]}, status=RUNNING)
    registry.keep_files(run, folder)
    check_files(registry.files(run), files, where=f"the copy of {folder} in the registry")
    number = registry.add_version(run, tags)
    registry.finish(run, FINISHED)
    return number


def describe(folder: Path, origin: str) -> Facts:
    """Return the facts of a detector folder (imports torch); UserError if it is damaged."""
    from fakemedia.scoring.checkpoint_model import open_checkpoint

    checkpoint, facts = open_checkpoint(folder)
    return Facts(origin=origin, network=facts.network, tasks=facts.tasks, weights_sha256=facts.weights_sha256,
                 checkpoint=checkpoint.content, data=_data(checkpoint.meta),
                 calibration=None if facts.calibration is None else asdict(facts.calibration))


def _data(meta: Mapping[str, Any]) -> dict[str, str]:
    return {f"{task} {split}": content for task, splits in meta.get("data", {}).items()
            for split, content in splits.items() if content}


def _parent(folder: Path, versions: list[Version]) -> int | None:
    """Return the newest version whose checkpoint the one in `folder` was learned from."""
    from fakemedia.networks.checkpoint import read_meta

    parent = read_meta(folder).get("parent")
    return next((version.number for version in reversed(versions)
                 if parent and version.facts.checkpoint == parent), None)


def hashes(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file in `folder` and below, by its POSIX path relative to it."""
    return {path.relative_to(folder).as_posix(): file_sha256(path)
            for path in sorted(folder.rglob("*")) if path.is_file()}


def check_files(folder: Path, files: Mapping[str, str], *, where: str) -> None:
    """Raise UserError, which names the file, unless `folder` holds exactly `files`, all with their SHA-256."""
    found_hashes = hashes(folder)
    for name in sorted({*found_hashes, *files}):
        if found_hashes.get(name) != files.get(name):
            state = "is missing" if name not in found_hashes else "was added" if name not in files else "was changed"
            raise UserError(f"The file {name} of a registered detector {state}", where=f"{where}: {folder / name}",
                            expected="the files as they were registered",
                            do="put the file back from a copy, or register the detector again")


def list_versions(registry: Registry) -> list[Version]:
    """Return all versions, the first one first."""
    aliases: dict[int, list[str]] = {}
    for alias, number in sorted(registry.aliases().items()):
        aliases.setdefault(number, []).append(alias)
    return [_version(entry, tuple(aliases.get(entry.number, ()))) for entry in registry.entries()]


def find_version(registry: Registry, number_or_alias: str | int) -> Version:
    """Return the version with this number or alias; UserError, with those that exist, if there is none."""
    versions = list_versions(registry)
    for version in versions:
        if str(version.number) == str(number_or_alias) or number_or_alias in version.aliases:
            return version
    if number_or_alias == CHAMPION:
        raise UserError("There is no champion yet", where=registry.where, expected="a version that was promoted",
                        do="kedro promote --by YOU" if versions else
                        "kedro register SEQUENCE/LABEL, then kedro promote --by YOU")
    if not versions:
        raise UserError("The registry has no versions yet", where=registry.where, do="kedro register SEQUENCE/LABEL")
    names = [*(str(version.number) for version in versions),
             *(alias for version in versions for alias in version.aliases)]
    raise unknown_name("version", number_or_alias, names, where=registry.where)


def open_version(registry: Registry, version: Version) -> Path:
    """Return the folder with the files of `version`, to be read only, after comparing every file with its SHA-256.

    UserError, which names the file, if one is missing, was changed or added.
    """
    where = f"version {version.number}"
    try:
        check_files(registry.files(version.run), version.files, where=where)
    except UserError:
        if not registry.is_copied:
            raise
        registry.forget_copy(version.run)
        check_files(registry.files(version.run), version.files, where=where)
    return registry.files(version.run)


def _version(entry: Entry, aliases: tuple[str, ...]) -> Version:
    tags = entry.tags
    try:
        parent, calibration = json.loads(tags["parent"]), json.loads(tags["calibration"])
        facts = Facts(origin=tags["origin"], network=tags["network"], tasks=tuple(json.loads(tags["tasks"])),
                      weights_sha256=tags["weights_sha256"], checkpoint=tags["checkpoint"], parent=parent,
                      data=json.loads(tags["data"]), calibration=calibration)
        return Version(number=entry.number, run=entry.run, created=entry.created, aliases=aliases,
                       content=tags["content"], files=json.loads(tags["files"]), facts=facts)
    except (KeyError, ValueError, TypeError) as error:
        raise UserError(f"A version was not registered by this project, or its tags were changed ({error!r})",
                        where=f"version {entry.number}", expected="versions made by kedro register") from None
