"""The tables of the report, ready to be printed: main comparison, matrices, zero-shot, robustness and cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from fakemedia.evaluation.perturbations.perturbation import UNPERTURBED
from fakemedia.reporting.formats import Column, Grid, interval, number, to_latex, to_markdown
from fakemedia.reporting.tables import ALL_TASKS, Tables

METRICS = {
    "aa": Column(short="AA", long="Average accuracy after the last stage, %"),
    "forgetting": Column(short="F", long="Forgetting: best accuracy since learned minus final accuracy, points",
                         higher=False),
    "bwt": Column(short="BWT", long="Backward transfer: final accuracy minus accuracy when learned, points"),
    "fwt": Column(short="FWT", long="Forward transfer: accuracy just before learning minus chance (50 %), points"),
    "c_auc": Column(short="C-AUC", long="Continual AUC: mean over all stages and the tasks learned by then",
                    decimals=3),
    "fwt_auc": Column(short="FWT-AUC", decimals=3,
                      long="Forward-transfer AUC: mean over all stages and the tasks still to come"),
    "learning_accuracy": Column(short="LA", long="Learning accuracy: accuracy just after a task was learned, %"),
}
COSTS = {
    "seconds": Column(short="Training, min", decimals=2, higher=None,
                      long="Training of all stages, without validation and scoring, minutes"),
    "images_per_second": Column(short="Images/s", decimals=0, higher=None,
                                long="Training images over that time"),
    "memory_mib": Column(short="Memory, MiB", decimals=0, higher=None,
                         long="Largest memory of the process, or of the GPU where there is one, MiB"),
    "stored_bytes": Column(short="Stored, MB", decimals=2, higher=None, long="All checkpoints of a run, MB"),
    "state_bytes": Column(short="Carried, MB", decimals=2, higher=None,
                          long="What the method carries beside the weights after the last stage, MB"),
}
SCALES = {"seconds": 1 / 60, "stored_bytes": 1e-6, "state_bytes": 1e-6}
PAPER_METRICS = ("aa", "forgetting", "bwt", "fwt", "c_auc", "fwt_auc")
HEADLINES = ("aa", "forgetting", "c_auc")
UPPER_BOUNDS = ("joint",)
FEW_GROUPS, FEW_SEEDS = 10, 3
"""Below these the intervals may cover less than they say (docs/reference/metrics.md)."""


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A table as it is saved: every number (`frame`, as CSV), LaTeX and Markdown."""

    frame: pd.DataFrame
    latex: str
    markdown: str


def printed(frame: pd.DataFrame, grids: Sequence[Grid], sequence: str) -> Printed:
    """Return `frame` together with the text of its `grids`, labelled tab:<sequence>-<name>."""
    return Printed(frame=frame, latex="\n".join(to_latex(grid, f"{sequence}-{grid.name}") for grid in grids),
                   markdown="\n".join(map(to_markdown, grids)))


def method_note(tables: Tables) -> str:
    """Return the sentence that says how the means and intervals of these tables came about."""
    seeds = f"{len(tables.seeds)} seeds" if len(tables.seeds) > 1 else "one seed"
    drawn = "source groups and seeds" if len(tables.seeds) > 1 else "source groups"
    few = [name for name, count, enough in (("source groups", tables.groups, FEW_GROUPS),
                                            ("seeds", len(tables.seeds), FEW_SEEDS)) if 1 < count < enough]
    short = f" Intervals over so few {' and '.join(few)} may be too short." if few else ""
    return (f"Mean over {seeds}; in brackets the 95 % interval of a bootstrap over {drawn} "
            f"({tables.groups} source groups), the same draws for every method.{short} Accuracies in percent, their "
            "differences in points, AUC as fractions.")


def _where(tables: Tables) -> str:
    return f"Sequence {tables.sequence}, network {tables.network}."


def _pick(frame: pd.DataFrame, keys: Sequence[tuple], columns: Sequence[str], by: list[str],
          column: str) -> dict[str, Any]:
    """Return mean, low and high of `frame` as arrays: a row for each of `keys`, values of `by`; NaN where absent."""
    wide = frame.set_index([*by, column])[["mean", "low", "high"]]
    places = [(*key, name) for key in keys for name in columns]
    values = wide.reindex(pd.MultiIndex.from_tuples(places)).to_numpy(dtype=np.float64)
    mean, low, high = values.T.reshape(3, len(keys), len(columns))
    return {"mean": mean, "low": low, "high": high}


def summary_grid(tables: Tables, metrics: Sequence[str] = PAPER_METRICS) -> Grid:
    """Return the main comparison: a row a method."""
    keys = [(method,) for method in tables.methods]
    return Grid(name="summary", title="Main comparison", where=_where(tables), note=method_note(tables),
                header=("Method",), keys=tuple(keys), columns=tuple(METRICS[name] for name in metrics),
                unranked=UPPER_BOUNDS, **_pick(tables.summary, keys, metrics, ["method"], "metric"))


def matrix_grids(tables: Tables, measure: str = "accuracy") -> tuple[Grid, ...]:
    """Return the accuracy matrix of each method that was scored: a row a stage that was scored, a column a task."""
    table = tables.matrices.loc[(tables.matrices["measure"] == measure) & tables.matrices["mean"].notna()]
    tasks = list(dict.fromkeys(tables.matrices["task"]))
    grids = []
    for method in (method for method in tables.methods if (table["method"] == method).any()):
        mine = table.loc[table["method"] == method]
        keys = [(str(key),) for key in dict.fromkeys(mine["key"])]
        grids.append(Grid(
            name=f"matrix-{method}", title=f"Accuracy (%) of {method} after each stage", where=_where(tables),
            note=method_note(tables), header=("After stage",), keys=tuple(keys),
            columns=tuple(Column(short=task, higher=None) for task in tasks),
            **_pick(mine, keys, tasks, ["key"], "task")))
    return tuple(grids)


def zero_shot_grids(tables: Tables) -> tuple[Grid, Grid]:
    """Return accuracy and AUC on each task just before it was learned: a row a method."""
    first = set(tables.stages[0].tasks)
    tasks = [task for task in dict.fromkeys(tables.zero_shot["task"]) if task not in first]
    keys = [(method,) for method in tables.methods]
    grids = []
    for measure, name, decimals in (("accuracy", "accuracy (%)", 1), ("auc", "AUC", 3)):
        table = tables.zero_shot.loc[tables.zero_shot["measure"] == measure]
        columns = tuple(Column(short="Mean" if task == ALL_TASKS else task, decimals=decimals) for task in tasks)
        grids.append(Grid(
            name=f"zero-shot-{measure}", title=f"Zero-shot {name} on each task, just before it was learned",
            where=_where(tables), note=method_note(tables), header=("Method",), keys=tuple(keys), columns=columns,
            **_pick(table, keys, tasks, ["method"], "task")))
    return grids[0], grids[1]


def robustness_grid(robustness: pd.DataFrame, tables: Tables, measure: str = "accuracy") -> Grid:
    """Return the mean over the strengths of each perturbation (`robustness.robustness_table`): a row a method."""
    table = robustness.loc[(robustness["measure"] == measure) & robustness["strength"].isna()]
    names = list(dict.fromkeys(table["perturbation"]))
    keys = [(method,) for method in tables.methods]
    name, decimals = {"accuracy": ("Accuracy (%)", 1), "auc": ("AUC", 3)}[measure]
    columns = tuple(Column(short="unchanged" if each == UNPERTURBED else each, decimals=decimals) for each in names)
    return Grid(name=f"robustness-{measure}", where=_where(tables), note=method_note(tables), header=("Method",),
                title=f"{name} after the last stage on perturbed test images, mean over tasks and strengths",
                keys=tuple(keys), columns=columns, unranked=UPPER_BOUNDS,
                **_pick(table, keys, names, ["method"], "perturbation"))


def cost_grid(costs: pd.DataFrame, tables: Tables) -> Grid:
    """Return what a run of each method cost (`history.cost_table`): a row a method."""
    table = costs.assign(scale=[SCALES.get(metric, 1.0) for metric in costs["metric"]])
    for column in ("mean", "low", "high"):
        table[column] = table[column] * table["scale"]
    several = len(tables.seeds) > 1
    keys = [(method,) for method in tables.methods]
    grid = Grid(name="costs", title="Cost of a run", where=_where(tables),
                note=(f"Mean over {len(tables.seeds)} seeds, in brackets the lowest and the highest."
                      if several else "One seed.") + " " + "; ".join(
                          f"{column.short}: {column.long[0].lower()}{column.long[1:]}" for column in COSTS.values())
                + ".", header=("Method",), keys=tuple(keys), columns=tuple(COSTS.values()),
                **_pick(table, keys, list(COSTS), ["method"], "metric"))
    return grid if several else replace(grid, low=np.full_like(grid.low, np.nan), high=np.full_like(grid.high, np.nan))


def headline_text(tables: Tables) -> str:
    """Return average accuracy, forgetting and C-AUC of each method as aligned lines for the terminal."""
    grid = summary_grid(tables, HEADLINES)
    rows = [["method", "average accuracy (%)", "forgetting (points)", "C-AUC"]] + [
        [method, *(f"{number(grid.mean[r, c], column.decimals)} "
                   f"{interval(grid.low[r, c], grid.high[r, c], column.decimals)}".strip()
                   for c, column in enumerate(grid.columns))] for r, (method,) in enumerate(grid.keys)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
                     for row in rows)
