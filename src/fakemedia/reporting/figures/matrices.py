"""Heat maps of accuracy matrices."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fakemedia.reporting.style import ONE_COLUMN, TWO_COLUMNS, new_figure, styled


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
