"""What the calibration of each checkpoint changes on the test splits."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from fakemedia.core.types import Stage
from fakemedia.evaluation.calibration import Calibration, CalibrationConfig, calibrate, calibrated_metrics

RUN = ["method", "seed", "stage"]
OF_CHECKPOINT = ("temperature", "threshold", "unsure_low", "unsure_high", "sources")
COLUMNS = (*RUN, "task", "seen", "images", *OF_CHECKPOINT, "accuracy", "accuracy_calibrated", "coverage",
           "accuracy_sure", "ece", "ece_calibrated")


def calibrations(validation: pd.DataFrame, config: CalibrationConfig) -> dict[tuple[str, int, int], Calibration]:
    """Return the calibration of each checkpoint (method, seed, stage) in the long table of validation scores."""
    return {run: calibrate(rows, config=config)  # pyright: ignore[reportReturnType]
            for run, rows in validation.groupby(RUN, sort=False)}


def calibration_table(scores: pd.DataFrame, validation: pd.DataFrame, *, stages: Sequence[Stage],
                      config: CalibrationConfig) -> pd.DataFrame:
    """Return a row for each task of each calibrated checkpoint, measured on test images; columns COLUMNS.

    `scores` and `validation` are long tables of test and validation scores (`results.COLUMNS`). `seen` says whether
    the checkpoint had learned the task, and was calibrated on it too; OF_CHECKPOINT are its
    calibration's; the rest is as in `evaluation.calibration.calibrated_metrics`. Checkpoints without validation scores
    are left out.
    """
    found = calibrations(validation, config)
    seen = {stage.index: stage.seen for stage in stages}
    rows = []
    for keys, of_task in scores.groupby([*RUN, "task"], sort=False):
        *run, task = keys  # pyright: ignore[reportGeneralTypeIssues]
        calibration = found.get(tuple(run))  # pyright: ignore[reportArgumentType, reportCallIssue]
        if calibration is not None:
            rows.append({
                **dict(zip(RUN, run, strict=True)), "task": task, "seen": task in seen[run[-1]],
                "images": len(of_task),
                **{name: getattr(calibration, name) for name in OF_CHECKPOINT},
                **calibrated_metrics(of_task["label"].to_numpy(), of_task["logit"].to_numpy(), calibration),
            })
    return pd.DataFrame(rows, columns=list(COLUMNS))
