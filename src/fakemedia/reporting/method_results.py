"""All that the runs of one configured method leave for a report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.evaluation.calibration import Calibration


@dataclass(frozen=True, kw_only=True)
class MethodResults:
    """The results of one label of a sequence; what was never made has no rows."""

    scores: pd.DataFrame
    """One row per image and checkpoint: those of `evaluation.predict.score_suite`, method (the label), seed, stage."""
    calibrations: Mapping[tuple[str, int, int], Calibration]
    """The calibration of each calibrated checkpoint by (label, seed, stage index)."""
    history: pd.DataFrame
    """One row per epoch; see `reporting.history.cost_table`."""
    perturbed: pd.DataFrame | None = None
    """The scores of the last checkpoints on perturbed images; None where robustness is not measured."""
