"""Arrangements of the same tasks side by side, and how well distances predicted what was seen."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fakemedia.reporting.rendering import RenderedFigure, render_figure
from fakemedia.reporting.style import TWO_COLUMNS, line_styles, new_figure, styled

if TYPE_CHECKING:
    from fakemedia.reporting.comparison import Comparison

METRIC_LABELS = {"aa": "Average accuracy (%)", "forgetting": "Forgetting (points)"}
CAPTIONS = {
    "arrangements": "Average accuracy and forgetting of each arrangement. Bars: 95 % intervals, wider than those of "
                    "the differences, since all arrangements share seeds and test images.",
    "predictions": "Rank correlation between the distance of tasks and what was seen of them in training: accuracy on "
                   "a task not yet learned, and points that an earlier task lost at one stage. Bars: 95 % intervals.",
}
TARGET_LABELS = {"zero_shot": "zero-shot transfer (good: \N{MINUS SIGN}1)", "forgetting": "forgetting (good: +1)"}


def draw_comparison(comparison: Comparison) -> list[RenderedFigure]:
    """Return the figure of the arrangements and, where distances were measured, that of their predictions."""
    figures = [render_figure("arrangements", arrangement_figure(comparison.arrangements), CAPTIONS["arrangements"])]
    if len(comparison.predictions):
        figures.append(render_figure("predictions", prediction_figure(comparison.predictions), CAPTIONS["predictions"]))
    return figures


@styled
def arrangement_figure(arrangements: pd.DataFrame) -> Figure:
    """Draw average accuracy and forgetting of each arrangement (`Comparison.arrangements`), methods side by side."""
    return interval_dots(arrangements, "arrangement", "metric", METRIC_LABELS)


@styled
def prediction_figure(predictions: pd.DataFrame) -> Figure:
    """Draw the rank correlations of each measure (`Comparison.predictions`) with transfer and forgetting."""
    labels = {target: f"Rank correlation of distance with\n{label}" for target, label in TARGET_LABELS.items()}
    figure = interval_dots(predictions, "measure", "target", labels)
    for axes in figure.axes:
        axes.axvline(0, color="0.4", linewidth=0.6, zorder=0)
        axes.set_xlim(-1, 1)
    return figure


@styled
def interval_dots(table: pd.DataFrame, row: str, panel: str, labels: dict[str, str]) -> Figure:
    """Draw a panel for each of `labels`, one row for each value of `row`, a dot with its interval for each method."""
    names, methods = list(dict.fromkeys(table[row])), list(dict.fromkeys(table["method"]))
    figure = new_figure(TWO_COLUMNS, 0.9 + 0.13 * len(names) * (len(methods) + 1))
    for axes, (key, label) in zip(figure.subplots(1, len(labels), sharey=True), labels.items(), strict=True):
        for i, method in enumerate(methods):
            rows = table.loc[(table[panel] == key) & (table["method"] == method)].set_index(row).reindex(names)
            _column(axes, rows, (i - (len(methods) - 1) / 2) / (len(methods) + 1), line_styles(methods)[method])
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.grid(axis="y", visible=False)
    handles = [Line2D([], [], color=style.colour, marker=style.marker, linestyle="none", label=method)
               for method, style in line_styles(methods).items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(methods))
    return figure


def _column(axes: Axes, rows: pd.DataFrame, offset: float, style) -> None:
    y = np.arange(len(rows)) + offset
    axes.hlines(y, rows["low"], rows["high"], color=style.colour, linewidth=0.9)
    axes.plot(rows["mean"], y, color=style.colour, marker=style.marker, linestyle="none")
