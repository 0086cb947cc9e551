"""Scores are deterministic, and predicting leaves the network as it was."""

import numpy as np
import pytest
import torch

from fakemedia.evaluation.predict import predict, score_suite
from fakemedia.networks import convnet
from fakemedia.store.batches import EvalBatches


@pytest.fixture(scope="module")
def network():
    return convnet.build(convnet.Config(width=8, depth=2), 0)


def test_logits_are_the_difference_of_the_two_outputs(network, noise_store):
    store = noise_store()
    (batch,) = EvalBatches(store, batch_size=len(store), crop=8)
    with torch.no_grad():
        outputs = network.eval()(network.prepare(batch.images)).double().numpy()
    logits = predict(network, store, batch_size=len(store), crop=8)
    assert logits.dtype == np.float64
    np.testing.assert_array_equal(logits, outputs[:, 1] - outputs[:, 0])


def test_rows_and_batch_size_pick_and_cut_only(network, noise_store):
    store = noise_store()
    everything = predict(network, store, batch_size=5, crop=8)
    rows = np.array([2, 3, 17])
    np.testing.assert_allclose(predict(network, store, batch_size=2, crop=8, rows=rows), everything[rows], atol=1e-5)


def test_modes_and_randomness_are_left_alone(network, noise_store):
    network.train()
    network.body[1].eval()
    modes = [module.training for module in network.modules()]
    generator = torch.get_rng_state()
    predict(network, noise_store(), batch_size=8, crop=8)
    assert [module.training for module in network.modules()] == modes
    assert torch.equal(torch.get_rng_state(), generator)
    assert torch.is_grad_enabled()


def test_score_suite(network, noise_store):
    suite = {"b": noise_store(images=6), "a": noise_store(images=4, seed=1)}
    scores = score_suite(network, suite, batch_size=8, crop=8)
    assert list(scores.columns) == ["id", "task", "label", "source", "logit"]
    assert scores["task"].tolist() == ["b"] * 6 + ["a"] * 4
    assert scores["label"].dtype == np.int8
    assert scores["logit"].dtype == np.float64
    assert scores["id"].tolist() == suite["b"].ids + suite["a"].ids
