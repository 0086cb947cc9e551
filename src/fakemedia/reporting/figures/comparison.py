"""Figures of all methods side by side: averages over the stages, and measures of each task."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fakemedia.core.types import Stage
from fakemedia.reporting.style import ONE_COLUMN, TWO_COLUMNS, looks, new_figure, styled

CURVE_LABELS = {"accuracy": "Average accuracy, tasks seen (%)", "auc": "Average AUC, tasks seen"}
TASK_LABELS = {"forgetting": "Forgetting (points)", "learning_accuracy": "Accuracy just after learning (%)",
               "final_accuracy": "Accuracy after the last stage (%)"}


def _legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    columns = min(len(handles), 4 if figure.get_figwidth() < 5 else 8)
    figure.legend(handles=list(handles), loc="outside upper center", ncols=columns, columnspacing=1.4)


@styled
def curve_figure(curves: pd.DataFrame, stages: Sequence[Stage], measure: str = "accuracy") -> Figure:
    """Draw the average over the tasks seen (`Tables.curves`) against the stages, all methods, with their intervals.

    A method scored after the last stage only is a marker with its error bar, and a line across to compare with.
    """
    table = curves.loc[(curves["measure"] == measure) & curves["mean"].notna()]
    methods = list(dict.fromkeys(curves["method"]))
    figure = new_figure(ONE_COLUMN if len(stages) <= 8 else TWO_COLUMNS, 2.4)
    axes = figure.add_subplot()
    handles = []
    for method, look in looks(methods).items():
        rows = table.loc[table["method"] == method]
        if rows.empty:
            continue
        style = {"color": look.colour, "marker": look.marker, "linestyle": look.dashes, "label": method}
        if len(rows) == 1:
            row = rows.iloc[0]
            axes.axhline(row["mean"], color=look.colour, linestyle=look.dashes, linewidth=0.8)
            if not np.isnan(row["low"]):
                axes.vlines(row["stage"], row["low"], row["high"], color=look.colour, linewidth=0.8)
            axes.plot(rows["stage"], rows["mean"], color=look.colour, marker=look.marker, clip_on=False, zorder=3)
        else:
            axes.fill_between(rows["stage"], rows["low"], rows["high"], color=look.colour, alpha=0.15, linewidth=0)
            axes.plot(rows["stage"], rows["mean"], **style, clip_on=False, zorder=3)
        handles.append(Line2D([], [], **style))
    axes.set_xlim(0.8, len(stages) + 0.2)
    axes.set_xticks(range(1, len(stages) + 1), [stage.name for stage in stages], rotation=30, ha="right",
                    rotation_mode="anchor")
    axes.set_ylabel(CURVE_LABELS[measure])
    axes.set_xlabel("After stage")
    axes.grid(axis="x", visible=False)
    _legend(figure, handles)
    return figure


@styled
def task_figure(tasks: pd.DataFrame, measure: str) -> Figure:
    """Draw `measure` of `Tables.tasks` for each task, the methods side by side as dots with their intervals.

    Tasks for which it is undefined are left out, and so are methods for which it is undefined on a task that others
    show: what `joint` scores at the last stage is no learning accuracy.
    """
    methods = list(dict.fromkeys(tasks["method"]))
    table = tasks.loc[(tasks["measure"] == measure) & tasks["mean"].notna()]
    names = [task for task in dict.fromkeys(tasks["task"]) if (table["task"] == task).any()]
    shown = [method for method in methods if names and (table["method"] == method).sum() == len(names)]
    figure = new_figure(ONE_COLUMN if len(names) * len(shown) <= 32 else TWO_COLUMNS, 2.4)
    axes = figure.add_subplot()
    step = 0.72 / max(len(shown), 1)
    handles = []
    for i, method in enumerate(shown):
        look = looks(methods)[method]
        rows = table.loc[table["method"] == method].set_index("task").reindex(names)
        x = np.arange(len(names)) + (i - (len(shown) - 1) / 2) * step
        axes.vlines(x, rows["low"], rows["high"], color=look.colour, linewidth=0.9)
        axes.plot(x, rows["mean"], color=look.colour, marker=look.marker, linestyle="none")
        handles.append(Line2D([], [], color=look.colour, marker=look.marker, linestyle="none", label=method))
    for edge in np.arange(1, len(names)) - 0.5:
        axes.axvline(edge, color="0.88", linewidth=0.5)
    if measure == "forgetting":
        axes.axhline(0, color="0.4", linewidth=0.6)
    axes.set_xlim(-0.5, max(len(names), 1) - 0.5)
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right", rotation_mode="anchor")
    axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.set_ylabel(TASK_LABELS[measure])
    axes.grid(axis="x", visible=False)
    if handles:
        _legend(figure, handles)
    else:
        axes.text(0.5, 0.5, "undefined for these runs", transform=axes.transAxes, ha="center", va="center")
    return figure
