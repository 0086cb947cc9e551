"""A detector as a folder for the hub, a registry or another machine: weights, calibration, model card, hashes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakemedia.artefacts.files import move_away, moved, scratch_folder, writing
from fakemedia.artefacts.manifest import (
    FOLDER_MANIFEST,
    Manifest,
    Recipe,
    make_manifest,
    read_manifest,
    verify,
    write_manifest,
)
from fakemedia.core.errors import UserError
from fakemedia.core.hashing import fingerprint
from fakemedia.evaluation.calibration import CALIBRATION_FILE
from fakemedia.evaluation.novelty import NOVELTY_FILE
from fakemedia.scoring.checkpoint_model import open_checkpoint
from fakemedia.scoring.model import Facts
from fakemedia.scoring.model_card import CARD, CardInfo, model_card

if TYPE_CHECKING:
    from fakemedia.networks.checkpoint import Checkpoint

ONNX = "model.onnx"
PRODUCER, VERSION = "detector", 1
SIDECARS = (CALIBRATION_FILE, NOVELTY_FILE)
"""Files beside a checkpoint that belong to its detector, where they exist."""


def write_detector(checkpoint: Path, out: Path, info: CardInfo, *, state: bool = False, onnx: bool = False) -> Facts:
    """Write the checkpoint folder `checkpoint` as the detector folder `out`, atomically; return its facts.

    `out` gets checkpoint.json, weights.safetensors, the SIDECARS, README.md (the model card), manifest.json with the
    SHA-256 of each file and, with `onnx`, model.onnx. With `state` it also gets method.safetensors, from which another
    task can be learned; a memory in it holds training pictures. An older detector in `out` is replaced.

    UserError if `checkpoint` is damaged or no checkpoint, if `out` holds anything else, or if it cannot be written.
    """
    from fakemedia.memory.memory import Memory
    from fakemedia.networks.checkpoint import META, METHOD, WEIGHTS, load
    from fakemedia.scoring.onnx_export import export

    if out.exists() and not is_detector(out) and (not out.is_dir() or any(out.iterdir())):
        raise UserError("The folder is not empty, and holds no detector", where=out, expected="a new or empty folder")
    loaded, facts = open_detector(checkpoint) if is_detector(checkpoint) else open_checkpoint(checkpoint)
    names = [META, WEIGHTS, *([METHOD] if state else []), *SIDECARS]
    n_pictures = len(Memory.read(load(checkpoint).method_state)) if state else 0
    with writing(out), scratch_folder(out) as building:
        for name in names:
            if (checkpoint / name).exists():
                shutil.copyfile(checkpoint / name, building / name)
        if onnx:
            export(building, building / ONNX)
        card = model_card(info, facts, _stages(checkpoint, loaded.meta), onnx=onnx, state=state, pictures=n_pictures)
        (building / CARD).write_text(card, encoding="utf-8")
        files = {path.name: path for path in sorted(building.iterdir())}
        recipe = Recipe(producer=PRODUCER, version=VERSION, inputs={"checkpoint": loaded.content})
        write_manifest(make_manifest(recipe, files), building, folder=True)
        if is_detector(out):
            move_away(out)
        if not moved(building, out):
            raise UserError("Another program wrote to the folder", where=out, do="export again")
    return facts


def is_detector(folder: Path) -> bool:
    """Return whether `folder` is a detector folder, damaged or not, and not the checkpoint of a run."""
    manifest = read_manifest(folder, folder=True)
    return (folder / CARD).is_file() if manifest is None else manifest.producer == PRODUCER


def open_detector(folder: Path) -> tuple[Checkpoint, Facts]:
    """Return the checkpoint in the detector folder `folder`, without the method's state, and its facts.

    UserError, which names the file, if one is missing or not as it was written.
    """
    verify_detector(folder)
    return open_checkpoint(folder)


def verify_detector(folder: Path) -> Manifest:
    """Return the manifest of the detector folder `folder` after comparing every file with it; UserError as above."""
    manifest = read_manifest(folder, folder=True)
    if manifest is None or not _is_whole(manifest):
        raise _changed(folder / FOLDER_MANIFEST)
    for name in manifest.files:
        try:
            verify(folder, manifest, folder=True, names=[name])
        except UserError:
            raise _changed(folder / name) from None
    for name in SIDECARS:
        if name not in manifest.files and (folder / name).exists():
            raise _changed(folder / name)
    return manifest


def _is_whole(manifest: Manifest) -> bool:
    """Return whether the manifest itself is as `make_manifest` makes it."""
    recipe = Recipe(producer=manifest.producer, version=manifest.version, settings=manifest.settings,
                    inputs=manifest.inputs)
    return (manifest.producer == PRODUCER and manifest.recipe == recipe.fingerprint
            and manifest.content == fingerprint({name: sha for name, (_, sha) in manifest.files.items()}))


def _changed(path: Path) -> UserError:
    return UserError("A file of the detector is missing, incomplete or was changed", where=path,
                     expected="the file as it was exported", do="copy or export the folder again")


def _stages(folder: Path, meta: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the facts of all stages that led to the checkpoint in `folder`, those whose folders are beside it."""
    from fakemedia.networks.checkpoint import content_of

    by_content = {content_of(sibling): sibling for sibling in _siblings(folder)}
    lineage = [meta]
    while (parent := by_content.get(lineage[0].get("parent") or "")) is not None:
        lineage.insert(0, parent)
    return lineage


def _siblings(folder: Path) -> Iterator[dict[str, Any]]:
    from fakemedia.networks.checkpoint import META, read_meta

    for path in folder.resolve().parent.glob(f"*/{META}"):
        try:
            yield read_meta(path.parent)
        except UserError:
            continue
