"""Heat maps of accuracy and AUC matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fakemedia.reporting.style import COLOURS, ONE_COLUMN, TWO_COLUMNS, new_figure, styled

MEASURES = {"accuracy": ("Accuracy (%)", 100.0, 0), "auc": ("AUC", 1.0, 2)}
"""Label, greatest value and decimals; chance is half of the greatest value."""
MAX_NARROW_TASKS = 8
"""Tasks from which on a figure takes two columns."""


@styled
def matrix_figure(matrices: pd.DataFrame, method: str, measure: str = "accuracy") -> Figure:
    """Draw the matrix of `measure` (`Tables.matrices`) of `method`: one row per stage, one column per task.

    White is chance, orange above it and purple below. The stepped line parts the tasks learned so far (below, left)
    from those still to come; stages without scores are left out.
    """
    label, top, decimals = MEASURES[measure]
    table = matrices.loc[(matrices["method"] == method) & (matrices["measure"] == measure)]
    tasks = list(dict.fromkeys(table["task"]))
    learned = table.drop_duplicates("task")["learned"].to_numpy()
    matrix = table.pivot(index="stage", columns="task", values="mean")[tasks].dropna(how="all")
    keys = table.drop_duplicates("stage").set_index("stage")["key"]
    values = matrix.to_numpy()
    n_rows, n_columns = values.shape
    width = ONE_COLUMN if n_columns <= MAX_NARROW_TASKS else TWO_COLUMNS
    cell = (width - 1.45) / n_columns
    figure = new_figure(width, min(max(cell * 0.8, 0.2), 0.34) * max(n_rows, 1) + 1.15)
    axes = figure.add_subplot()
    image = axes.imshow(values, cmap="PuOr_r", vmin=0, vmax=top, aspect="auto")
    for i, j in np.ndindex(values.shape):
        if not np.isnan(values[i, j]):
            axes.text(j, i, f"{values[i, j]:.{decimals}f}", ha="center", va="center", fontsize=6.5,
                      color="white" if abs(values[i, j] / top - 0.5) > 0.38 else "black")
    _outline(axes, matrix.index.to_numpy(), learned)
    axes.set_xticks(range(n_columns), tasks, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(n_rows), [str(keys[stage]) for stage in matrix.index])
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)
    axes.set_ylabel("After stage")
    axes.set_title(method)
    bar = figure.colorbar(image, ax=axes, fraction=0.06, pad=0.02)
    bar.set_label(label)
    bar.set_ticks(list(np.linspace(0, top, 3 if n_rows < 4 else 5)))
    bar.outline.set_linewidth(0.4)  # type: ignore[operator]
    return figure


def _outline(axes: Axes, stages: np.ndarray, learned: np.ndarray) -> None:
    """Draw the line between the tasks learned after each of `stages` and those not yet learned."""
    x, y = [], []
    for row, stage in enumerate(stages):
        n_seen = int((learned <= stage).sum())
        x.append(n_seen - 0.5)
        y.append(row - 0.5)
        if n_seen == len(learned):
            break
        x.append(n_seen - 0.5)
        y.append(row + 0.5)
    axes.plot(x, y, color="white", linewidth=2.6, solid_joinstyle="miter")
    axes.plot(x, y, color=COLOURS[0], linewidth=1.2, solid_joinstyle="miter")
