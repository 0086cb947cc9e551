"""Finished runs side by side: one table, one figure, the settings that differ, as one HTML page and one CSV file."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fakemedia.reporting.figures.arrangements import METRIC_LABELS, interval_dots
from fakemedia.reporting.formats import Grid, to_table
from fakemedia.reporting.grids import METRICS
from fakemedia.reporting.kept_runs import KeptRun, flat_settings
from fakemedia.reporting.pages import Cell, Table, render_page
from fakemedia.reporting.rendering import render_figure

SHOWN_METRICS = ("aa", "pooled", "gap_closed", "forgetting", "learning_accuracy", "c_auc")
KEYS = ["run", "network", "method"]
CAPTION = ("Average accuracy and forgetting of every run. Bars: 95 % intervals over test photographs and, where a run "
           "has several, seeds.")
NOTE = ("Means over the seeds of a run, with 95 % intervals. Runs may differ in tasks, test pictures and settings: "
        "intervals that do not overlap say that numbers differ, not why.")
MAX_SETTINGS = 60


def runs_table(runs: Sequence[KeptRun]) -> pd.DataFrame:
    """Return KEYS, seeds, metric, mean, low and high of every label of every run; one row for each of SHOWN_METRICS."""
    tables = []
    for run in runs:
        metrics = run.metrics()
        facts = metrics.groupby("method", sort=False).agg(network=("network", "first"), seeds=("seed", "nunique"))
        summary = run.summary()
        tables.append(summary.loc[summary["metric"].isin(SHOWN_METRICS), ["method", "metric", "mean", "low", "high"]]
                      .merge(facts, on="method").assign(run=run.id))
    return pd.concat(tables, ignore_index=True).loc[:, [*KEYS, "seeds", "metric", "mean", "low", "high"]]


def differing_settings(runs: Sequence[KeptRun]) -> list[tuple[str, list[str]]]:
    """Return the settings that are not the same in all runs: dotted key, and its value in each run."""
    flat = [flat_settings(run.facts["configuration"]) for run in runs]
    keys = sorted({key for settings in flat for key in settings})
    values_by_key = [(key, [settings.get(key, "") for settings in flat]) for key in keys]
    return [(key, values) for key, values in values_by_key if len(set(values)) > 1]


def runs_page(runs: Sequence[KeptRun], damaged: Sequence[str]) -> str:
    """Return the page that compares `runs`; `damaged` names kept runs that could not be read."""
    table = runs_table(runs)
    figure = render_figure("runs", interval_dots(table, "run", "metric", METRIC_LABELS), CAPTION)
    settings = differing_settings(runs)
    return render_page(
        "runs.html", title="One finished run" if len(runs) == 1 else f"{len(runs)} runs compared",
        results=to_table(_grid(table)), note=NOTE, pictures=[figure],
        runs=_overview(runs), damaged=damaged, left_out=max(0, len(settings) - MAX_SETTINGS),
        settings=_plain_table(["Setting", *(run.id for run in runs)],
                              [[key, *values] for key, values in settings[:MAX_SETTINGS]]) if settings else None)


def _overview(runs: Sequence[KeptRun]) -> Table:
    rows = []
    for run in runs:
        seeds = sorted(map(int, run.metrics()["seed"].unique()))
        rows.append([run.id, run.facts["finished"], run.sequence, ", ".join(map(str, seeds)),
                     run.facts["commit"], run.facts["machine"]])
    return _plain_table(["Run", "Finished", "Sequence", "Seeds", "Commit", "Machine"], rows)


def _plain_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    return Table(header=header, rows=[[Cell(text=text) for text in row] for row in rows], text_columns=len(header))


def _grid(table: pd.DataFrame) -> Grid:
    keys = list(dict.fromkeys(table[KEYS].itertuples(index=False, name=None)))
    columns = table.set_index([*KEYS, "metric"])
    mean, low, high = (np.array([[columns[part].get((*key, metric), np.nan) for metric in SHOWN_METRICS]
                                 for key in keys])
                       for part in ("mean", "low", "high"))
    return Grid(name="runs", title="Finished runs", where="", note=NOTE, header=("Run", "Network", "Label"),
                keys=tuple(keys), columns=tuple(METRICS[metric] for metric in SHOWN_METRICS), mean=mean, low=low,
                high=high)
