"""What calibration changes, as the report tells it."""

from __future__ import annotations

import pandas as pd
import pytest

from fakemedia.evaluation.calibration import Calibration, CalibrationConfig, calibrate, calibrated_metrics
from fakemedia.reporting.calibration_table import CHECKPOINT_COLUMNS, COLUMNS, calibration_table

from ..scores import make_scores

SCORES, STAGES = make_scores([("gan",), ("warp", "sr")], methods=("kd", "joint"), seeds=(0, 1), images=80)
CONFIG = CalibrationConfig(target=0.8)


def validation(scores: pd.DataFrame = SCORES) -> pd.DataFrame:
    """Return scores that are shifted, and those of the tasks seen alone."""
    seen = {stage.index: stage.seen for stage in STAGES}
    kept = scores[[task in seen[stage] for task, stage in zip(scores["task"], scores["stage"], strict=True)]]
    return kept.assign(logit=kept["logit"] + 1.5)


def calibrations(scores: pd.DataFrame) -> dict[tuple[str, int, int], Calibration]:
    """Return the calibration of each checkpoint that has validation scores."""
    return {run: calibrate(rows, config=CONFIG)  # type: ignore[misc]
            for run, rows in scores.groupby(["method", "seed", "stage"])}


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return calibration_table(SCORES, calibrations(validation()), stages=STAGES)


def test_a_row_for_each_task_of_each_checkpoint(table: pd.DataFrame) -> None:
    assert tuple(table.columns) == COLUMNS
    keys = ["method", "seed", "stage", "task"]
    assert len(table) == len(SCORES.drop_duplicates(keys)) == len(table.drop_duplicates(keys)) == 2 * 3 * 3
    assert (table["images"] == 80).all()
    unseen = table.loc[~table["seen"], ["stage", "task"]].drop_duplicates()
    assert unseen.to_numpy().tolist() == [[1, "warp"], [1, "sr"]]


def test_calibrated_on_validation_and_measured_on_test(table: pd.DataFrame) -> None:
    (row,) = table[(table["method"] == "kd") & (table["seed"] == 1) & (table["stage"] == 2)
                   & (table["task"] == "warp")].to_dict("records")
    run = SCORES[(SCORES["method"] == "kd") & (SCORES["seed"] == 1) & (SCORES["stage"] == 2)]
    calibration = calibrate(validation(run), config=CONFIG)
    test = run[run["task"] == "warp"]
    expected = calibrated_metrics(test["label"].to_numpy(), test["logit"].to_numpy(), calibration)
    assert {name: row[name] for name in expected} == pytest.approx(expected)
    assert [row[name] for name in CHECKPOINT_COLUMNS] == [getattr(calibration, name) for name in CHECKPOINT_COLUMNS]
    assert row["threshold"] > 0.5


def test_a_checkpoint_has_one_calibration(table: pd.DataFrame) -> None:
    assert (table.groupby(["method", "seed", "stage"])[list(CHECKPOINT_COLUMNS)].nunique() == 1).all(axis=None)


def test_checkpoints_without_a_calibration_are_left_out() -> None:
    some = validation(SCORES[SCORES["method"] == "joint"])
    assert set(calibration_table(SCORES, calibrations(some), stages=STAGES)["method"]) == {"joint"}
    none = calibration_table(SCORES, {}, stages=STAGES)
    assert none.empty
    assert tuple(none.columns) == COLUMNS
