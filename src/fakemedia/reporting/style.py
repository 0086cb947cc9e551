"""The style of figures: sizes for one and two columns, colours safe for colour-blind readers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

ONE_COLUMN, TWO_COLUMNS = 3.5, 7.2
"""Widths in inches."""
INCH_POINTS = 72
"""Points of an inch."""
LEGEND_MARK, LETTER = 32, 3.6
"""Widths of the mark of a legend's entry with its spaces, and of a letter, points."""

RC: Any = {
    "font.family": "DejaVu Sans", "font.size": 7, "axes.titlesize": 8, "axes.labelsize": 7,
    "xtick.labelsize": 6.5, "ytick.labelsize": 6.5, "legend.fontsize": 6.5,
    "axes.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "xtick.major.width": 0.6, "ytick.major.width": 0.6, "xtick.major.size": 2.5, "ytick.major.size": 2.5,
    "axes.grid": True, "axes.axisbelow": True, "grid.color": "0.88", "grid.linewidth": 0.5,
    "lines.linewidth": 1.2, "lines.markersize": 4, "legend.frameon": False, "legend.handlelength": 2.6,
    "figure.constrained_layout.use": True, "figure.dpi": 100, "savefig.dpi": 300,
    "pdf.fonttype": 42, "ps.fonttype": 42, "svg.fonttype": "path", "svg.hashsalt": "fakemedia",
}

# Okabe and Ito (2008), Color Universal Design; the yellow, too pale on white, comes last.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000", "#56B4E9", "#E69F00", "#F0E442")
MARKERS = ("o", "s", "^", "D", "X", "v", "P", "*", "<", ">")
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)),
                           (0, (8, 2)), (0, (2, 2)))


@dataclass(frozen=True)
class LineStyle:
    """The colour, marker and dashes of one method, the same in every figure."""

    colour: str
    marker: str
    dashes: Any


def line_styles(methods: Sequence[str]) -> dict[str, LineStyle]:
    """Return the style of each method, by its position in the list; distinguishable without colour up to 70 methods."""
    return {method: LineStyle(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
            for i, method in enumerate(methods)}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Make `draw` use this style, independently of the current style."""
    @wraps(draw)
    def wrapper(*args: Any, **kwargs: Any) -> Figure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(RC)
            return draw(*args, **kwargs)

    return wrapper


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size, inches, outside of pyplot's state."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def add_legend(figure: Figure, handles: Sequence[Line2D]) -> None:
    """Put one legend above all panels of `figure`, as many entries in a row as fit; nothing if there are no handles."""
    if handles:
        longest = max(len(str(handle.get_label())) for handle in handles)
        columns = max(1, min(len(handles), int(figure.get_figwidth() * INCH_POINTS / (LEGEND_MARK + LETTER * longest))))
        figure.legend(handles=list(handles), loc="outside upper center", ncols=columns, columnspacing=1.4)


def panels(count: int, *, max_columns: int = 4, height: float = 1.6, extra: float = 0.5,
           **options: Any) -> tuple[Figure, list[Axes]]:
    """Return a figure with `count` panels of that height, inches, and `extra` inches for the legend.

    At most `max_columns` panels are in a row. Up to two panels take one column of a page, more take both.
    """
    columns = min(count, 2 if count <= 2 else max_columns)
    rows = -(-count // columns)
    figure = new_figure(ONE_COLUMN if count <= 2 else TWO_COLUMNS, rows * height + extra)
    panel_axes = figure.subplots(rows, columns, squeeze=False, **options).ravel().tolist()
    for axes in panel_axes[count:]:
        axes.remove()
    return figure, panel_axes[:count]
