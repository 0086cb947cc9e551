"""Small pixel stores, made in memory without image files."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakemedia.data.index import build_index
from fakemedia.data.pixels import PixelStore, build_store
from fakemedia.data.sources.base import Item


class NoiseSource:
    """One task: real images are smooth, fake ones carry noise of the standard deviation `sigma`."""

    def __init__(self, images: int, size: int, sigma: float, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self._files = {}
        for number in range(images):
            pixels = rng.normal(rng.uniform(80, 170, 3), sigma if number % 2 else 2.0, (size, size, 3))
            buffer = io.BytesIO()
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(buffer, "PNG")
            self._files[f"{number:04d}.png"] = buffer.getvalue()

    def tasks(self) -> list[str]:
        return ["noise"]

    def items(self, task: str) -> list[Item]:
        return [Item(path=path, split="train", label=number % 2, class_name="", source="", bytes=len(data), mtime_ns=0)
                for number, (path, data) in enumerate(self._files.items())]

    def read(self, path: str) -> bytes:
        return self._files[path]


@pytest.fixture(scope="session")
def noise_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., PixelStore]:
    """Return a maker of stores of a task that a tiny network learns in a few epochs."""

    def make(*, images: int = 24, size: int = 12, sigma: float = 40.0, seed: int = 0) -> PixelStore:
        source = NoiseSource(images, size, sigma, seed)
        folder = Path(tmp_path_factory.mktemp("stores")) / f"{images}_{size}_{sigma}_{seed}"
        return build_store(build_index(source, "noise", workers=1, progress=False), source, "train", folder, workers=1,
                           progress=False)

    return make
