"""Checkpoints of stages: written atomically, checked when read."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as serialize
from torch import Tensor

from fakemedia.artefacts.files import PARTIAL, sync, writing
from fakemedia.core.errors import UserError

WEIGHTS, METHOD, META = "weights.safetensors", "method.safetensors", "checkpoint.json"


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """What a stage leaves behind, on the CPU; made by `make_checkpoint`."""

    weights: dict[str, Tensor]
    """State dict of the network: parameters and buffers of the selected epoch."""
    method_state: dict[str, Tensor]
    """What the method carries to the next stage."""
    meta: dict[str, Any]
    """JSON values: fingerprint, configuration, history, parent, and the SHA-256 of either file."""

    @property
    def crop(self) -> int:
        """The side of the square that the network sees, pixels."""
        return self.meta["training"]["crop"]


def make_checkpoint(weights: Mapping[str, Tensor], method_state: Mapping[str, Tensor],
                    meta: Mapping[str, Any]) -> Checkpoint:
    """Return the checkpoint of tensors copied to the CPU, its `meta` completed by the SHA-256 of both files."""
    weights, method_state = _plain(weights), _plain(method_state)
    hashes = {"weights_sha256": _sha256(serialize(weights)), "method_sha256": _sha256(serialize(method_state))}
    return Checkpoint(weights=weights, method_state=method_state, meta=json.loads(_json({**meta, **hashes})))


def save(checkpoint: Checkpoint, folder: Path) -> None:
    """Write `checkpoint` as `folder`, which appears complete or not at all.

    An older checkpoint there is set aside just before and removed just after. Raises UserError if the disk is full or
    the place cannot be written.
    """
    with writing(folder):
        scratch = folder.with_name(f".{folder.name}{PARTIAL}")
        new, old = scratch / "new", scratch / "old"
        shutil.rmtree(scratch, ignore_errors=True)
        try:
            new.mkdir(parents=True)
            _write(new / WEIGHTS, serialize(checkpoint.weights))
            _write(new / METHOD, serialize(checkpoint.method_state))
            _write(new / META, _json(checkpoint.meta).encode())
            sync(new)
            if folder.exists():
                os.replace(folder, old)
            os.replace(new, folder)
            sync(folder.parent)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


def load(folder: Path) -> Checkpoint:
    """Read a checkpoint back; UserError naming the file that is missing, incomplete or changed."""
    meta = read_meta(folder)
    return Checkpoint(meta=meta, weights=_read(folder / WEIGHTS, meta["weights_sha256"]),
                      method_state=_read(folder / METHOD, meta["method_sha256"]))


def read_meta(folder: Path) -> dict[str, Any]:
    """Read the facts of a checkpoint without its tensors; UserError if they are not there or not whole."""
    path = folder / META
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
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


def is_valid(folder: Path, fingerprint: str, parent_sha256: str | None = None) -> bool:
    """Say whether `folder` holds a checkpoint with this fingerprint, made from parent weights of this SHA-256.

    The tensor files must be there; they are read and compared with their hashes by `load` only.
    """
    try:
        meta = read_meta(folder)
    except UserError:
        return False
    return (meta["fingerprint"] == fingerprint and meta.get("parent_weights_sha256") == parent_sha256
            and (folder / WEIGHTS).is_file() and (folder / METHOD).is_file())


def is_whole(folder: Path) -> bool:
    """Return whether `folder` holds a checkpoint with all its files; their content is compared by `load` only."""
    try:
        read_meta(folder)
    except UserError:
        return False
    return (folder / WEIGHTS).is_file() and (folder / METHOD).is_file()


def _plain(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: torch.empty(tensor.shape, dtype=tensor.dtype).copy_(tensor.detach())
            for name, tensor in tensors.items()}


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _json(meta: Mapping[str, Any]) -> str:
    return json.dumps(meta, indent=1, sort_keys=True, allow_nan=False, default=str) + "\n"


def _write(path: Path, data: bytes) -> None:
    path.write_bytes(data)
    sync(path)


def _read(path: Path, sha256: str) -> dict[str, Tensor]:
    try:
        data = path.read_bytes()
    except OSError:
        raise _damaged(path) from None
    if _sha256(data) != sha256:
        raise _damaged(path)
    return load_tensors(data)


def _damaged(path: Path) -> UserError:
    return UserError("A file of a checkpoint is missing, incomplete or was changed", where=path,
                     expected="the file as it was written", do="delete the checkpoint's folder and run again")
