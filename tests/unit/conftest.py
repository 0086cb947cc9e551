"""Small pixel stores, made in memory without image files."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.index import build_index
from fakemedia.sources.source import Item
from fakemedia.store.pixels import PixelStore


class GivenPictures:
    """One task of the given pictures, real and fake by turns, or all of one `label`."""

    def __init__(self, task: str, pictures: Iterable[np.ndarray], label: int | None = None) -> None:
        self._task, self._label = task, label
        self._files = {}
        for number, pixels in enumerate(pictures):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "PNG")
            self._files[f"{number:04d}.png"] = buffer.getvalue()

    def tasks(self) -> list[str]:
        return [self._task]

    def items(self, task: str) -> list[Item]:
        return [Item(path=path, split="train", label=number % 2 if self._label is None else self._label, class_name="",
                     source="", bytes=len(data), mtime_ns=0)
                for number, (path, data) in enumerate(self._files.items())]

    def reader(self, path: str) -> Callable[[], bytes]:
        return lambda: self._files[path]


def noise(images: int, size: int, sigma: float, seed: int) -> Iterator[np.ndarray]:
    """Yield pictures: the real ones are smooth, the fake ones carry noise of the standard deviation `sigma`."""
    rng = np.random.default_rng(seed)
    for number in range(images):
        pixels = rng.normal(rng.uniform(80, 170, 3), sigma if number % 2 else 2.0, (size, size, 3))
        yield pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def make_store(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., PixelStore]:
    """Return a maker of training stores of given pictures."""

    def make(task: str, pictures: Iterable[np.ndarray], label: int | None = None) -> PixelStore:
        source = GivenPictures(task, pictures, label)
        index = build_index(source, task, workers=1, progress=False)
        return build_store(index, source, "train", Path(tmp_path_factory.mktemp("stores")) / task, workers=1,
                           progress=False)

    return make


@pytest.fixture(scope="session")
def noise_store(make_store: Callable[..., PixelStore]) -> Callable[..., PixelStore]:
    """Return a maker of stores of a task that a tiny network learns in a few epochs; equal stores are made once."""

    @cache
    def make(*, images: int = 24, size: int = 12, sigma: float = 40.0, seed: int = 0) -> PixelStore:
        return make_store("noise", noise(images, size, sigma, seed))

    return make
