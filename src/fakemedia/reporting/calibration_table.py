"""The effect of each checkpoint's calibration on the test splits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd

from fakemedia.core.types import Stage
from fakemedia.evaluation.calibration import Calibration, calibrated_metrics

RUN = ["method", "seed", "stage"]
CHECKPOINT_COLUMNS = ("temperature", "threshold", "unsure_low", "unsure_high", "sources", "independent")
COLUMNS = (*RUN, "task", "seen", "images", *CHECKPOINT_COLUMNS, "accuracy", "accuracy_calibrated", "coverage",
           "accuracy_sure", "ece", "ece_calibrated")


def calibration_table(scores: pd.DataFrame, calibrations: Mapping[tuple[str, int, int], Calibration], *,
                      stages: Sequence[Stage]) -> pd.DataFrame:
    """Return one row for each task of each calibrated checkpoint, measured on test images; columns COLUMNS.

    `scores` is the long table of test scores (`results.COLUMNS`), `calibrations` are those that the checkpoints have,
    by (method, seed, stage). `seen` is whether the checkpoint had learned the task, and was calibrated on it too;
    CHECKPOINT_COLUMNS are its calibration's; the rest is as in `evaluation.calibration.calibrated_metrics`. Checkpoints
    without a calibration are left out.
    """
    seen = {stage.index: stage.seen for stage in stages}
    rows = []
    for (method, seed, stage, task), task_scores in scores.groupby([*RUN, "task"], sort=False):  # type: ignore[misc]
        calibration = calibrations.get((method, seed, stage))
        if calibration is not None:
            rows.append({
                "method": method, "seed": seed, "stage": stage, "task": task, "seen": task in seen[stage],
                "images": len(task_scores),
                **{name: getattr(calibration, name) for name in CHECKPOINT_COLUMNS},
                **calibrated_metrics(task_scores["label"].to_numpy(), task_scores["logit"].to_numpy(), calibration),
            })
    return pd.DataFrame(rows, columns=list(COLUMNS))
