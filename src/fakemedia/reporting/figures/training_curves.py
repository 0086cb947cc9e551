"""How training went: loss and validation accuracy over the stages."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

from fakemedia.core.types import Stage
from fakemedia.reporting.style import COLOURS, DASHES, ONE_COLUMN, TWO_COLUMNS, add_legend, new_figure, styled

TOTAL = "total"
LOSS_RANGE = 1e4
"""Ratio of the largest to the smallest loss on the axis; smaller values, and zero, are not visible."""


@styled
def training_figure(histories: pd.DataFrame, stages: Sequence[Stage], methods: Sequence[str]) -> Figure:
    """Draw the loss and its terms (left) and the validation accuracy (right) over the epochs, one row per method.

    `histories` are those of `history.cost_table`; a thin line a seed. Each stage takes one unit of the horizontal
    axis, however many epochs it has. Without any validation there is the loss alone.
    """
    epochs = histories.loc[histories["epoch"].notna()] if "epoch" in histories else histories.iloc[:0]
    plotted = [method for method in methods if (epochs["method"] == method).any()]
    has_validation = "accuracy" in epochs and bool(epochs["accuracy"].notna().any())
    width = TWO_COLUMNS if has_validation or len(stages) > 8 else ONE_COLUMN
    figure = new_figure(width, 1.25 * max(len(plotted), 1) + 0.75)
    grid = figure.subplots(max(len(plotted), 1), 2 if has_validation else 1, squeeze=False, sharex=True)
    terms = [column.removeprefix("loss.") for column in epochs if str(column).startswith("loss.")]
    terms = [TOTAL, *(term for term in terms if term != TOTAL)]
    styles = {term: (COLOURS[position % len(COLOURS)], DASHES[position % len(DASHES)])
              for position, term in enumerate(terms)}
    for (loss, *accuracy), method in zip(grid, plotted, strict=False):
        for (_, stage), rows in epochs.loc[epochs["method"] == method].groupby(["seed", "stage"]):
            x = stage - 1 + rows["epoch"] / rows["epoch"].max()
            for term in reversed(terms):
                if f"loss.{term}" in rows and rows[f"loss.{term}"].notna().any():
                    colour, dashes = styles[term]
                    loss.plot(x, rows[f"loss.{term}"], color=colour, linestyle=dashes, linewidth=0.9, marker=".",
                              markersize=2)
            for axes in accuracy:
                validated = rows["accuracy"].notna()
                axes.plot(x[validated], rows.loc[validated, "accuracy"], color="black", linewidth=0.9, marker=".",
                          markersize=2)
        loss.set_yscale("log")
        bottom, top = loss.get_ylim()
        bottom = max(bottom, top / LOSS_RANGE)
        loss.set_ylim(bottom, top)
        loss.yaxis.set_major_locator(LogLocator(subs=(1, 3) if top / bottom < 100 else (1,)))
        loss.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        loss.yaxis.set_minor_formatter(NullFormatter())
        loss.set_ylabel(f"{method}\nloss")
        for axes in accuracy:
            axes.set_ylabel("validation\naccuracy (%)")
        for axes in (loss, *accuracy):
            _stage_axes(axes, stages)
    figure.supxlabel("Epochs, by stage", fontsize=7)
    if not plotted:
        grid[0, 0].text(0.5, 0.5, "no histories", transform=grid[0, 0].transAxes, ha="center", va="center")
    add_legend(figure, [Line2D([], [], color=colour, linestyle=dashes, label=term.replace("_", " "))
                        for term, (colour, dashes) in styles.items()
                        if f"loss.{term}" in epochs and epochs[f"loss.{term}"].notna().any()])
    return figure


def _stage_axes(axes: Axes, stages: Sequence[Stage]) -> None:
    for edge in range(1, len(stages)):
        axes.axvline(edge, color="0.75", linewidth=0.5)
    axes.set_xlim(0, len(stages))
    axes.set_xticks([stage.index - 0.5 for stage in stages], [stage.name for stage in stages], rotation=30, ha="right",
                    rotation_mode="anchor")
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x", visible=False)
