"""Novelty: distances by hand, its threshold, and the verdict of pictures that are like nothing learned."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from fakemedia.core.errors import UserError
from fakemedia.core.training import TrainingConfig
from fakemedia.evaluation.novelty import (
    NOVELTY_FILE,
    Novelty,
    is_unknown,
    limit,
    nearest,
    packed,
    read_novelty,
    spread,
    task_centres,
    unit,
)
from fakemedia.evaluation.predict import predict
from fakemedia.learning.view_outputs import ViewOutputs, score_stores, validate_stores
from fakemedia.networks import convnet
from fakemedia.networks.views import QUARTERS, view_crops
from fakemedia.scoring.crop_layout import view
from fakemedia.scoring.open_model import open_model
from fakemedia.scoring.scores import score_files
from fakemedia.scoring.summary import describe
from tests.scoring import CROP, calibration, cpu, write_calibration, write_checkpoint, write_pictures
from tests.unit.conftest import noise

SIDE = 8


def made(centres: np.ndarray, **changed) -> Novelty:
    values = {"threshold": 0.5, "crops_threshold": 0.25, "images": 9, "tasks": ("one",), "weights_sha256": "w"}
    return Novelty(centres=packed(centres), width=centres.shape[1], **{**values, **changed})


def test_distances_are_from_the_nearest_centre_of_features_of_length_1() -> None:
    rng = np.random.default_rng(0)
    features, centres = rng.normal(size=(2100, 6)).astype(np.float32), rng.normal(size=(10, 6)).astype(np.float16)
    scaled = features.astype(np.float64) / np.linalg.norm(features.astype(np.float64), axis=1)[:, None]
    expected = np.linalg.norm(scaled[:, None] - centres.astype(np.float64), axis=2).min(1)
    np.testing.assert_allclose(made(centres).distances(features), expected, atol=1e-9)
    np.testing.assert_allclose(made(centres).distances(7 * features), expected, atol=1e-9)
    assert np.isfinite(made(centres).distances(np.zeros((1, 6)))).all()


def test_a_share_of_1_percent_of_new_pictures_is_beyond_the_limit() -> None:
    rng = np.random.default_rng(1)
    beyond = [(rng.exponential(size=500) > limit(rng.exponential(size=299))).mean() for _ in range(2000)]
    assert 0.0095 < np.mean(beyond) <= 0.0105
    assert limit(np.array([3.0, 1.0, 2.0])) == 3.0
    assert made(np.eye(3), threshold=limit(np.zeros(4)), crops_threshold=limit(np.zeros(1))).threshold > 0
    assert limit(np.arange(199.0)) == 197.0
    assert is_unknown(np.array([1.0, 1.01, np.nan])).tolist() == [False, True, False]


def test_centres_are_of_clusters() -> None:
    ends = np.eye(4)[:2]
    features = unit(np.repeat(ends, 20, axis=0) + np.random.default_rng(0).normal(0, 0.01, (40, 4)))
    centres = task_centres(features, 2, 0)
    assert nearest(ends, centres).max() < 0.02
    assert task_centres(features[:2], 5, 0).shape == (5, 4)
    assert spread(5, 10).tolist() == [0, 1, 2, 3, 4]
    assert spread(1000, 3).tolist() == [0, 500, 999]


def test_the_file_is_read_back_and_checked(tmp_path: Path) -> None:
    novelty = made(np.random.default_rng(0).normal(size=(10, 3)))
    path = tmp_path / NOVELTY_FILE
    assert read_novelty(path) is None
    path.write_text(novelty.to_json())
    assert read_novelty(path) == novelty
    values = json.loads(novelty.to_json())
    for text in ("", "[]", json.dumps({**values, "centres": "%"}), json.dumps({**values, "width": 7}),
                 json.dumps({**values, "centres": ""}), json.dumps({**values, "threshold": 0})):
        path.write_text(text)
        with pytest.raises(UserError, match="novelty"):
            read_novelty(path)


@pytest.fixture
def outputs(tmp_path: Path):
    def make(*, kept: bool) -> ViewOutputs:
        network = convnet.build(convnet.Config(width=8, depth=2), 0)
        return ViewOutputs(network=network, config=TrainingConfig(crop=SIDE, batch_size=5), runtime=cpu(),
                           feature_folder=tmp_path.joinpath if kept else None)

    return make


@pytest.mark.parametrize("kept", [False, True])
def test_validation_gives_scores_of_both_kinds_and_the_novelty(outputs, kept: bool, make_store) -> None:
    train = {name: make_store(name, noise(24, 20, 30.0, seed)) for seed, name in enumerate("ab")}
    validation = {name: make_store(name, noise(12, 20, 30.0, 5 + seed)) for seed, name in enumerate("ab")}
    other = {"c": make_store("c", (np.full((20, 20, 3), 10 * number, np.uint8) for number in range(4)))}
    reader = outputs(kept=kept)
    scores, novelty = validate_stores(reader, train, validation, "w")
    assert list(scores.columns) == ["id", "task", "label", "source", "logit", "logit_crops", "novelty"]
    assert (novelty.tasks, novelty.images, novelty.width, novelty.weights_sha256) == (("a", "b"), 24, 8, "w")
    assert max(scores["novelty"].tolist()) == 1  # too few pictures for a quantile
    store = validation["a"]
    centred = predict(reader.network, store, batch_size=5, crop=SIDE)
    np.testing.assert_allclose(scores["logit"][:12], centred, atol=1e-3)
    crops = np.concatenate([view_crops(store, np.arange(12), name, SIDE, 0)[:, None] for name in QUARTERS], axis=1)
    by_hand = [view(store[row], SIDE, 4).crops for row in range(1, 12, 2)]  # the others are even
    np.testing.assert_array_equal(crops[1::2], by_hand)
    scored = score_stores(reader, {**validation, **other}, novelty)
    np.testing.assert_allclose(scored["novelty"][:24], scores["novelty"], rtol=1e-6)
    features = reader.read(other["c"])[1]
    np.testing.assert_allclose(scored["novelty"][24:], novelty.distances(features) / novelty.threshold)
    assert scored["novelty"].tolist()[24] > 1  # black: no features like those of noise
    assert list(score_stores(reader, validation, None).columns) == ["id", "task", "label", "source", "logit"]
    several = score_stores(reader, validation, None, several=True)
    np.testing.assert_allclose(several["logit"], scores["logit_crops"])
    assert np.abs(several["logit"] - scores["logit"]).max() > 1e-3


def test_pictures_beyond_every_centre_are_unknown(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    sha256 = json.loads((folder / "checkpoint.json").read_text())["weights_sha256"]
    write_calibration(folder, calibration(sha256))
    paths = write_pictures(tmp_path / "files")
    plain = score_files(open_model(folder, cpu), paths, progress=False)
    assert plain["novelty"].isna().to_numpy().all()
    assert "unknown" not in set(plain["verdict"])
    embeddings = open_model(folder, cpu).outputs(view(_pixels(paths[0]), CROP).crops).embeddings
    assert embeddings is not None
    width = embeddings.shape[1]
    far = made(-np.ones((1, width)) / np.sqrt(width), weights_sha256=sha256, threshold=0.5, crops_threshold=3.0)
    (folder / NOVELTY_FILE).write_text(far.to_json())
    model = open_model(folder, cpu)
    scores = score_files(model, paths, progress=False)
    single = [crops == 1 for crops in scores["crops"]]
    assert 0 < sum(single) < len(scores)
    assert [verdict == "unknown" for verdict in scores["verdict"]] == single
    assert set(score_files(model, paths, crops=1, progress=False)["verdict"]) == {"unknown"}
    np.testing.assert_array_equal(scores["p_fake"], plain["p_fake"])
    assert scores["novelty"].tolist()[0] == pytest.approx(far.distances(embeddings).mean() / 3.0)
    assert "than 99% of 9 validation images" in describe(model.facts, folder, 16)
    (folder / NOVELTY_FILE).write_text(replace(far, weights_sha256="of other weights").to_json())
    assert open_model(folder, cpu).facts.novelty is None


def _pixels(path: Path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB"))
