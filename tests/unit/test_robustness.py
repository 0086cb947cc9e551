"""Scores of perturbed images: the same pictures, perturbed alike, whatever the batch."""

from __future__ import annotations

import numpy as np
import pytest

from fakemedia.evaluation.perturbations.perturbation import UNPERTURBED, make_conditions
from fakemedia.evaluation.perturbed import perturbed_crops, score_perturbed
from fakemedia.evaluation.predict import predict
from fakemedia.networks import convnet
from fakemedia.store.batches import EvalBatches

CONDITIONS = make_conditions({"noise": [5.0, 40.0], "jpeg": [30]}, where="test")


@pytest.fixture(scope="module")
def network():
    return convnet.build(convnet.Config(width=8, depth=2), 0)


@pytest.fixture(scope="module")
def suite(noise_store):
    return {"b": noise_store(images=14), "a": noise_store(images=9, seed=1)}


def scored(network, suite, **settings):
    return score_perturbed(network, suite, CONDITIONS, crop=8, progress=False,
                           **{"per_task_max": None, "batch_size": 64, **settings})


def test_every_image_is_scored_under_every_condition(network, suite) -> None:
    scores = scored(network, suite)
    assert list(scores.columns) == ["id", "task", "label", "source", "logit", "perturbation", "strength"]
    assert (scores["label"].dtype, scores["logit"].dtype, scores["strength"].dtype) == (np.int8, np.float64, np.float64)
    for (name, strength, task), rows in scores.groupby(["perturbation", "strength", "task"]):
        assert rows["id"].tolist() == suite[task].ids, (name, strength)
        assert rows["label"].tolist() == suite[task].labels.tolist()
        assert rows["source"].tolist() == suite[task].sources
    assert scores.groupby(["perturbation", "strength"], sort=False).ngroups == len(CONDITIONS)
    assert scores["perturbation"].iloc[0] == UNPERTURBED


def test_unperturbed_images_score_as_ever(network, suite) -> None:
    scores = scored(network, suite)
    plain = scores[(scores["perturbation"] == UNPERTURBED) & (scores["task"] == "b")]
    expected = predict(network, suite["b"], batch_size=5, crop=8)
    np.testing.assert_allclose(plain["logit"], expected, atol=1e-5)
    assert not np.allclose(scores.loc[scores["strength"] == 40, "logit"], scores.loc[scores["strength"] == 0, "logit"])


def test_neither_batches_nor_other_images_change_a_score(network, suite) -> None:
    keys = ["task", "id", "perturbation", "strength"]
    everything = scored(network, suite).set_index(keys)["logit"]
    for settings in ({"batch_size": 1}, {"batch_size": 7}, {"per_task_max": 5}):
        other = scored(network, dict(reversed(suite.items())), **settings).set_index(keys)["logit"]
        np.testing.assert_allclose(other, everything[other.index], atol=1e-5)


def test_the_chosen_images_are_the_same_for_every_network_and_of_both_classes(network, suite) -> None:
    first, second = (scored(each, suite, per_task_max=4) for each in (network, convnet.build(
        convnet.Config(width=4, depth=2), 1)))
    assert first.drop(columns="logit").equals(second.drop(columns="logit"))
    assert first.groupby(["task", "label"])["id"].nunique().tolist() == [2, 2, 2, 2]


def test_crops_are_those_of_the_plain_images(suite) -> None:
    store = suite["b"]
    (batch,) = EvalBatches(store, batch_size=len(store), crop=8)
    crops = np.stack([perturbed_crops(store[i], store.ids[i], CONDITIONS[:1], 8)[0] for i in range(len(store))])
    np.testing.assert_array_equal(batch.images.permute(0, 2, 3, 1).numpy(), crops)


def test_pictures_smaller_than_the_crop_are_padded_after_the_perturbation(suite) -> None:
    picture = suite["b"][0][:5, :5]
    assert perturbed_crops(picture, "id", CONDITIONS, 8).shape == (4, 8, 8, 3)
