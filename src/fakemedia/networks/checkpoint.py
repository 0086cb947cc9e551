"""Checkpoints of stages: a folder that is replaced atomically, with its manifest inside, and checked when read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as serialize
from torch import Tensor

from fakemedia.artefacts.files import scratch_folder, sync, writing
from fakemedia.artefacts.manifest import (
    FOLDER_MANIFEST,
    Recipe,
    checked,
    is_current,
    make_manifest,
    manifest_bytes,
    read_manifest,
)
from fakemedia.core.errors import UserError
from fakemedia.core.hashing import fingerprint

WEIGHTS, METHOD, META = "weights.safetensors", "method.safetensors", "checkpoint.json"
FILES = (WEIGHTS, METHOD, META, FOLDER_MANIFEST)
"""The files of a checkpoint; its calibration is saved beside them later."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The result of a stage, on the CPU; made by `make_checkpoint`."""

    weights: dict[str, Tensor]
    """State dict of the network: parameters and buffers of the selected epoch."""
    method_state: dict[str, Tensor]
    """State of the method for the next stage."""
    meta: dict[str, Any]
    """JSON values: fingerprint (of its recipe), configuration, history, parent, and the SHA-256 of either file."""

    @property
    def content(self) -> str:
        """The hash of the weights and of the method's state: what the recipes of later artefacts name."""
        return content_of(self.meta)

    @property
    def crop(self) -> int:
        """The side of the square that the network sees, pixels."""
        return self.meta["training"]["crop"]


def content_of(meta: Mapping[str, Any]) -> str:
    """Return `Checkpoint.content` of the checkpoint with the facts `meta`."""
    return fingerprint({name: meta[name] for name in ("weights_sha256", "method_sha256")})


def make_checkpoint(weights: Mapping[str, Tensor], method_state: Mapping[str, Tensor],
                    meta: Mapping[str, Any]) -> Checkpoint:
    """Return the checkpoint of tensors copied to the CPU, ordered by name, its `meta` completed by the SHA-256 of both
    files."""
    weights, method_state = _on_cpu(weights), _on_cpu(method_state)
    hashes = {"weights_sha256": _sha256(serialize(weights)), "method_sha256": _sha256(serialize(method_state))}
    return Checkpoint(weights=weights, method_state=method_state, meta=json.loads(_json({**meta, **hashes})))


def save(checkpoint: Checkpoint, folder: Path, recipe: Recipe) -> None:
    """Write `checkpoint`, made by `recipe`, as `folder`.

    At every moment `load` finds one complete checkpoint: the new one is complete before the older one is renamed, and
    that is deleted when the new one has its name. Raises UserError if the disk is full or the folder cannot be written;
    the older one is then kept.
    """
    files = {WEIGHTS: serialize(checkpoint.weights), METHOD: serialize(checkpoint.method_state),
             META: _json(checkpoint.meta).encode()}
    manifest = make_manifest(recipe, files, content=checkpoint.content)
    with writing(folder):
        recover(folder)
        with scratch_folder(folder) as scratch:
            for name, data in {**files, FOLDER_MANIFEST: manifest_bytes(manifest)}.items():
                _write(scratch / name, data)
            sync(scratch)
            _swap(scratch, folder)


def _swap(scratch: Path, folder: Path) -> None:
    """Rename `new` to `folder`; an older one is kept as `_set_aside(folder)` until then."""
    old = _old_folder(folder)
    if folder.exists():
        os.replace(folder, old)
    try:
        os.replace(scratch, folder)
    except OSError:
        if old.exists():
            os.replace(old, folder)
        raise
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def _old_folder(folder: Path) -> Path:
    return folder.with_name(f".{folder.name}.old")


def recover(folder: Path) -> None:
    """Complete the replacement of `folder` if its writer was killed during it."""
    old = _old_folder(folder)
    if old.exists() and not folder.exists():
        with suppress(OSError):  # `load` finds it under the other name.
            os.replace(old, folder)
    elif old.exists():
        shutil.rmtree(old, ignore_errors=True)


def load(folder: Path, *, state: bool = True) -> Checkpoint:
    """Read a checkpoint back, tensors ordered by name; UserError naming the file that is missing or changed.

    Without `state` the method's state is not read, and empty: it may hold pictures, and scoring does not need it.
    """
    meta = read_meta(folder)
    current = _current_folder(folder)
    return Checkpoint(meta=meta, weights=_read(current / WEIGHTS, meta["weights_sha256"]),
                      method_state=_read_state(current, meta) if state else {})


def _read_state(current: Path, meta: Mapping[str, Any]) -> dict[str, Tensor]:
    manifest = read_manifest(current, folder=True)
    if manifest is not None and METHOD not in manifest.files:
        raise UserError("The checkpoint was exported without what its method needs to learn another task",
                        where=current / METHOD, do="export it again with --state")
    return _read(current / METHOD, meta["method_sha256"])


def _current_folder(folder: Path) -> Path:
    """Return the path of the checkpoint `folder`: another one during a replacement, or after an interrupted one."""
    old = _old_folder(folder)
    return old if old.exists() and not folder.exists() else folder


def read_meta(folder: Path) -> dict[str, Any]:
    """Read the facts of a checkpoint without its tensors; UserError if they are missing or incomplete."""
    path = _current_folder(folder) / META
    try:
        data, manifest = path.read_bytes(), read_manifest(path.parent, folder=True)
        if manifest is not None and META in manifest.files:
            checked(data, manifest, META, path)
        meta = json.loads(data)
        complete = {"fingerprint", "weights_sha256", "method_sha256"} <= meta.keys()
    except OSError:
        raise UserError("This is no checkpoint", where=path,
                        expected=f"a folder with {WEIGHTS}, {METHOD} and {META}") from None
    except (ValueError, AttributeError):
        meta, complete = None, False
    if not complete and isinstance(meta, dict) and "strategy_sha256" in meta:
        raise UserError("The checkpoint was written by an earlier version", where=path,
                        expected=f"{METHOD} in its folder", do="train it again: kedro run --only-missing-outputs")
    if meta is None or not complete:
        raise _damaged(path)
    return meta


def is_made_by(folder: Path, recipe: Recipe) -> bool:
    """Return whether `folder` holds a checkpoint made by `recipe`, with all its files at their sizes.

    Their content is compared by `load`.
    """
    return is_current(folder, recipe, folder=True)


def _on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
            for name, tensor in sorted(tensors.items())}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(meta: Mapping[str, Any]) -> str:
    return json.dumps(meta, indent=1, sort_keys=True, allow_nan=False, default=str) + "\n"


def _write(path: Path, data: bytes | memoryview) -> None:
    path.write_bytes(data)
    sync(path)


def _read(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
    except OSError:
        raise _damaged(path) from None
    if _sha256(data) != sha256:
        raise _damaged(path)
    return dict(sorted(load_tensors(data).items()))  # It returns them in another order each time.


def _damaged(path: Path) -> UserError:
    return UserError("A file of a checkpoint is missing, incomplete or was changed", where=path,
                     expected="the file as it was written", do="delete the checkpoint's folder and run again")
