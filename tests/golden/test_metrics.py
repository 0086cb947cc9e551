"""The metrics of one split against scikit-learn and against hand computation."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fakemedia.core.rng import generator
from fakemedia.evaluation import metrics


def noisy_split(images: int = 400) -> tuple[np.ndarray, np.ndarray]:
    rng = generator(3, "split")
    labels = rng.integers(2, size=images)
    return labels, np.round(labels + rng.normal(size=images), 1)


def test_auc_equals_scikit_learn_with_ties() -> None:
    labels, logits = noisy_split()
    assert metrics.auc(labels, logits) == pytest.approx(roc_auc_score(labels, logits), abs=1e-12)


def test_auc_of_several_rows_at_once() -> None:
    labels, logits = noisy_split()
    both = metrics.auc(labels, np.stack([logits, -logits]))
    assert both.sum() == pytest.approx(1)


def test_placements_of_either_class_average_to_the_auc() -> None:
    labels, logits = noisy_split()
    placed = metrics.placements(labels, logits)
    assert placed[labels == 1].mean() == pytest.approx(placed[labels == 0].mean())


def test_auc_of_huge_separable_logits_is_one() -> None:
    assert metrics.auc(np.array([0, 0, 1, 1]), np.array([500.0, 501.0, 502.0, 900.0])) == 1


def test_accuracies_by_hand() -> None:
    labels, logits = np.array([0, 0, 0, 1, 1]), np.array([-1.0, 0.0, 2.0, 3.0, -0.5])
    found = metrics.task_metrics(labels, logits)
    assert (found["accuracy"], found["accuracy_real"], found["accuracy_fake"]) == pytest.approx((60, 200 / 3, 50))


def test_equal_error_rate_by_hand() -> None:
    labels, logits = np.array([0, 0, 0, 0, 1, 1, 1, 1]), np.array([-4.0, -3, -2, 1, -1, 2, 3, 4])
    assert metrics.equal_error_rate(labels, logits) == pytest.approx(0.25)


def test_equal_error_rate_between_two_points_of_the_curve() -> None:
    # ROC points (0, 0), (0, 1/2), (1, 1): misses 1/2 -> 0 meet false alarms 0 -> 1 at a third.
    labels, logits = np.array([1, 0, 1]), np.array([2.0, 1.0, 1.0])
    assert metrics.equal_error_rate(labels, logits) == pytest.approx(1 / 3)


def test_calibration_error_by_hand() -> None:
    # Confidences 0.8, 0.8 (one right) and 0.6 (right): (2 * |0.5 - 0.8| + |1 - 0.6|) / 3.
    labels, logits = np.array([1, 0, 0]), np.array([math.log(4), math.log(4), -math.log(1.5)])
    assert metrics.expected_calibration_error(labels, logits, bins=10) == pytest.approx((2 * 0.3 + 0.4) / 3)


@pytest.mark.parametrize("labels", [np.zeros(3, int), np.ones(3, int), np.zeros(0, int)])
def test_one_class_leaves_the_rest_undefined_without_a_warning(labels: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = metrics.task_metrics(labels, np.linspace(-1, 1, len(labels)))
    assert all(math.isnan(found[name]) for name in ("auc", "ap", "eer"))
    assert math.isnan(found["accuracy"]) == (len(labels) == 0)


def test_true_positives_at_a_rate_of_false_positives() -> None:
    labels = np.array([0] * 100 + [1] * 4)
    logits = np.concatenate([np.arange(100.0), [98.5, 99.5, 94.0, 10.0]])
    # One real image of 100 may be called fake, then five: thresholds just below 99 and 95.
    assert metrics.true_positive_rate(labels, logits, 0.01) == 50
    assert metrics.true_positive_rate(labels, logits, 0.05) == 50
    assert metrics.true_positive_rate(labels, logits, 0.06) == 75
    assert metrics.true_positive_rate(labels, logits, 0) == 25
    assert np.isnan(metrics.true_positive_rate(labels[:5], logits[:5], 0.01))
