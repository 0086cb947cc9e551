"""Figures of all methods side by side: averages over the stages, and measures of each task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fakemedia.core.types import Stage
from fakemedia.reporting.style import ONE_COLUMN, TWO_COLUMNS, LineStyle, add_legend, line_styles, new_figure, styled

CURVE_LABELS = {"accuracy": "Average accuracy,\ntasks seen (%)", "auc": "Average AUC,\ntasks seen"}
TASK_LABELS = {"forgetting": "Forgetting (points)", "learning_accuracy": "Accuracy just after learning (%)",
               "final_accuracy": "Accuracy after the last stage (%)",
               "real_accuracy": "Real images called real (%)", "fake_accuracy": "Fake images called fake (%)"}


@styled
def curve_figure(curves: pd.DataFrame, stages: Sequence[Stage], measure: str = "accuracy") -> Figure:
    """Draw the average over the tasks seen (`Tables.curves`) against the stages, all methods side by side.

    Bars are their intervals. A method scored after the last stage only has a line across to compare with.
    """
    table = curves.loc[(curves["measure"] == measure) & curves["mean"].notna()]
    methods = list(dict.fromkeys(curves["method"]))
    figure = new_figure(ONE_COLUMN if len(stages) <= 8 else TWO_COLUMNS, 2.4)
    axes = figure.add_subplot()
    handles = []
    for position, (method, line_style) in enumerate(line_styles(methods).items()):
        rows = table.loc[table["method"] == method]
        if rows.empty:
            continue
        x = rows["stage"] + (position - (len(methods) - 1) / 2) * min(0.08, 0.4 / len(methods))
        options = {"color": line_style.colour, "marker": line_style.marker, "linestyle": line_style.dashes,
                   "label": method}
        axes.vlines(x, rows["low"], rows["high"], color=line_style.colour, linewidth=0.9)
        axes.plot(x, rows["mean"], **options, clip_on=False, zorder=3)
        if len(rows) == 1:
            axes.axhline(rows["mean"].iloc[0], color=line_style.colour, linestyle=line_style.dashes, linewidth=0.8)
        handles.append(Line2D([], [], **options))
    axes.set_xlim(0.7, len(stages) + 0.3)
    axes.set_xticks(range(1, len(stages) + 1), [stage.name for stage in stages], rotation=30, ha="right",
                    rotation_mode="anchor")
    axes.set_ylabel(CURVE_LABELS[measure])
    axes.set_xlabel("After stage")
    axes.grid(axis="x", visible=False)
    add_legend(figure, handles)
    return figure


@styled
def task_figure(tasks: pd.DataFrame, measure: str) -> Figure:
    """Draw `measure` of `Tables.tasks` for each task, the methods side by side as dots with their intervals.

    Tasks for which it is undefined are left out, and so are methods for which it is undefined on a task that others
    show: what `joint` scores at the last stage is no learning accuracy.
    """
    methods = list(dict.fromkeys(tasks["method"]))
    table = tasks.loc[(tasks["measure"] == measure) & tasks["mean"].notna()]
    names, values = _plotted(table, "task", methods)
    figure = new_figure(ONE_COLUMN if len(names) * len(values) <= 32 else TWO_COLUMNS, 2.4)
    _dots(figure.add_subplot(), table.set_index("task"), names, values, line_styles(methods), measure)
    add_legend(figure, _markers(values, line_styles(methods)))
    return figure


@styled
def group_figure(by_group: pd.DataFrame) -> Figure:
    """Draw final accuracy and forgetting of each group of tasks (`Tables.by_group`), the methods side by side."""
    methods = list(dict.fromkeys(by_group["method"]))
    figure = new_figure(TWO_COLUMNS, 2.6)
    legend_methods: list[str] = []
    for axes, measure in zip(figure.subplots(1, 2), ("final_accuracy", "forgetting"), strict=True):
        table = by_group.loc[(by_group["measure"] == measure) & by_group["mean"].notna()]
        names, values = _plotted(table, "group", methods)
        _dots(axes, table.set_index("group"), names, values, line_styles(methods), measure)
        legend_methods += [method for method in values if method not in legend_methods]
    add_legend(figure, _markers([method for method in methods if method in legend_methods], line_styles(methods)))
    return figure


@styled
def real_fake_figure(tasks: pd.DataFrame) -> Figure:
    """Draw the accuracy on real (left) and on fake images (right) of each task after the last stage."""
    methods = list(dict.fromkeys(tasks["method"]))
    figure = new_figure(TWO_COLUMNS, 2.6)
    legend_methods: list[str] = []
    panels = figure.subplots(1, 2, sharey=True)
    for axes, kind in zip(panels, ("real", "fake"), strict=True):
        table = tasks.loc[(tasks["measure"] == f"{kind}_accuracy") & tasks["mean"].notna()]
        names = list(dict.fromkeys(table["task"]))
        plotted = [method for method in methods if method in set(table["method"])]
        _dots(axes, table.set_index("task"), names, plotted, line_styles(methods), f"{kind}_accuracy")
        axes.axhline(50, color="0.6", linewidth=0.6, linestyle=(0, (2, 2)))
        legend_methods += [method for method in plotted if method not in legend_methods]
    add_legend(figure, _markers([method for method in methods if method in legend_methods], line_styles(methods)))
    return figure


def _plotted(table: pd.DataFrame, column: str, methods: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the names in `column`, and the methods that have a value for every one of them."""
    names = list(dict.fromkeys(table[column]))
    rows = table["method"].value_counts()
    return names, [method for method in methods if names and rows.get(method, 0) == len(names)]


def _dots(axes: Axes, table: pd.DataFrame, names: Sequence[str], methods: Sequence[str], styles: dict[str, LineStyle],
          measure: str) -> None:
    """Draw means and intervals of `table`, whose index holds `names`, at 0, 1, ...; the methods side by side."""
    step = 0.72 / max(len(methods), 1)
    for i, method in enumerate(methods):
        rows = table.loc[table["method"] == method].reindex(names)
        x = np.arange(len(names)) + (i - (len(methods) - 1) / 2) * step
        axes.vlines(x, rows["low"], rows["high"], color=styles[method].colour, linewidth=0.9)
        axes.plot(x, rows["mean"], color=styles[method].colour, marker=styles[method].marker, linestyle="none")
    if measure == "forgetting":
        axes.axhline(0, color="0.4", linewidth=0.6)
    _task_axes(axes, names)
    axes.set_ylabel(TASK_LABELS[measure])
    if not methods:
        axes.text(0.5, 0.5, "undefined for these runs", transform=axes.transAxes, ha="center", va="center")


def _task_axes(axes: Axes, names: Sequence[str]) -> None:
    for edge in np.arange(1, len(names)) - 0.5:
        axes.axvline(edge, color="0.88", linewidth=0.5)
    axes.set_xlim(-0.5, max(len(names), 1) - 0.5)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.grid(axis="x", visible=False)


def _markers(methods: Sequence[str], styles: dict[str, LineStyle]) -> list[Line2D]:
    return [Line2D([], [], color=styles[method].colour, marker=styles[method].marker, linestyle="none", label=method)
            for method in methods]
