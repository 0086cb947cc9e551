"""Features are computed once, kept whole, and computed again when what they depend on changes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from fakemedia.artefacts.files import GIB
from fakemedia.artefacts.manifest import read_manifest
from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.networks import features as module
from fakemedia.networks.detector import Detector
from fakemedia.networks.features import FeatureCache, body_sha256, features
from fakemedia.networks.views import read_views, view_crops
from fakemedia.runtime.device import Runtime
from fakemedia.store.pixels import PixelStore

CPU = Runtime(accelerator="cpu", precision="float32")
VIEWS = ("centre", "top_left_flip", "random1")


def build(seed: int = 1, **settings: object) -> Detector:
    return plugin.create("networks", "convnet", {"width": 4, "depth": 3, "taps": "both", **settings}, seed)


@pytest.fixture(scope="module")
def store(noise_store: Callable[..., PixelStore]) -> PixelStore:
    return noise_store(images=23, size=20)


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note how many pictures go through a network from now on, and make files of 10 pictures."""
    counts: list[int] = []
    original = module.features

    def counted(detector: Detector, images: torch.Tensor, taps: str | None = None) -> torch.Tensor:
        counts.append(len(images))
        return original(detector, images, taps)

    monkeypatch.setattr(module, "features", counted)
    monkeypatch.setattr(module, "CHUNK", 10)
    return counts


def cache(folder: Path, detector: Detector | None = None, **settings) -> FeatureCache:
    return FeatureCache(**{"folder": folder, "detector": detector or build(), "crop": 12, "batch_size": 8,
                           "runtime": CPU, "progress": False, **settings})


def test_they_are_those_of_the_network(store: PixelStore, tmp_path: Path, computed: list[int]) -> None:
    detector = build().train()
    found = cache(tmp_path, detector).read(store, VIEWS)
    assert found.values.dtype == np.float32
    assert detector.body.training
    assert (found.views, found.task) == (VIEWS, "noise")
    with torch.inference_mode():
        for view, values in zip(VIEWS, found.values, strict=True):
            crops = torch.from_numpy(view_crops(store, np.arange(23), view, 12, 0)).permute(0, 3, 1, 2)
            expected = features(detector.eval(), crops)
            np.testing.assert_allclose(values, expected, atol=1e-3, rtol=1e-3)
    values, labels = found.flat()
    assert values.shape == (69, detector.width)
    assert (labels == np.tile(store.labels, 3)).all()


def test_what_is_there_is_not_computed_again(store: PixelStore, tmp_path: Path, computed: list[int]) -> None:
    first = cache(tmp_path).read(store, VIEWS)
    computed.clear()
    again = cache(tmp_path).read(store, ["random1"])
    assert computed == []
    np.testing.assert_array_equal(again.values[0], first.values[2])


@pytest.mark.parametrize("changed", [
    {"detector": 2}, {"crop": 8}, {"taps": "head"}, {"seed": 5},
])
def test_another_network_crop_tap_or_seed_is_computed(changed: dict, store: PixelStore, tmp_path: Path,
                                                      computed: list[int]) -> None:
    cache(tmp_path).read(store, ["random0"])
    computed.clear()
    settings = {**changed, **({"detector": build(changed["detector"])} if "detector" in changed else {})}
    cache(tmp_path, **settings).read(store, ["random0"])
    assert sum(computed) >= 23


def test_features_of_another_precision_or_device_are_computed(store: PixelStore, tmp_path: Path,
                                                             computed: list[int]) -> None:
    cache(tmp_path).read(store)
    bfloat16 = Runtime(accelerator="cpu", precision="bfloat16")
    computed.clear()
    cache(tmp_path, runtime=bfloat16).read(store)
    assert sum(computed) >= 23
    computed.clear()
    cache(tmp_path, runtime=Runtime(accelerator="cpu")).read(store)  # automatic: float32 on any CPU
    assert computed == []

    recipe = partial(module.features_recipe, store, "centre", weights="", taps="head", crop=12, seed=0)
    found = {recipe(arithmetic=each).fingerprint for each in
             (("cpu", "float32"), ("cpu", "bfloat16"), ("cuda", "float32"), ("cuda", "bfloat16"))}
    assert len(found) == 4
    assert recipe().fingerprint in found  # Those of a CPU in float32 stay valid.


def test_the_seed_does_not_matter_for_views_that_are_not_drawn(store: PixelStore, tmp_path: Path,
                                                               computed: list[int]) -> None:
    cache(tmp_path).read(store)
    computed.clear()
    cache(tmp_path, seed=5).read(store)
    assert computed == []


def test_another_store_is_computed(noise_store: Callable[..., PixelStore], store: PixelStore, tmp_path: Path,
                                   computed: list[int]) -> None:
    first = cache(tmp_path).read(store).values
    other = cache(tmp_path).read(noise_store(images=23, size=20, seed=4)).values
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("damage", ["missing", "cut", "changed", "no manifest"])
def test_a_damaged_file_is_computed_again(damage: str, store: PixelStore, tmp_path: Path, computed: list[int]) -> None:
    first = cache(tmp_path).read(store)
    path = next(tmp_path.rglob("00001.npy"))
    computed.clear()
    if damage == "missing":
        path.unlink()
    elif damage == "cut":
        path.write_bytes(path.read_bytes()[:-7])
    elif damage == "changed":
        path.write_bytes(path.read_bytes()[:-2] + b"\x00\x3c")
    else:
        next(tmp_path.rglob("manifest.json")).unlink()
    again = cache(tmp_path).read(store)
    np.testing.assert_array_equal(again.values, first.values)
    assert sum(computed) in ((0,) if damage == "no manifest" else (10, 11))  # 11: and a picture that tells the width
    assert read_manifest(path.parent, folder=True) is not None
    assert not [left for left in tmp_path.rglob("*") if left.suffix == ".partial"]


def test_what_was_read_is_held_until_its_files_change(store: PixelStore, tmp_path: Path, computed: list[int],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    runtime, reads = Runtime(accelerator="cpu", precision="float32"), []
    original = module._Part.read
    monkeypatch.setattr(module._Part, "read", lambda part: reads.append(part.view) or original(part))
    first = cache(tmp_path, runtime=runtime).read(store)
    reads.clear()
    for again in (cache(tmp_path, runtime=runtime).read(store), cache(tmp_path, runtime=runtime).find(store)):
        assert again is not None
        np.testing.assert_array_equal(again.values, first.values)
    assert reads == []
    path = next(tmp_path.rglob("00001.npy"))
    path.write_bytes(path.read_bytes())
    cache(tmp_path, runtime=runtime).read(store)
    assert reads == ["centre"]
    monkeypatch.setattr("fakemedia.runtime.device.ARRAY_CACHE_BYTES", first.values.nbytes - 1)
    small = Runtime(accelerator="cpu", precision="float32")
    reads.clear()
    for _ in range(2):
        cache(tmp_path, runtime=small).read(store)
    assert reads == ["centre", "centre"]


def test_an_interrupted_extraction_continues(store: PixelStore, tmp_path: Path, computed: list[int],
                                             monkeypatch: pytest.MonkeyPatch) -> None:
    expected = cache(tmp_path / "whole").read(store).values
    counted = module.features

    def stopped(detector: Detector, images: torch.Tensor, taps: str | None = None) -> torch.Tensor:
        if sum(computed) >= 14:
            raise KeyboardInterrupt
        return counted(detector, images, taps)

    computed.clear()
    monkeypatch.setattr(module, "features", stopped)
    with pytest.raises(KeyboardInterrupt):
        cache(tmp_path / "part").read(store)
    monkeypatch.setattr(module, "features", counted)
    computed.clear()
    np.testing.assert_array_equal(cache(tmp_path / "part").read(store).values, expected)
    assert sum(computed) == 14  # the second and the third file, and a picture that tells the width


def test_what_does_not_fit_is_refused_before_anything_is_written(store: PixelStore, tmp_path: Path) -> None:
    width = build().width

    def limited(folder: Path, size: float, **settings) -> FeatureCache:
        return cache(folder, runtime=replace(CPU, features_gib=size / GIB), **settings)

    with pytest.raises(UserError, match=r"(?s)features of 69 pictures and views do not fit.*runtime\.features_gib"):
        limited(tmp_path, 2 * width * 69 - 1).read(store, VIEWS)
    assert not list(tmp_path.iterdir())
    limited(tmp_path / "a", 2 * width * 23).read(store)
    with pytest.raises(UserError, match="do not fit"):
        limited(tmp_path / "a", 2 * width * 23 + 2000).read(store, ["top_left"])
    with pytest.raises(UserError, match="do not fit"):
        limited(tmp_path / "b", 2 * width * 23 + 2000, within=tmp_path).read(store)
    limited(tmp_path / "b", 2 * width * 23 + 2000).read(store)


def test_features_that_are_not_finite_are_refused(store: PixelStore, tmp_path: Path) -> None:
    detector = build()
    torch.nn.init.constant_(detector.body[1].weight, float("inf"))
    with pytest.raises(UserError, match="not finite"):
        cache(tmp_path, detector).read(store)
    assert not list(tmp_path.rglob("*.npy"))


def test_the_hash_is_that_of_the_body_alone() -> None:
    detector, before = build(), body_sha256(build())
    torch.nn.init.zeros_(detector.head.weight)
    assert body_sha256(detector) == before == body_sha256(build(taps="blocks"))
    detector.body[2].running_mean += 1
    assert body_sha256(detector) != before


def test_features_are_float32_on_a_cpu_unless_bfloat16_is_asked_for(tmp_path: Path,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fakemedia.runtime.device._cpu_computes_bfloat16", lambda: True)
    automatic, asked = (cache(tmp_path, runtime=Runtime(accelerator="cpu", precision=precision)).autocast
                        for precision in ("auto", "bfloat16"))
    with automatic():
        assert not torch.is_autocast_enabled("cpu")
    with asked():
        assert torch.is_autocast_enabled("cpu")


class TestViews:
    def test_names(self) -> None:
        assert read_views(["corners", "centre", "centre"]) == ("top_left", "top_right", "bottom_left", "bottom_right",
                                                              "centre")
        assert read_views(["corners+blur_jpeg"])[0] == "top_left+blur_jpeg"
        assert read_views(["random:3", "random1"]) == ("random0", "random1", "random2")
        for wrong in (["center"], ["random"], ["corners_flip"], []):
            with pytest.raises(UserError):
                read_views(wrong)
        with pytest.raises(UserError, match="did you mean 'centre'"):
            read_views(["center"])

    def test_what_they_show(self, store: PixelStore) -> None:
        rows = np.array([3, 0, 7])
        whole = np.stack([store[int(row)] for row in rows])
        for view, expected in (("centre", whole[:, 4:16, 4:16]), ("top_right", whole[:, :12, 8:]),
                               ("bottom_left", whole[:, 8:, :12]), ("bottom_left_flip", whole[:, 8:, 11::-1])):
            np.testing.assert_array_equal(view_crops(store, rows, view, 12, 0), expected)

    def test_drawn_crops_depend_on_seed_view_and_row_alone(self, store: PixelStore) -> None:
        rows = np.arange(len(store))
        crops = view_crops(store, rows, "random0", 8, 3)
        np.testing.assert_array_equal(view_crops(store, rows[5:9], "random0", 8, 3), crops[5:9])
        assert not np.array_equal(view_crops(store, rows, "random1", 8, 3), crops)
        assert not np.array_equal(view_crops(store, rows, "random0", 8, 4), crops)

    def test_pictures_smaller_than_the_crop_are_padded(self, store: PixelStore) -> None:
        rows = np.arange(3)
        np.testing.assert_array_equal(view_crops(store, rows, "bottom_right", 24, 0), store.centre_crops(rows, 24))


def test_each_of_several_processes_computes_its_share(store: PixelStore, tmp_path: Path, computed: list[int],
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    expected = cache(tmp_path / "one").read(store, VIEWS[:2]).values
    monkeypatch.setattr(Runtime, "world", 2)
    monkeypatch.setattr(Runtime, "wait", lambda _: None)
    shared = cache(tmp_path / "two")
    missing = [(shared._part(store, view), number) for view in VIEWS[:2] for number in range(3)]
    for rank, pictures in ((1, [8, 2, 8, 2, 3]), (0, [8, 2, 3, 8, 2])):  # files 2, 4, 6 and 1, 3, 5, in batches of 8
        computed.clear()
        monkeypatch.setattr(Runtime, "rank", rank)
        shared._compute(missing)
        assert computed == pictures
    computed.clear()
    np.testing.assert_array_equal(shared.read(store, VIEWS[:2]).values, expected)
    assert computed == []
