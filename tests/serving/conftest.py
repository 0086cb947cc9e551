"""A service of a small registry, in this process."""

from __future__ import annotations

import io
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakemedia.registry.client import Registry, open_registry

pytest.importorskip("mlflow")
pytest.importorskip("onnx")


@pytest.fixture(scope="session")
def _registered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.registries import served_registry

    return served_registry(tmp_path_factory.mktemp("registered")).folder


@pytest.fixture
def registry(_registered: Path, tmp_path: Path) -> Registry:
    """Return a registry of two versions, the first of which is the champion."""
    return open_registry("", shutil.copytree(_registered, tmp_path / "registry"))


@pytest.fixture
def service(registry: Registry, tmp_path: Path) -> Iterator[Callable]:
    """Return a function that makes a service with other settings than the defaults; it logs into log.db."""
    from fakemedia.serving.server import make_service
    from fakemedia.serving.serving_config import ServingConfig

    made = []

    def make(*, token: str = "", **settings):
        config = ServingConfig(**{"poll_seconds": 60.0, **settings})
        made.append(make_service(registry, alias="champion", config=config, log=tmp_path / "log.db", token=token))
        return made[-1]

    yield make
    for each in made:
        each.close()


def encoded(pixels: np.ndarray, kind: str = "PNG", **options) -> bytes:
    """Return an image file of `pixels`, uint8 (H, W, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def picture(level: int, height: int = 60, width: int = 80, seed: int = 0) -> np.ndarray:
    """Return noise around a grey level, uint8 (H, W, 3)."""
    noise = np.random.default_rng(seed).integers(-20, 21, (height, width, 3))
    return np.clip(level + noise, 0, 255).astype(np.uint8)
