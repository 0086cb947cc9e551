"""Every figure of the report, drawn from its tables by a pure function."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from fakemedia.core.types import Stage
from fakemedia.reporting.style import ONE_COLUMN, TWO_COLUMNS, looks, new_figure, styled
from fakemedia.reporting.tables import Tables

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


@styled
def matrix_figure(matrices: pd.DataFrame, method: str) -> Figure:
    """Draw the accuracy matrix of `method` (`Tables.matrices`): a row a stage, a column a task, percent.

    The stepped line parts the tasks learned so far (below, left) from those still to come; stages without scores are
    left out.
    """
    table = matrices.loc[(matrices["method"] == method) & (matrices["measure"] == "accuracy")]
    tasks = list(dict.fromkeys(table["task"]))
    learned = table.drop_duplicates("task")["learned"].to_numpy()
    wide = table.pivot(index="stage", columns="task", values="mean")[tasks].dropna(how="all")
    keys = table.drop_duplicates("stage").set_index("stage")["key"]
    values = wide.to_numpy()
    n_rows, n_columns = values.shape
    width = ONE_COLUMN if n_columns <= 8 else TWO_COLUMNS
    cell = (width - 1.45) / n_columns
    figure = new_figure(width, min(max(cell * 0.8, 0.2), 0.34) * n_rows + 1.05)
    axes = figure.add_subplot()
    image = axes.imshow(values, cmap="cividis", vmin=50, vmax=100, aspect="auto")
    for i, j in np.ndindex(values.shape):
        if not np.isnan(values[i, j]):
            axes.text(j, i, f"{values[i, j]:.0f}", ha="center", va="center", fontsize=6.5,
                      color="black" if values[i, j] > 77 else "white")
    _outline(axes, wide.index.to_numpy(), learned)
    axes.set_xticks(range(n_columns), tasks, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n_rows), [str(keys[stage]) for stage in wide.index])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("After stage")
    axes.set_title(method)
    under = bool(np.nanmin(values, initial=100) < 50)
    bar = figure.colorbar(image, ax=axes, extend="min" if under else "neither", fraction=0.06, pad=0.02)
    bar.set_label("Accuracy (%)")
    bar.set_ticks([50, 75, 100] if n_rows < 4 else [50, 60, 70, 80, 90, 100])
    bar.outline.set_linewidth(0.4)  # type: ignore[operator]
    return figure


@styled
def distance_figure(distances: pd.DataFrame, measure: str) -> Figure:
    """Draw the square table of distances between tasks, row = from, column = to; dark = alike."""
    tasks, values = list(distances.columns), distances.to_numpy(dtype=float)
    width = ONE_COLUMN if len(tasks) <= 8 else TWO_COLUMNS
    figure = new_figure(width, width * 0.8)
    axes = figure.add_subplot()
    top = values.max()
    image = axes.imshow(values, cmap="cividis", vmin=0, vmax=top if top > 0 else 1)
    for i, j in np.ndindex(values.shape):
        axes.text(j, i, f"{values[i, j]:.2f}", ha="center", va="center", fontsize=6.5,
                  color="black" if values[i, j] > top / 2 else "white")
    axes.set_xticks(range(len(tasks)), tasks, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(tasks)), tasks)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("From")
    axes.set_xlabel("To")
    axes.set_title(measure)
    bar = figure.colorbar(image, ax=axes, fraction=0.046, pad=0.03)
    bar.set_label("Distance")
    bar.outline.set_linewidth(0.4)  # type: ignore[operator]
    return figure


def _outline(axes: Axes, stages: np.ndarray, learned: np.ndarray) -> None:
    """Draw the line between the tasks learned after each of `stages` and those not yet learned."""
    x, y = [], []
    for row, stage in enumerate(stages):
        seen = int((learned <= stage).sum())
        x.append(seen - 0.5)
        y.append(row - 0.5)
        if seen == len(learned):
            break
        x.append(seen - 0.5)
        y.append(row + 0.5)
    axes.plot(x, y, color="white", linewidth=2.6, solid_joinstyle="miter")
    axes.plot(x, y, color="#D55E00", linewidth=1.2, solid_joinstyle="miter")


def draw_figures(tables: Tables) -> dict[str, Figure]:
    """Return all figures by name: the averages over the stages, the measures per task, and a matrix per method."""
    scored = tables.matrices.dropna(subset="mean")["method"].unique()
    return {
        "average_accuracy": curve_figure(tables.curves, tables.stages, "accuracy"),
        "average_auc": curve_figure(tables.curves, tables.stages, "auc"),
        "forgetting": task_figure(tables.tasks, "forgetting"),
        "learning_accuracy": task_figure(tables.tasks, "learning_accuracy"),
        "final_accuracy": task_figure(tables.tasks, "final_accuracy"),
        **{f"matrix_{method}": matrix_figure(tables.matrices, method) for method in tables.methods
           if method in scored},
    }
