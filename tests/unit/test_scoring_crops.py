"""Which crops of a picture are looked at, and what is said of pictures that show nothing."""

from __future__ import annotations

import os
from dataclasses import replace
from inspect import signature
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakemedia.api import Detector
from fakemedia.cli.score_command import score
from fakemedia.networks.views import QUARTERS
from fakemedia.scoring.crop_layout import CROPS, content_box, is_even, view
from fakemedia.scoring.open_model import open_model
from fakemedia.scoring.paths import MediaFiles
from fakemedia.scoring.scores import EVEN_PICTURE, score_files
from fakemedia.scoring.summary import csv_table, summarise
from fakemedia.serving.serving_config import ServingConfig
from fakemedia.store.crops import centre_crop
from tests.scoring import calibration, cpu, write_calibration, write_checkpoint

RNG = np.random.default_rng(0)


def noise(height: int, width: int) -> np.ndarray:
    return RNG.integers(0, 256, (height, width, 3), np.uint8)


@pytest.mark.parametrize(("size", "crops", "share"), [
    ((256, 256), 16, 1.0), ((80, 80), 4, 1.0), ((64, 64), 1, 1.0), ((30, 50), 1, 1.0), ((1, 9), 1, 1.0),
    ((1024, 1024), 16, 16 * 64**2 / 1024**2), ((3000, 4000), 15, 15 * 64**2 / (3000 * 4000)), ((64, 4000), 16, 0.256),
])
def test_a_picture_of_any_size_is_covered_evenly(size: tuple[int, int], crops: int, share: float) -> None:
    picture = noise(*size)
    seen = view(picture, 64, 16)
    assert seen.crops.shape == (crops, 64, 64, 3)
    assert seen.share == pytest.approx(share)
    assert (seen.height, seen.width) == size
    middle = seen.positions.mean(axis=0) + 32
    np.testing.assert_allclose(middle, np.array(size) / 2, atol=1)
    for crop, (top, left) in zip(seen.crops, seen.positions, strict=True):
        if min(size) >= 64:
            np.testing.assert_array_equal(crop, picture[top:top + 64, left:left + 64])


def test_by_default_as_many_crops_are_scored_as_are_calibrated() -> None:
    assert len(QUARTERS) == CROPS
    assert ServingConfig().crops is None
    assert signature(Detector.score).parameters["crops"].default is None
    assert not isinstance({option.name: option.default for option in score.params}["crops"], int)


@pytest.mark.parametrize(("better", "crops"), [(None, CROPS), (True, CROPS), (False, 1)])
def test_pictures_are_scored_on_the_crops_that_validation_prefers(tmp_path: Path, better: bool | None,
                                                                  crops: int) -> None:
    checkpoint = write_checkpoint(tmp_path / "checkpoint")
    model = open_model(checkpoint, cpu)
    facts = replace(model.facts, calibration=calibration(model.facts.weights_sha256, several_better=better))
    assert facts.usual_crops == crops
    model.facts = facts
    scores = score_files(model, [noise(80, 80)], progress=False)
    assert scores["crops"].tolist() == [crops]
    assert score_files(model, [noise(80, 80)], crops=2, progress=False)["crops"].tolist() != [crops]


@pytest.mark.parametrize("size", [(40, 52), (24, 24), (17, 30), (1, 9), (100, 64)])
def test_one_crop_is_that_of_training_and_evaluation(size: tuple[int, int]) -> None:
    picture = noise(*size)
    np.testing.assert_array_equal(view(picture, 24, 1).crops[0], centre_crop(picture, 24))


def test_a_photograph_in_the_corner_of_a_page_is_what_is_looked_at() -> None:
    page = np.full((600, 800, 3), 255, np.uint8)
    page[504:, :96] = noise(96, 96)
    assert content_box(page) == (504, 600, 0, 96)
    seen = view(page, 64)
    assert (seen.positions.min(axis=0) >= (504, 0)).all()
    assert (seen.positions.max(axis=0) <= (536, 32)).all()
    assert (len(seen.crops), seen.share) == (4, 1)


def test_a_small_photograph_on_a_page_is_padded_by_itself() -> None:
    page = np.full((600, 800, 3), 255, np.uint8)
    page[100:130, 300:350] = photograph = noise(30, 50)
    np.testing.assert_array_equal(view(page, 64).crops[0], centre_crop(photograph, 64))
    assert view(page, 64).positions.tolist() == [[83, 293]]


def test_empty_crops_are_replaced_by_others() -> None:
    picture = np.full((1024, 1024, 3), 200, np.uint8)
    picture[:, :8], picture[:8] = noise(1024, 8), noise(8, 1024)
    picture[400:700, 400:700] = noise(300, 300)
    seen = view(picture, 64, 16)
    assert len(seen.crops) == 16
    assert not any(is_even(crop) for crop in seen.crops)


def even_pictures() -> dict[str, Image.Image]:
    slight = np.full((300, 300, 3), (200, 30, 90), np.uint8) + RNG.integers(0, 2, (300, 300, 3), np.uint8)
    return {"black.png": Image.new("RGB", (300, 300)), "white.jpg": Image.new("RGB", (300, 300), "white"),
            "one_pixel.png": Image.new("RGB", (1, 1), "red"), "slight.png": Image.fromarray(slight)}


@pytest.mark.parametrize("crops", [1, 16])
def test_an_even_picture_is_unsure_with_the_reason(tmp_path: Path, crops: int) -> None:
    for name, picture in even_pictures().items():
        picture.save(tmp_path / name)
    Image.fromarray(noise(100, 100)).save(tmp_path / "photograph.png")
    folder = write_checkpoint(tmp_path / "model")
    weights = open_model(folder, cpu).facts.weights_sha256
    write_calibration(folder, calibration(weights, unsure_low=0.5, unsure_high=0.5))
    paths = [tmp_path / name for name in [*even_pictures(), "photograph.png"]]
    scores = score_files(open_model(folder, cpu), paths, crops=crops, progress=False)
    even = scores[:-1]
    assert set(even["verdict"]) == {"unsure"}
    assert set(even["reason"]) == {EVEN_PICTURE}
    assert even["p_fake"].isna().all()
    assert (even["crops"] == 0).all()
    assert scores["verdict"].iloc[-1] in ("fake", "not flagged")
    text = summarise(scores, MediaFiles(files=paths))
    assert "nan" not in text
    assert text.count(EVEN_PICTURE) == 4
    assert "4 unsure" in text


def test_a_picture_has_the_mean_logit_of_its_crops(tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path / "model"), cpu)
    picture = noise(48, 72)
    Image.fromarray(picture).save(tmp_path / "a.png")
    scores = score_files(model, [tmp_path / "a.png"], batch_size=4, crops=16, progress=False)
    crops = [picture[top:top + 24, left:left + 24] for top in (0, 24) for left in (0, 24, 48)]
    assert scores["logit"][0] == pytest.approx(model.logits(np.stack(crops)).mean(), rel=1e-5)


def test_names_that_are_not_unicode(tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path / "model"), cpu)
    path = tmp_path / os.fsdecode(b"caf\xe9") / os.fsdecode(b"p\xe9.png")
    path.parent.mkdir()
    Image.fromarray(noise(30, 30)).save(path)
    scores = score_files(model, [path], progress=False)
    assert Path(scores["path"][0]) == path
    assert r"p\xe9.png" in summarise(scores, MediaFiles(files=[path]))
    written = csv_table(scores, model.facts, tmp_path).to_csv(index=False).encode(errors="surrogateescape")
    assert b"caf\xe9/p\xe9.png" in written


def test_pictures_of_several_folders_are_counted_by_folder(tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path / "model"), cpu)
    paths = [tmp_path / folder / f"{i}.png" for folder in ("a", "b") for i in range(2)]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(noise(30, 30)).save(path)
    text = summarise(score_files(model, paths, progress=False), MediaFiles(files=paths))
    assert f"{tmp_path / 'a'}: 2 not calibrated" in text
    assert "4 scored: 4 not calibrated" in text
