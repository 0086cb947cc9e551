"""Crops made on a device are those made in the host's memory, whatever the sizes, and shares make up the batch."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
import torch

from fakemedia.core.errors import UserError
from fakemedia.runtime.threads import ahead
from fakemedia.store.batches import Batch, TrainBatches
from fakemedia.store.pixels import PixelStore

CPU = torch.device("cpu")


@pytest.fixture
def stores(make_store) -> list[PixelStore]:
    """Return two stores: one of equal pictures, one of pictures larger, smaller and narrower than a crop."""
    rng = np.random.default_rng(0)

    def pictures(sizes: list[tuple[int, int]]) -> list[np.ndarray]:
        return [rng.integers(0, 256, (*size, 3), np.uint8) for size in sizes]

    return [make_store("even", pictures([(20, 24)] * 7)),
            make_store("ragged", pictures([(31, 17), (5, 40), (1, 1), (16, 16), (40, 3), (18, 18), (2, 30)]))]


def assert_equal(found: Batch, expected: Batch) -> None:
    for name in ("images", "labels", "tasks", "rows"):
        assert torch.equal(getattr(found, name), getattr(expected, name)), name


@pytest.mark.parametrize("flip", [False, True])
def test_resident_batches_are_those_of_the_host(stores: list[PixelStore], flip: bool) -> None:
    settings = {"batch_size": 4, "crop": 16, "flip": flip, "seed": 3}
    host = TrainBatches(stores, **settings).to(CPU, room=0)
    resident = TrainBatches(stores, **settings).to(CPU, room=10**6)
    assert resident._resident is not None
    for epoch in range(2):
        for found, expected in zip(resident.epoch(epoch), host.epoch(epoch), strict=True):
            assert_equal(found, expected)
            assert found.images.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("room", [0, 10**6])
def test_shares_make_up_the_batch(stores: list[PixelStore], room: int) -> None:
    settings = {"batch_size": 6, "crop": 8, "flip": True, "seed": 0}
    whole = TrainBatches(stores, **settings).epoch(1, 1)
    parts = [TrainBatches(stores, **settings, share=(rank, 2)).to(CPU, room).epoch(1, 1) for rank in range(2)]
    for step, (expected, *shares) in enumerate(zip(whole, *parts, strict=True), start=1):
        shares = shares if step % 2 == 0 else shares[::-1]
        for name in ("images", "labels", "tasks", "rows"):
            assert torch.equal(torch.cat([getattr(share, name) for share in shares]), getattr(expected, name))


@pytest.mark.parametrize(("tasks", "world", "batch"), [(2, 2, 4), (2, 4, 8), (3, 3, 6), (4, 2, 4), (4, 4, 8)])
def test_every_process_sees_every_task_as_often(make_store, tasks: int, world: int, batch: int) -> None:
    pictures = [np.zeros((8, 8, 3), np.uint8)] * (batch * world * 2)
    stores = [make_store(f"task{task}", pictures) for task in range(tasks)]
    for rank in range(world):
        batches = TrainBatches(stores, batch_size=batch, crop=8, flip=False, seed=0, share=(rank, world))
        counts = torch.stack([torch.bincount(each.tasks, minlength=tasks) for each in batches.epoch(0)])
        assert counts.sum(0).tolist() == [batch * world * 2 // world] * tasks
        if batch // world >= tasks:
            assert counts.min() == counts.max() == batch // world // tasks


def test_a_batch_that_cannot_be_divided_is_named(stores: list[PixelStore]) -> None:
    with pytest.raises(UserError, match="A batch of 5 cannot be divided among 2 devices"):
        TrainBatches(stores, batch_size=5, crop=8, flip=False, seed=0, share=(0, 2))


def test_work_ahead_keeps_its_order() -> None:
    def slow_first(item: int) -> int:
        time.sleep(0.02 if item % 3 == 0 else 0)
        return item * item

    assert list(ahead(slow_first, range(20), workers=3)) == [item * item for item in range(20)]


def test_work_ahead_stops_with_its_reader(tmp_path: Path) -> None:
    begun: list[int] = []

    def note(item: int) -> int:
        begun.append(item)
        return item

    results = ahead(note, range(1000), workers=2)
    assert next(results) == 0
    results.close()
    assert len(begun) < 20


def test_a_crop_larger_than_every_image_is_named(stores: list[PixelStore]) -> None:
    with pytest.raises(UserError, match="A crop of 33 pixels is larger than every image") as caught:
        TrainBatches(stores, batch_size=4, crop=33, flip=False, seed=0)
    assert "20 pixels at most" in str(caught.value)
