"""Accuracy and AUC on perturbed test images."""

from __future__ import annotations

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fakemedia.core.types import Stage
from fakemedia.evaluation.intervals import DRAWS, FRACTION, PERCENT
from fakemedia.reporting.estimates import Quantity, estimate, measure
from fakemedia.reporting.results import gather

Floats = NDArray[np.float64]
COLUMNS = ("method", "perturbation", "strength", "measure", "mean", "low", "high")


def robustness_table(scores: pd.DataFrame, *, sequence: str, network: str, tasks: tuple[str, ...],
                     methods: tuple[str, ...] = (), draws: int = DRAWS, seed: int = 0) -> pd.DataFrame:
    """Return mean, low and high of accuracy (percent) and AUC over all tasks for each perturbation and strength.

    `scores` are those of the last stage, with the columns of `results.COLUMNS`, perturbation and strength (float64).
    Columns COLUMNS, `measure` being accuracy or auc, in the order of the rows given; a strength of NaN stands for the
    mean over the strengths of the perturbation. Empty for empty scores.
    """
    if scores.empty:
        return pd.DataFrame(columns=list(COLUMNS))
    conditions = scores[["perturbation", "strength"]].drop_duplicates().reset_index(drop=True)
    number = scores[["perturbation", "strength"]].merge(conditions.reset_index(), how="left")["index"].to_numpy()
    # Each condition takes the place of a stage, so that all conditions share their draws.
    stages = [Stage(index=row + 1, name=f"condition_{row}", tasks=tasks if row == 0 else (), seen=tasks)
              for row in range(len(conditions))]
    results = gather(scores.assign(stage=number + 1), sequence=sequence, network=network, stages=stages,
                     methods=methods)
    bootstrap = measure(results, draws=draws, seed=seed)
    names = list(dict.fromkeys(conditions["perturbation"]))
    members = [np.flatnonzero(conditions["perturbation"] == name) for name in names]
    rows = pd.concat([conditions, pd.DataFrame({"perturbation": names, "strength": np.nan})], ignore_index=True)
    parts = []
    for name, bounds in (("accuracy", PERCENT), ("auc", FRACTION)):
        quantity = _over_tasks_and_strengths(name, [task_scores is not None for task_scores in results.scores], members)
        mean, low, high = estimate(bootstrap, quantity, bounds)
        parts += [rows.assign(method=method, measure=name, mean=mean[m], low=low[m], high=high[m])
                  for m, method in enumerate(results.methods)]
    return pd.concat(parts, ignore_index=True).reindex(columns=list(COLUMNS))


def _over_tasks_and_strengths(name: str, scored: list[bool], members: list[NDArray[np.int64]]) -> Quantity:
    """Return the quantity (..., C + P): means over the tasks at C conditions, then over those of each perturbation."""
    def quantity(accuracy: Floats, auc: Floats) -> Floats:
        values = {"accuracy": accuracy, "auc": auc}[name][..., scored].mean(axis=-1)
        averages = [values[..., rows].mean(axis=-1, keepdims=True) for rows in members]
        return np.concatenate([values, *averages], axis=-1)

    return quantity
