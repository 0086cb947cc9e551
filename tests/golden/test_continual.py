"""Continual metrics against 3x3 examples computed by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from fakemedia.core.types import make_stages
from fakemedia.evaluation import continual

NAN = np.nan
R = np.array([[90.0, 60, 50],
              [80.0, 95, 55],
              [70.0, 75, 99]])
SINGLE = continual.learned_at(make_stages([("a",), ("b",), ("c",)]))


def test_three_stages_of_one_task() -> None:
    found = continual.summary(R, R / 100, SINGLE)
    assert found == pytest.approx({
        "aa": (70 + 75 + 99) / 3,
        "forgetting": (20 + 20) / 2,
        "bwt": (-20 - 20) / 2,
        "fwt": (10 + 5) / 2,
        "learning_accuracy": (90 + 95 + 99) / 3,
        "c_auc": (0.90 + 0.80 + 0.95 + 0.70 + 0.75 + 0.99) / 6,
        "fwt_auc": (0.60 + 0.50 + 0.55) / 3,
    })


def test_forgetting_counts_from_the_best_stage_since_learning() -> None:
    # Task a peaks at stage 2; what task b scored before it was learned does not count.
    matrix = np.array([[80.0, 99, 50], [90.0, 85, 50], [70.0, 88, 95]])
    np.testing.assert_allclose(continual.forgetting_per_task(matrix, SINGLE), [20, -3, NAN])
    assert continual.backward_transfer(matrix, SINGLE) == pytest.approx((-10 + 3) / 2)


def test_a_known_peak_is_kept() -> None:
    peak = continual.peak_stage(R, SINGLE)
    np.testing.assert_array_equal(peak, [0, 1, 2])
    shifted = R + np.array([[0, 0, 0], [20, 0, 0], [0, 0, 0]])
    np.testing.assert_allclose(continual.forgetting_per_task(shifted, SINGLE, peak), [20, 20, NAN])


def test_tasks_of_one_group_share_their_stage() -> None:
    stages = make_stages([("a", "b"), ("c",)])
    matrix = np.array([[90.0, 80, 60], [70.0, 75, 95]])
    found = continual.summary(matrix, matrix / 100, continual.learned_at(stages))
    assert found == pytest.approx({
        "aa": 80, "forgetting": (20 + 5) / 2, "bwt": -(20 + 5) / 2, "fwt": 10,
        "learning_accuracy": (90 + 80 + 95) / 3,
        "c_auc": (0.90 + 0.80 + 0.70 + 0.75 + 0.95) / 5, "fwt_auc": 0.60,
    })


def test_average_over_the_tasks_seen() -> None:
    np.testing.assert_allclose(continual.average_over_seen(R, SINGLE), [90, 87.5, 244 / 3])


def test_a_method_with_the_last_stage_only_has_an_average_and_nothing_else() -> None:
    matrix = np.full((3, 3), NAN)
    matrix[-1] = [90, 92, 94]
    found = continual.summary(matrix, matrix / 100, SINGLE)
    assert found.pop("aa") == 92
    assert all(np.isnan(value) for value in found.values())


def test_a_single_stage_leaves_transfer_undefined_without_a_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = continual.summary(np.array([[90.0]]), np.array([[0.9]]), np.array([0]))
    assert found["aa"] == found["learning_accuracy"] == 90
    assert found["c_auc"] == 0.9
    assert all(np.isnan(found[name]) for name in ("forgetting", "bwt", "fwt", "fwt_auc"))


def test_leading_axes_are_carried_through() -> None:
    stack = np.stack([R, R - 1, R.T])[None]
    found = continual.summary(stack, stack / 100, SINGLE)
    for name, values in found.items():
        assert values.shape == (1, 3), name
        for i in range(3):
            assert values[0, i] == pytest.approx(continual.summary(stack[0, i], stack[0, i] / 100, SINGLE)[name])
