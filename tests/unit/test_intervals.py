"""The bootstrap: what is drawn, what it averages, and whether its intervals are as wide as they should be."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pytest

from fakemedia.core.rng import generator
from fakemedia.evaluation.intervals import (
    CORRELATION,
    FRACTION,
    PERCENT,
    degrees_of_freedom,
    draw_weights,
    mean_over_seeds,
    resampled_means,
    t_interval,
    variance,
)


def test_draws_are_seeded_and_take_one_unit_less() -> None:
    first, again = (draw_weights(7, 50, generator(1, "w")) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert set(first.sum(axis=1)) == {6.0}


def test_a_single_group_gives_no_interval() -> None:
    means = resampled_means(np.ones((4, 1)), np.zeros(4, int), draw_weights(1, 20, generator(1, "w")))
    assert np.isnan(variance(means)).all()
    assert np.isnan(degrees_of_freedom(np.ones((3, 1)), np.zeros(1), groups=1)).all()


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


def test_variance_leaves_out_what_is_undefined() -> None:
    values = np.array([[1.0, np.nan, np.nan], [3.0, 5.0, np.nan], [np.nan, 7.0, 2.0]])
    np.testing.assert_allclose(variance(values), [2, 2, np.nan])


@pytest.mark.parametrize(("seeds", "total", "groups", "expected"), [
    ([4.0], 1.0, 9, 8),  # One seed: the groups alone.
    ([4.0, np.nan], 1.0, 9, 8),
    ([1.0, 2.0, 3.0], 1 / 3, 9, 2),  # s^2 / K = 1/3 is all there is.
    ([1.0, 2.0, 3.0], 0.2, 9, 2),  # And never more than all.
    ([1.0, 2.0, 3.0], 2 / 3, 9, (2 / 3) ** 2 / ((1 / 3) ** 2 / 2 + (1 / 3) ** 2 / 8)),
    ([2.0, 2.0, 2.0], 0.5, 5, 4),
    ([2.0, 2.0, 2.0], 0.0, 5, 4),
])
def test_degrees_of_freedom_by_hand(seeds: list[float], total: float, groups: int, expected: float) -> None:
    found = degrees_of_freedom(np.array(seeds)[:, None], np.array([total]), groups)
    np.testing.assert_allclose(found, [expected])


@pytest.mark.parametrize("bounds", [PERCENT, FRACTION, CORRELATION, (np.array([-50.0, 0.0]), np.array([50.0, 7.0]))])
def test_intervals_stay_inside_the_range_and_about_the_mean(bounds: tuple) -> None:
    lowest, highest = (np.asarray(bound, float) for bound in bounds)
    for place in (0.0, 1e-9, 0.3, 0.5, 0.99, 1.0):
        mean = np.broadcast_to(lowest + place * (highest - lowest), (2,))
        for error in (0.0, 1e-12, 0.01, 0.4):
            low, high = t_interval(mean, ((highest - lowest) * error * np.ones(2)) ** 2, np.array([1.0, 30.0]), bounds)
            assert ((lowest <= low) & (low <= mean) & (mean <= high) & (high <= highest)).all()
            assert error or ((low == mean) & (mean == high)).all()


def test_interval_by_hand() -> None:
    """Half width 2.3646 (Student's t, 7 degrees) x 0.03 / (0.9 x 0.1) = 0.7882 about log-odds of 2.1972."""
    low, high = t_interval(np.array([0.9]), np.array([0.03**2]), np.array([7.0]), FRACTION)
    assert low[0] == pytest.approx(1 / (1 + np.exp(-1.40903)), abs=1e-5)
    assert high[0] == pytest.approx(1 / (1 + np.exp(-2.98543)), abs=1e-5)


def test_of_a_correlation_it_is_fishers_z() -> None:
    r, error = 0.6, 0.1
    ends = t_interval(np.array([r]), np.array([error**2]), np.array([np.inf]), CORRELATION)
    half = 1.959964 * error / (1 - r**2)
    np.testing.assert_allclose(np.ravel(ends), np.tanh(np.arctanh(r) + np.array([-half, half])), rtol=1e-6)


def test_what_is_undefined_has_no_interval() -> None:
    ends = t_interval(np.array([np.nan, 0.5, 0.5]), np.array([0.1, np.nan, 0.1]), np.array([3, 3, np.nan]), FRACTION)
    assert np.isnan(ends).all()


@pytest.mark.slow
@pytest.mark.parametrize("setting", [
    {"photographs": 100, "auc": 0.7}, {"photographs": 100, "auc": 0.9}, {"photographs": 8, "auc": 0.9},
    {"photographs": 100, "auc": 0.9, "seeds": 3, "spread": 0.5},
], ids=["AUC 0.7", "AUC 0.9", "8 photographs", "3 seeds"])
def test_intervals_cover_a_known_auc(setting: dict) -> None:
    benchmark = runpy.run_path(str(Path(__file__).parents[2] / "benchmarks" / "coverage.py"))
    made = benchmark["Setting"](**setting)
    covered = np.mean([benchmark["covers"](made, repetition, 1000) for repetition in range(500)])
    assert 0.93 <= covered <= 0.97
