"""Arrangements of the same tasks side by side, and how well distances predicted what was seen."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fakemedia.reporting.style import TWO_COLUMNS, looks, new_figure, styled

METRIC_LABELS = {"aa": "Average accuracy (%)", "forgetting": "Forgetting (points)"}
TARGET_LABELS = {"zero_shot": "zero-shot transfer (good: \N{MINUS SIGN}1)", "forgetting": "forgetting (good: +1)"}


@styled
def arrangement_figure(arrangements: pd.DataFrame) -> Figure:
    """Draw average accuracy and forgetting of each arrangement (`Comparison.arrangements`), methods side by side."""
    return _dots(arrangements, "arrangement", "metric", METRIC_LABELS)


@styled
def prediction_figure(predictions: pd.DataFrame) -> Figure:
    """Draw the rank correlations of each measure (`Comparison.predictions`) with transfer and forgetting."""
    labels = {target: f"Rank correlation of distance with\n{label}" for target, label in TARGET_LABELS.items()}
    figure = _dots(predictions, "measure", "target", labels)
    for axes in figure.axes:
        axes.axvline(0, color="0.4", linewidth=0.6, zorder=0)
        axes.set_xlim(-1, 1)
    return figure


def _dots(table: pd.DataFrame, row: str, panel: str, labels: dict[str, str]) -> Figure:
    """Draw a panel for each of `labels`, a row for each value of `row`, a dot with its interval for each method."""
    names, methods = list(dict.fromkeys(table[row])), list(dict.fromkeys(table["method"]))
    figure = new_figure(TWO_COLUMNS, 0.9 + 0.13 * len(names) * (len(methods) + 1))
    for axes, (key, label) in zip(figure.subplots(1, len(labels), sharey=True), labels.items(), strict=True):
        for i, method in enumerate(methods):
            mine = table.loc[(table[panel] == key) & (table["method"] == method)].set_index(row).reindex(names)
            _column(axes, mine, (i - (len(methods) - 1) / 2) / (len(methods) + 1), looks(methods)[method])
        axes.set_yticks(range(len(names)), names)
        axes.set_ylim(len(names) - 0.5, -0.5)
        axes.set_xlabel(label)
        axes.grid(axis="y", visible=False)
    handles = [Line2D([], [], color=look.colour, marker=look.marker, linestyle="none", label=method)
               for method, look in looks(methods).items()]
    figure.legend(handles=handles, loc="outside upper center", ncols=len(methods))
    return figure


def _column(axes: Axes, rows: pd.DataFrame, offset: float, look) -> None:
    y = np.arange(len(rows)) + offset
    axes.hlines(y, rows["low"], rows["high"], color=look.colour, linewidth=0.9)
    axes.plot(rows["mean"], y, color=look.colour, marker=look.marker, linestyle="none")
