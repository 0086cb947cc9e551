"""A new task whose labels look swapped."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score

from fakemedia.core.errors import UserError
from fakemedia.evaluation.label_check import Outputs, distances_if_swapped, feature_distance
from fakemedia.learning import next_stage
from fakemedia.runtime.device import Runtime

REAL = np.linspace(-2, 0, 80)
FAKE = np.linspace(1, 3, 80)
"""Logits of known pictures."""


def outputs(logits: np.ndarray, *, shift: float = 0.0, seed: int = 0, sources: int = 1000) -> Outputs:
    """Return features of pictures that differ by `shift` in one of 20 directions."""
    features = np.random.default_rng(seed).normal(size=(len(logits), 20)).astype(np.float32)
    features[:, 3] += shift
    return Outputs(logits, features, np.array([f"{seed}-{number % sources}" for number in range(len(logits))]))


@pytest.mark.parametrize(("reals", "fakes", "refused"), [
    (REAL, FAKE, False),
    (FAKE, REAL, True),
    (REAL + 0.1, REAL - 2, False),
    (REAL - 2, REAL + 0.1, True),
    (REAL + 0.1, REAL, False),
    (REAL, REAL + 0.1, False),
    (REAL[::20] + 0.5, REAL[::20], False),
], ids=["found", "found, swapped", "more real than real", "more real than real, swapped", "not noticed",
        "not noticed, swapped", "too few to tell"])
def test_labels_that_look_swapped_by_logits(reals: np.ndarray, fakes: np.ndarray, refused: bool) -> None:
    distances = distances_if_swapped([outputs(REAL)], outputs(reals, seed=1), outputs(fakes, seed=2))
    assert (distances is not None) == refused


@pytest.mark.parametrize(("of_reals", "of_fakes", "refused"), [
    (0, 3, False), (3, 0, True), (3, 3, False), (0, 0, False),
], ids=["right", "swapped", "another camera", "not noticed"])
def test_labels_that_look_swapped_by_features(of_reals: float, of_fakes: float, refused: bool) -> None:
    known = [outputs(REAL, shift=-9, seed=3), outputs(REAL)]
    reals, fakes = outputs(REAL, shift=of_reals, seed=1), outputs(REAL, shift=of_fakes, seed=2)
    distances = distances_if_swapped(known, reals, fakes)
    assert (distances is not None) == refused
    if distances is not None:
        assert distances[0] > 0.4 > 0.2 > distances[1]


def test_the_distance_of_features_is_that_of_other_photographs() -> None:
    known, others = outputs(REAL, shift=1), outputs(REAL, shift=2, seed=1)
    distance = feature_distance(known, others)
    labels = np.repeat([0, 1], 80)
    features = np.concatenate([known.features, others.features])
    seen = RidgeClassifier(alpha=20).fit(features, labels).decision_function(features)
    assert 0.1 < distance < roc_auc_score(labels, seen) - 0.5
    assert feature_distance(known, outputs(REAL, seed=5)) < distance


def test_one_photograph_cannot_be_compared() -> None:
    single = outputs(REAL, shift=3, seed=1, sources=1)
    assert np.isnan(feature_distance(outputs(REAL), single))
    assert distances_if_swapped([outputs(REAL)], single, outputs(REAL, seed=2)) is None


def test_photographs_that_cannot_be_divided_into_folds_are_not_compared() -> None:
    reference, group = (Outputs(np.zeros(len(sources)), np.eye(len(sources), 4, dtype=np.float32), np.array([*sources]))
                        for sources in ("dbddcdbdda", "cbcccccc"))
    assert np.isnan(feature_distance(reference, group))


def test_an_update_names_the_task_and_the_distances(monkeypatch: pytest.MonkeyPatch) -> None:
    stores = {task: cast(Any, SimpleNamespace(task=task, labels=np.repeat([0, 1], 80), sources=np.arange(160)))
              for task in ("old", "new")}
    logits = {"old": np.concatenate([REAL, FAKE]), "new": np.concatenate([FAKE, REAL])}

    def read(store: Any, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return logits[store.task][rows], np.zeros((len(rows), 2), np.float32)

    monkeypatch.setattr(next_stage, "view_outputs", lambda *args: SimpleNamespace(read=read))
    message = r"task new look more like .* \(distance 0\.00\) than those called real \(0\.50\): the labels look swapped"
    with pytest.raises(UserError, match=message):
        next_stage.check_labels(cast(Any, None), stores["new"], {"old": stores["old"]}, runtime=Runtime(),
                                features=Path)


def test_fakes_alone_have_no_labels_to_swap() -> None:
    store = cast(Any, SimpleNamespace(task="new", labels=np.ones(4, int)))
    next_stage.check_labels(cast(Any, None), store, {}, runtime=Runtime(), features=Path)
