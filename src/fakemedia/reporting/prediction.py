"""Did the distance between tasks predict what was measured in training?

Two things are read from the accuracy matrices R. *Zero-shot transfer*: R[i, j] of a task j that no stage up to i has
learned. *Forgetting*: R[i - 1, j] - R[i, j] of a task j learned before stage i, the points that stage i costs it.
Either belongs to a pair of what stage i learns and the task j; the distance of the pair is the mean over the stage's
tasks t of d(t, j). Reported is Spearman's rank correlation over all pairs of all arrangements, each the mean over
seeds. A measure that predicts well is negative for transfer and positive for forgetting.

The pairs are not independent: they share tasks, and the stages of one run follow from one another. The interval is
therefore that of a bootstrap over tasks and seeds, not over pairs: tasks are drawn with replacement, and a pair counts
as often as its tested task times the mean of its learned ones (the pigeonhole bootstrap of Owen, Annals of Applied
Statistics 2007, for data crossed in two factors). Arrangements and test images are held fixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fakemedia.core.rng import generator
from fakemedia.core.types import Stage
from fakemedia.evaluation.intervals import (
    CORRELATION,
    degrees_of_freedom,
    draw_weights,
    mean_over_seeds,
    t_interval,
    variance,
)

Floats = NDArray[np.float64]
TARGETS = ("zero_shot", "forgetting")


@dataclass(frozen=True)
class Run:
    """One arrangement under one method: its stages and accuracy matrices, percent, (K, S, T)."""

    stages: tuple[Stage, ...]
    accuracy: Floats


@dataclass(frozen=True)
class Pairs:
    """Observations of N pairs of a stage and a task, the tasks numbered 0..T-1."""

    learned: Floats
    """Share of each task in what the stage learns, (N, T); rows sum to 1."""
    tested: NDArray[np.int64]
    """(N,)"""
    observed: Floats
    """Points for each seed, (K, N)."""


def observe(runs: Sequence[Run], tasks: Sequence[str], target: str) -> Pairs:
    """Return the pairs of all `runs` for `target`, one of TARGETS; stages without scores are left out."""
    learned, tested, outcomes = [], [], []
    for run in runs:
        order = run.stages[-1].seen
        for i, stage in enumerate(run.stages):
            share = np.isin(tasks, stage.tasks) / len(stage.tasks)
            earlier = [task for task in stage.seen if task not in stage.tasks]
            for task in (earlier if target == "forgetting" else [task for task in order if task not in stage.seen]):
                column = run.accuracy[:, :, order.index(task)]
                value = column[:, i - 1] - column[:, i] if target == "forgetting" else column[:, i]
                if np.isfinite(value).any():
                    learned.append(share)
                    tested.append(tasks.index(task))
                    outcomes.append(value)
    return Pairs(learned=np.array(learned).reshape(-1, len(tasks)), tested=np.array(tested, np.int64),
                 observed=np.array(outcomes).reshape(len(tested), len(runs[0].accuracy)).T)


def weighted_rank_correlation(x: Floats, y: Floats, weights: Floats) -> float:
    """Return Spearman's rho of x and y (N,) where each pair counts `weights` (N,) times; NaN if one is constant."""
    positive = weights > 0
    w = weights[positive]
    a, b = (_ranks(values[positive], w) for values in (x, y))
    if not len(w):
        return np.nan
    a, b = a - np.average(a, weights=w), b - np.average(b, weights=w)
    length = np.sqrt((w @ (a * a)) * (w @ (b * b)))
    return float(w @ (a * b) / length) if length > 1e-9 else np.nan


def _ranks(values: Floats, weights: Floats) -> Floats:
    """Return the mean ranks that `values` have when each is repeated `weights` times."""
    _, inverse = np.unique(values, return_inverse=True)
    counts = np.bincount(inverse, weights)
    return (np.cumsum(counts) - counts / 2)[inverse]


def predictions(runs: Mapping[str, Sequence[Run]], distances: Mapping[str, pd.DataFrame],
                seed_weights: NDArray[np.float32], *, draws: int, seed: int = 0) -> pd.DataFrame:
    """Return the rank correlation of each measure's distances with each target, by method.

    `runs` are the arrangements by method, `distances` square tables by measure, `seed_weights` (B, K) the draws of the
    seeds. Columns: measure, method, target, pairs, mean (the correlation), low, high. No rows without distances.
    """
    rows = []
    for name, table in distances.items():
        tasks = list(table.index)
        values = table.to_numpy(np.float64)
        task_weights = draw_weights(len(tasks), draws, generator(seed, "bootstrap", "tasks")).astype(np.float64)
        for method, arrangements in runs.items():
            for target in TARGETS:
                pairs = observe(arrangements, tasks, target)
                separation = np.einsum("nt,tn->n", pairs.learned, values[:, pairs.tested])
                unit_weights = np.ones(len(separation))
                correlation = weighted_rank_correlation(separation, mean_over_seeds(pairs.observed), unit_weights)
                by_seed = [weighted_rank_correlation(separation, outcomes, unit_weights) for outcomes in pairs.observed]
                draw_values = [weighted_rank_correlation(
                    separation, mean_over_seeds(pairs.observed[None], seed_draw[None])[0],
                    task_draw[pairs.tested] * (pairs.learned @ task_draw))
                    for task_draw, seed_draw in zip(task_weights, seed_weights[:draws], strict=True)]
                total = variance(np.array(draw_values))
                low, high = t_interval(np.array(correlation), total,
                                       degrees_of_freedom(np.array(by_seed), total, len(tasks)), CORRELATION)
                rows.append({"measure": name, "method": method, "target": target, "pairs": len(separation),
                             "mean": correlation, "low": float(low), "high": float(high)})
    return pd.DataFrame(rows, columns=["measure", "method", "target", "pairs", "mean", "low", "high"])
