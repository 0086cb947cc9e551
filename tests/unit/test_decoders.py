"""Versions of decoders: recorded with pixel stores and checkpoints, compared where pictures of others come in."""

from __future__ import annotations

import io
import logging
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

from fakemedia.core.plan import Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.ingest.build_store import build_store, ensure_store
from fakemedia.ingest.index import build_index
from fakemedia.learning.sequence import learn_stage
from fakemedia.scoring.open_model import open_model
from fakemedia.scoring.summary import describe
from fakemedia.store import decoders
from fakemedia.store.decoders import decoder_versions, differences, installed, merged
from fakemedia.store.pixels import PixelStore
from tests import plans
from tests.scoring import cpu
from tests.unit.conftest import GivenPictures, noise

JPEG = str(features.version("libjpeg_turbo"))


class Photographs(GivenPictures):
    """Pictures as JPEG files."""

    def __init__(self, task: str, seed: int) -> None:
        super().__init__(task, [])
        for number, pixels in enumerate(noise(12, 12, 40.0, seed)):
            buffer = io.BytesIO()
            Image.fromarray(pixels).save(buffer, "JPEG")
            self._files[f"{number:04d}.jpg"] = buffer.getvalue()


def store(folder: Path, source: GivenPictures, task: str) -> PixelStore:
    index = build_index(source, task, workers=1, progress=False)
    return build_store(index, source, "train", folder / task, workers=1, progress=False)


@pytest.fixture
def other(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pretend that pictures are decoded by another version of libjpeg-turbo."""
    real = features.version
    monkeypatch.setattr(decoders.features, "version", lambda name: "9.9" if name == "libjpeg_turbo" else real(name))


def test_only_lossy_formats_have_versions() -> None:
    assert decoder_versions(["png", "bmp", "gif", "tiff", "ppm", ""]) == {}
    found = decoder_versions(["png", "jpeg", "webp", "avif", "jpeg2000", "h264"])
    assert list(found) == ["avif", "av", "libjpeg_turbo", "jpg_2000", "webp"]
    assert found["libjpeg_turbo"] == JPEG
    assert all(found.values())
    assert installed(found) == found
    assert differences(found, {**found, "webp": "0.1"}) == [f"webp 0.1 instead of {found['webp']}"]
    assert differences({}, found) == differences(found, {}) == []
    assert merged([{"a": "2", "b": "1"}, {"a": "1"}, {"a": "1, 2"}]) == {"a": "1, 2", "b": "1"}


def test_a_store_names_the_decoder_of_its_pictures_and_stays_current(tmp_path: Path, request) -> None:
    source = Photographs("a", 0)
    made = store(tmp_path, source, "a")
    assert made.decoder == {"libjpeg_turbo": JPEG}
    assert store(tmp_path, GivenPictures("b", noise(4, 12, 40.0, 0)), "b").decoder == {}
    request.getfixturevalue("other")
    index = build_index(source, "a", workers=1, progress=False)
    again = ensure_store(index, source, "train", tmp_path / "a", workers=1, progress=False)
    assert again.decoder == {"libjpeg_turbo": JPEG}
    larger = Photographs("a", 0)
    larger._files["more.jpg"] = Photographs("a", 1)._files["0000.jpg"]
    assert store(tmp_path, larger, "a").decoder == {"libjpeg_turbo": f"{JPEG}, 9.9"}


def test_pictures_of_another_decoder_are_named(tmp_path: Path, request, caplog: pytest.LogCaptureFixture) -> None:
    stages = make_stages([("a",), ("b",)])
    plan = plans.make_plan(methods=("finetune",), stages=stages, network=Plugin(name="convnet", settings={"width": 4}),
                           training=TrainingConfig(epochs=1, batch_size=8, crop=8)).resolved()
    stores = {"a": store(tmp_path, Photographs("a", 0), "a")}
    given = {"plan": plan, "method": "finetune", "seed": 0, "runtime": cpu()}
    first = learn_stage(stage=stages[0], parent=None, train=stores, validation=stores, folder=tmp_path / "one", **given)
    assert first.meta["decoder"] == {"libjpeg_turbo": JPEG}
    assert "warning" not in describe(open_model(tmp_path / "one", cpu).facts, tmp_path / "one", 1)

    request.getfixturevalue("other")
    assert (f"warning: pictures are decoded by libjpeg_turbo 9.9 instead of {JPEG}"
            in describe(open_model(tmp_path / "one", cpu).facts, tmp_path / "one", 1))
    stores["b"] = store(tmp_path, Photographs("b", 1), "b")
    with caplog.at_level(logging.WARNING):
        second = learn_stage(stage=stages[1], parent=first, train=stores, validation=stores, folder=None, **given)
    assert f"decoded by libjpeg_turbo 9.9 instead of {JPEG}, with which the parent was trained" in caplog.text
    assert second.meta["decoder"] == {"libjpeg_turbo": f"{JPEG}, 9.9"}


def test_the_pixels_do_not_depend_on_the_record(tmp_path: Path, request) -> None:
    one = store(tmp_path / "1", Photographs("a", 0), "a")
    request.getfixturevalue("other")
    two = store(tmp_path / "2", Photographs("a", 0), "a")
    assert one.fingerprint == two.fingerprint
    assert np.array_equal(one[0], two[0])
