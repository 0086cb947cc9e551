"""Registries and detector folders for tests."""

from __future__ import annotations

import atexit
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

from fakemedia.registry.client import open_registry
from tests.scoring import write_checkpoint


@cache
def _template() -> Path:
    folder = Path(mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    open_registry("", folder)
    return folder


def new_registry(folder: Path) -> Path:
    """Make `folder` that of a registry without versions, and return it: MLflow takes seconds to make the tables."""
    return shutil.copytree(_template(), folder)


def write_detector(folder: Path, seed: int = 0) -> Path:
    """Write a small detector, another one for another `seed`, as `folder` and return it."""
    write_checkpoint(folder, settings={"width": 8 + 8 * seed, "depth": 2})
    (folder / "README.md").write_text(f"# Detector {seed}\n")
    return folder
