"""The bootstrap: what is drawn, what it averages, and whether its intervals are as wide as they should be."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from fakemedia.core.rng import generator
from fakemedia.evaluation.intervals import draw_weights, mean_over_seeds, percentile_interval, resampled_means


def test_draws_are_seeded_and_take_one_unit_less() -> None:
    first, again = (draw_weights(7, 50, generator(1, "w")) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert set(first.sum(axis=1)) == {6.0}


def test_a_single_group_gives_no_interval() -> None:
    means = resampled_means(np.ones((4, 1)), np.zeros(4, int), draw_weights(1, 20, generator(1, "w")))
    assert np.isnan(percentile_interval(means)).all()


def test_resampled_means_by_hand() -> None:
    values, groups = np.array([[1.0], [0.0], [1.0]]), np.array([2, 2, 0])
    weights = np.array([[1, 0, 1], [0, 2, 0], [0, 0, 2]], dtype=np.float32)
    np.testing.assert_allclose(resampled_means(values, groups, weights)[:, 0], [2 / 3, np.nan, 0.5])


def test_spread_of_the_draws_is_the_unbiased_standard_error() -> None:
    values = generator(2, "v").normal(size=6)
    means = resampled_means(values[:, None], np.arange(6), draw_weights(6, 20000, generator(1, "w")))
    assert means.std() == pytest.approx(values.std(ddof=1) / np.sqrt(6), rel=0.03)


def test_copies_of_an_image_do_not_narrow_the_interval() -> None:
    values, weights = generator(2, "v").normal(size=(20, 1)), draw_weights(20, 500, generator(1, "w"))
    once = resampled_means(values, np.arange(20), weights)
    copied = resampled_means(np.repeat(values, 9, axis=0), np.repeat(np.arange(20), 9), weights)
    np.testing.assert_allclose(once, copied)


def test_seeds_that_were_not_run_are_left_out() -> None:
    values = np.array([[1.0, np.nan], [3.0, 5.0]])
    np.testing.assert_allclose(mean_over_seeds(values), [2, 5])
    weights = np.array([[1, 0], [0, 1]], dtype=np.float32)
    np.testing.assert_allclose(mean_over_seeds(np.stack([values, values]), weights), [[1, np.nan], [3, 5]])


def test_percentile_interval_leaves_out_undefined_draws() -> None:
    draws = np.stack([np.arange(101.0), np.full(101, np.nan)], axis=1)
    draws[0, 0] = np.nan
    low, high = percentile_interval(draws, level=0.9)
    assert low[0] == pytest.approx(5.95)
    assert high[0] == pytest.approx(95.05)
    assert np.isnan([low[1], high[1]]).all()


@pytest.mark.slow
@pytest.mark.parametrize("auc", [0.7, 0.9])
def test_intervals_cover_a_known_auc(auc: float) -> None:
    benchmark = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "coverage.py"))
    setting = benchmark["Setting"](photographs=100, auc=auc)
    covered = np.mean([benchmark["covers"](setting, repetition, 1000) for repetition in range(500)])
    assert 0.93 <= covered <= 0.97
