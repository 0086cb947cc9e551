"""Labels that look swapped."""

from __future__ import annotations

import numpy as np
import pytest

from fakemedia.evaluation.label_check import auc_after_learning, auc_before_learning, label_notices
from fakemedia.reporting.results import gather
from fakemedia.reporting.tables import make_tables

from ..scores import make_scores

LEARNED = np.arange(3)
TASKS = ("a", "b", "c")


def matrix(second: float = 0.6, third: tuple[float, float] = (0.6, 0.7), own: float = 0.95) -> np.ndarray:
    return np.array([[0.95, second, third[0]], [0.7, own, third[1]], [0.6, 0.8, 0.95]])


def test_means_over_detectors_and_stages_by_hand() -> None:
    two = np.stack([matrix(), matrix(0.2, (0.0, np.nan))])
    np.testing.assert_allclose(auc_before_learning(two, LEARNED), [np.nan, 0.4, (0.6 + 0.7 + 0.0) / 3])
    np.testing.assert_allclose(auc_after_learning(two, LEARNED), [0.95] * 3)
    nothing = np.full((2, 3, 3), np.nan)
    assert np.isnan(auc_before_learning(nothing, LEARNED)).all()
    assert label_notices(nothing, LEARNED, TASKS) == ()


def test_a_task_that_others_rank_the_wrong_way_round() -> None:
    assert label_notices(matrix(), LEARNED, TASKS) == ()
    found, = label_notices(matrix(second=0.05), LEARNED, TASKS)
    assert found.startswith("b: detectors that have not learned it rank it the wrong way round (AUC 0.05)")
    # One stage alone is not enough: in the demo one task's traces are the opposite of the one before it.
    assert label_notices(matrix(third=(0.55, 0.07)), LEARNED, TASKS) == ()


def test_test_labels_that_contradict_those_of_training() -> None:
    found, = label_notices(matrix(own=0.04), LEARNED, TASKS)
    assert found.startswith("b: detectors that have just learned it")


@pytest.mark.parametrize("swapped", [False, True])
def test_the_report_says_so(swapped: bool) -> None:
    scores, stages = make_scores([("gan",), ("warp",)], methods=("finetune", "kd"), seeds=(0,))
    scores.loc[(scores["stage"] == 1) & (scores["task"] == "warp"), "logit"] += 8.0 * (2 * scores["label"] - 1)
    if swapped:
        scores.loc[(scores["stage"] == 1) & (scores["task"] == "warp"), "logit"] *= -1
    results = gather(scores, sequence="s", network="convnet", stages=stages, methods=["finetune", "kd"], seeds=(0,))
    notices = [text for text in make_tables(results, draws=20).notices if "swapped" in text]
    assert len(notices) == swapped
    assert all("warp" in text for text in notices)
