"""Figures of how similar tasks are: distances with their tree, agreement of measures, traces in the spectrum."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.cluster.hierarchy import dendrogram

from fakemedia.reporting.formats import number
from fakemedia.reporting.rendering import RenderedFigure, render_figure
from fakemedia.reporting.style import ONE_COLUMN, TWO_COLUMNS, line_styles, new_figure, styled
from fakemedia.similarity.agreement import rank_agreement
from fakemedia.similarity.fingerprint import Trace
from fakemedia.similarity.grouping import hierarchy, symmetric

WIDE_FROM = 8
"""Tasks from which on a figure takes two columns."""
DISTANCES = ("Distance between tasks by {}, from row to column: dark is alike. The branches of the tree meet at the "
             "mean distance of what they join.")
AGREEMENT = "Agreement of the measures: rank correlation of their distances over pairs of tasks."
SPECTRA = ("What each task's generator changes in the spectrum of the noise residual, by frequency (left) and by "
           "direction (right).")


def draw_similarity(distances: Mapping[str, pd.DataFrame], traces: Mapping[str, Trace]) -> list[RenderedFigure]:
    """Return the figures of square tables of distances by measure and of the traces by task.

    The agreement of the measures is drawn where there are two measures and three tasks.
    """
    figures = [render_figure(measure, distance_figure(table, hierarchy(symmetric(table)), measure),
                             DISTANCES.format(measure)) for measure, table in distances.items()]
    if len(distances) > 1 and len(traces) > 2:
        figures.append(render_figure("agreement", agreement_figure(rank_agreement(distances)), AGREEMENT))
    return [*figures, render_figure("spectra", spectra_figure(traces), SPECTRA)]


@styled
def distance_figure(distances: pd.DataFrame, merges: NDArray[np.float64], measure: str) -> Figure:
    """Draw the square table of distances between tasks, row = from, column = to, dark = alike, with its tree.

    `merges` is what `similarity.grouping.hierarchy` gives; rows and columns follow the leaves of the tree, whose
    branches meet at the mean distance of what they join.
    """
    tree = dendrogram(merges, no_plot=True)
    table = distances.iloc[tree["leaves"], tree["leaves"]]
    tasks, values = list(table.columns), table.to_numpy(dtype=float)
    width = ONE_COLUMN if len(tasks) < WIDE_FROM else TWO_COLUMNS * 0.75
    figure = new_figure(width, width * 0.78)
    branches, axes = figure.subplots(1, 2, width_ratios=(0.22, 1))
    for across, along in zip(tree["dcoord"], tree["icoord"], strict=True):
        branches.plot(across, np.asarray(along) / 10 - 0.5, color="0.3", linewidth=0.9)
    branches.set_xlim(max(merges[:, 2].max(), 1e-9) * 1.04, 0)
    branches.set_ylim(len(tasks) - 0.5, -0.5)
    branches.set_yticks([])
    branches.set_xlabel("Mean\ndistance")
    branches.grid(visible=False)
    branches.spines["left"].set_visible(False)
    top = values.max()
    _heat(axes, values, tasks, tasks, low=0, high=top if top > 0 else 1, decimals=2 if top < 100 else 0)
    axes.set_xlabel(f"Distance by {measure}:\nfrom row to column")
    return figure


@styled
def agreement_figure(agreement: pd.DataFrame) -> Figure:
    """Draw Spearman's rho between the distances of each two measures, a square table."""
    names = list(agreement.columns)
    size = 0.42 * len(names) + 1.2
    figure = new_figure(max(ONE_COLUMN, size), size * 0.95)
    axes = figure.add_subplot()
    _heat(axes, agreement.to_numpy(dtype=float), names, names, low=-1, high=1, decimals=2)
    axes.set_xlabel("Rank correlation of distances\nover pairs of tasks")
    return figure


def _heat(axes: Axes, values: NDArray[np.float64], rows: list[str], columns: list[str], *, low: float, high: float,
          decimals: int) -> None:
    axes.imshow(values, cmap="cividis", vmin=low, vmax=high, aspect="auto")
    for i, j in np.ndindex(values.shape):
        axes.text(j, i, number(float(values[i, j]), decimals), ha="center", va="center", fontsize=6.5,
                  color="black" if values[i, j] > (low + high) / 2 else "white")
    axes.set_xticks(range(len(columns)), columns, rotation=35, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    axes.spines[:].set_visible(False)


@styled
def spectra_figure(traces: Mapping[str, Trace]) -> Figure:
    """Draw what each task's generator changes in the level of the residual's spectrum: by frequency, by direction."""
    figure = new_figure(TWO_COLUMNS, 2.6)
    radial, angular = figure.subplots(1, 2)
    for task, line_style in line_styles(list(traces)).items():
        style = {"color": line_style.colour, "marker": line_style.marker, "linestyle": line_style.dashes,
                 "markersize": 3}
        rings, sectors = traces[task].radial[0], traces[task].angular[0]
        radial.plot((np.arange(len(rings)) + 0.5) / len(rings) * np.sqrt(0.5), rings, label=task, **style)
        angular.plot((np.arange(len(sectors)) + 0.5) * 180 / len(sectors), sectors, **style)
    radial.set_xlabel("Frequency (cycles a pixel)")
    radial.set_ylabel("Fake minus real (standard deviations of real)")
    angular.set_xlabel("Direction of the frequency (degrees)")
    angular.set_xticks(range(0, 181, 45))
    for axes in (radial, angular):
        axes.axhline(0, color="0.4", linewidth=0.6, zorder=0)
    figure.legend(loc="outside upper center", ncols=min(len(traces), 6))
    return figure
