"""Samples of tasks, and how hard their tasks are."""

import numpy as np
import pytest

from fakemedia.core.errors import UserError
from fakemedia.similarity.measure import TaskSample, sample_task
from fakemedia.similarity.transfer import Config, hardness


def test_centre_crops_of_a_store(noise_store):
    store = noise_store(images=24, size=12)
    sample = sample_task(store, maximum=10, crop=8, seed=0)
    assert sample.task == "noise"
    assert sample.images.shape == (10, 8, 8, 3)
    assert np.bincount(sample.labels).tolist() == [5, 5]
    again = sample_task(store, maximum=None, crop=8, seed=0)
    np.testing.assert_array_equal(again.images[3], store[3][2:10, 2:10])
    np.testing.assert_array_equal(again.labels, store.labels)


def test_crops_too_small_for_a_spectrum():
    sample = TaskSample(task="tiny", images=np.zeros((4, 8, 12, 3), np.uint8), labels=np.array([0, 0, 1, 1]))
    with pytest.raises(UserError, match="12x8") as error:
        _ = sample.spectra
    assert "tiny" in str(error.value)


def test_a_faint_trace_is_harder_than_a_plain_one():
    def sample(task, sigma):
        rng = np.random.default_rng(0)
        images = rng.normal(128, 20, (80, 24, 24, 3))
        images[40:] += sigma * rng.standard_normal((40, 24, 24, 3))
        return TaskSample(task=task, images=images.clip(0, 255).astype(np.uint8), labels=np.repeat([0, 1], 40))

    found = hardness([sample("faint", 1.0), sample("plain", 20.0)], Config())
    assert found["plain"] < 0.05
    assert 0.3 < found["faint"] < 0.7
