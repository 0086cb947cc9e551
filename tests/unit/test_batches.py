"""Batches: order, balance, crops and their independence of everything but seed, epoch and place."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fakemedia.core.errors import UserError
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.index import build_index
from fakemedia.sources.source import Item
from fakemedia.store.batches import Batch, EvalBatches, TrainBatches, select_rows
from fakemedia.store.pixels import PixelStore

SIZES = (7, 12, 20)


class Numbered:
    """A source whose image k has the value k in red, its row in green and its column in blue."""

    def __init__(self, count: int, fakes: int, side: int = 8) -> None:
        rows, columns = np.mgrid[:side, :side]
        self.labels = [int(k < fakes) for k in range(count)]
        self.files = {}
        for k in range(count):
            buffer = io.BytesIO()
            Image.fromarray(np.stack([np.full_like(rows, k), rows, columns], -1).astype(np.uint8)).save(buffer, "PNG")
            self.files[f"{k:03d}.png"] = buffer.getvalue()

    def tasks(self) -> list[str]:
        return ["numbered"]

    def items(self, task: str) -> list[Item]:
        return [Item(path=path, split="train", label=label, class_name="", source="", bytes=1, mtime_ns=0)
                for path, label in zip(self.files, self.labels, strict=True)]

    def reader(self, path: str) -> Callable[[], bytes]:
        return lambda: self.files[path]


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[PixelStore]:
    return [make_store(tmp_path_factory.mktemp("stores"), count, count // 2) for count in SIZES]


def make_store(folder: Path, count: int, fakes: int, side: int = 8) -> PixelStore:
    source = Numbered(count, fakes, side)
    index = build_index(source, "numbered", workers=1, progress=False)
    return build_store(index, source, "train", folder / "store", workers=1, progress=False)


def batches_of(stores: Sequence[PixelStore], *, batch_size: int = 5, crop: int = 4, flip: bool = True,
               seed: int = 0) -> TrainBatches:
    return TrainBatches(stores, batch_size=batch_size, crop=crop, flip=flip, seed=seed)


def join(batches: Sequence[Batch], name: str) -> torch.Tensor:
    return torch.cat([getattr(batch, name) for batch in batches])


def test_batches_are_uint8_in_channels_last_memory(stores: list[PixelStore]) -> None:
    for batch in (*batches_of(stores).epoch(0), *EvalBatches(stores[0], batch_size=5, crop=4)):
        assert batch.images.dtype == torch.uint8
        assert batch.images.shape[1:] == (3, 4, 4)
        assert batch.images.is_contiguous(memory_format=torch.channels_last)
        assert all(values.dtype == torch.int64 for values in (batch.labels, batch.tasks, batch.rows))
        assert batch.inputs is None


def test_images_labels_and_rows_belong_together(stores: list[PixelStore]) -> None:
    for batch in batches_of(stores).epoch(3):
        for image, label, task, row in zip(batch.images, batch.labels, batch.tasks, batch.rows, strict=True):
            assert (image[0] == row).all()
            assert label == stores[task].labels[row]
            top, columns = int(image[1, 0, 0]), image[2, 0].tolist()
            assert image[1, :, 0].tolist() == list(range(top, top + 4))
            assert columns in (sorted(columns), sorted(columns, reverse=True))


def test_an_epoch_of_one_store_shows_each_image_once(stores: list[PixelStore]) -> None:
    batches = batches_of(stores[2:], batch_size=5)
    assert batches.steps == 4
    orders = [join(list(batches.epoch(epoch)), "rows").tolist() for epoch in range(3)]
    assert all(sorted(order) == list(range(20)) for order in orders)
    assert len({tuple(order) for order in orders}) == 3


@given(seed=st.integers(0, 2**31), epoch=st.integers(0, 50), start=st.integers(0, 9), size=st.integers(1, 13))
@settings(max_examples=15)
def test_batches_depend_on_seed_epoch_and_place_alone(stores: list[PixelStore], seed: int, epoch: int, start: int,
                                                      size: int) -> None:
    whole = list(batches_of(stores, batch_size=size, seed=seed).epoch(epoch))
    resumed = list(batches_of(stores, batch_size=size, seed=seed).epoch(epoch, min(start, len(whole) - 1)))
    single = list(batches_of(stores, batch_size=1, seed=seed).epoch(epoch))
    for name in ("images", "labels", "tasks", "rows"):
        shown = join(whole, name)
        assert torch.equal(shown[-len(join(resumed, name)):], join(resumed, name))
        assert torch.equal(join(single, name)[:len(shown)], shown)


def test_augmented_crops_depend_on_seed_epoch_and_place_alone_and_never_stay_on_the_device(
        stores: list[PixelStore]) -> None:
    def shown(crop: np.ndarray, seed: int) -> np.ndarray:
        return np.full_like(crop, seed % 256)

    def of(size: int, epoch: int, start: int = 0) -> torch.Tensor:
        batches = TrainBatches(stores, batch_size=size, crop=4, flip=True, seed=3, augment=shown)
        return join(list(batches.to(torch.device("cpu"), room=10**9).epoch(epoch, start)), "images")

    whole = of(5, 2)
    assert torch.equal(of(5, 2, 3), whole[15:])
    assert torch.equal(of(1, 2)[:len(whole)], whole)
    assert not torch.equal(of(5, 1), whole)
    assert len({int(image[0, 0, 0]) for image in whole}) > len(whole) // 2


def test_another_seed_is_another_order(stores: list[PixelStore]) -> None:
    rows = [join(list(batches_of(stores[2:], seed=seed).epoch(0)), "rows").tolist() for seed in range(2)]
    assert rows[0] != rows[1]


@given(st.integers(1, 13))
@settings(max_examples=5)
def test_stores_have_equal_shares_and_their_images_too(stores: list[PixelStore], batch_size: int) -> None:
    batches = batches_of(stores, batch_size=batch_size)
    assert batches.steps == sum(SIZES) // batch_size
    for batch in batches.epoch(1):
        counts = np.bincount(batch.tasks, minlength=3)
        assert counts.max() - counts.min() <= 1
    shown = [batch for epoch in range(4) for batch in batches_of(stores, batch_size=1).epoch(epoch)]
    for task, size in enumerate(SIZES):
        rows = join(shown, "rows")[join(shown, "tasks") == task]
        assert len(rows) == 4 * sum(SIZES) / 3
        times = np.bincount(rows, minlength=size)
        assert times.max() - times.min() <= 1


def test_crops_and_flips_cover_what_they_can(stores: list[PixelStore]) -> None:
    shown = torch.cat([join(list(batches_of(stores).epoch(epoch)), "images") for epoch in range(30)])
    tops, lefts = shown[:, 1].amin((1, 2)), shown[:, 2].amin((1, 2))
    mirrored = (shown[:, 2, 0, 0] > shown[:, 2, 0, 1]).double()
    for starts in (tops, lefts):
        shares = np.bincount(starts, minlength=5) / len(starts)
        np.testing.assert_allclose(shares, 0.2, atol=0.05)
    assert abs(mirrored.mean() - 0.5) < 0.05
    assert abs(np.corrcoef(tops, lefts)[0, 1]) < 0.1
    plain = join(list(batches_of(stores, flip=False).epoch(0)), "images")
    assert (plain[:, 2, 0, 0] < plain[:, 2, 0, 1]).all()


def test_images_smaller_than_the_crop_are_padded(stores: list[PixelStore], tmp_path: Path) -> None:
    larger = make_store(tmp_path, 4, 2, side=12)
    images = next(batches_of([stores[0], larger], crop=12, flip=False).epoch(0)).images
    assert images[0, 2, 0].tolist() == [2, 1, 0, 1, 2, 3, 4, 5, 6, 7, 6, 5]


def test_a_batch_has_no_more_images_than_the_stage(stores: list[PixelStore]) -> None:
    few = batches_of(stores[:1], batch_size=64)
    assert (few.batch_size, few.steps, few.images) == (7, 1, 7)
    assert sorted(next(few.epoch(0)).rows.tolist()) == list(range(7))
    shares = [TrainBatches(stores[:1], batch_size=64, crop=4, flip=True, seed=0, share=(rank, 2)) for rank in range(2)]
    assert [len(next(share.epoch(0)).rows) for share in shares] == [3, 3]


def test_training_batches_refuse_what_cannot_work(stores: list[PixelStore], tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"fewer training images \(7\) than devices \(8\)"):
        TrainBatches(stores[:1], batch_size=8, crop=4, flip=True, seed=0, share=(0, 8))
    other = make_store(tmp_path, 4, 2)
    other.policy = "resize:4"
    with pytest.raises(UserError, match="different policies"):
        batches_of([stores[0], other])


def test_evaluation_takes_centre_crops_in_order(stores: list[PixelStore]) -> None:
    batches = EvalBatches(stores[1], batch_size=5, crop=4)
    shown = list(batches)
    assert [len(batch.rows) for batch in shown] == [5, 5, 2]
    assert len(batches) == 3
    assert join(shown, "rows").tolist() == list(range(12))
    assert torch.equal(join(shown, "labels"), torch.from_numpy(stores[1].labels))
    assert (join(shown, "images")[:, 1, :, 0] == torch.arange(2, 6)).all()
    some = list(EvalBatches(stores[1], batch_size=5, crop=4, rows=np.array([3, 11])))
    assert join(some, "images")[:, 0, 0, 0].tolist() == [3, 11]
    assert len(list(EvalBatches(stores[1], batch_size=5, crop=4))) == len(list(batches))


def test_moving_a_batch_keeps_all_of_it(stores: list[PixelStore]) -> None:
    batch = next(iter(EvalBatches(stores[0], batch_size=5, crop=4)))
    moved = batch.to("meta")
    assert {tensor.device.type for tensor in vars(moved).values() if tensor is not None} == {"meta"}
    assert moved.images.is_contiguous(memory_format=torch.channels_last)
    batch.inputs = batch.images.float()
    assert batch.to("meta").inputs is not None


@given(maximum=st.integers(0, 24), fakes=st.integers(1, 19), seed=st.integers(0, 99))
@settings(max_examples=15)
def test_selected_rows_are_sorted_and_stratified(tmp_path_factory: pytest.TempPathFactory, maximum: int, fakes: int,
                                                 seed: int) -> None:
    store = make_store(tmp_path_factory.mktemp("select"), 20, fakes, side=1)
    rows = select_rows(store, maximum, seed)
    assert rows.dtype == np.int64
    assert len(rows) == min(maximum, 20)
    assert (np.diff(rows) > 0).all()
    assert abs(store.labels[rows].sum() - len(rows) * fakes / 20) < 1
    np.testing.assert_array_equal(rows, select_rows(store, maximum, seed))


def test_selection_varies_with_the_seed_and_may_take_all(stores: list[PixelStore]) -> None:
    assert len({tuple(select_rows(stores[2], 6, seed)) for seed in range(8)}) > 4
    np.testing.assert_array_equal(select_rows(stores[2], None, 0), np.arange(20))
