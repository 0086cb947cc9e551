"""How figures look and how they are saved: sizes for one and two columns, colours that everyone can tell apart."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

ONE_COLUMN, TWO_COLUMNS = 3.5, 7.2
"""Widths in inches."""

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
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)), (0, (3, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (2, 2)))


@dataclass(frozen=True)
class Look:
    """The colour, marker and dashes of one method, the same in every figure."""

    colour: str
    marker: str
    dashes: Any


def looks(methods: Sequence[str]) -> dict[str, Look]:
    """Return a look for each method, by its place in the list; told apart without colour up to 70 methods."""
    return {method: Look(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)], DASHES[i % len(DASHES)])
            for i, method in enumerate(methods)}


def styled(draw: Callable[..., Figure]) -> Callable[..., Figure]:
    """Make `draw` use this style, whatever style is set around it."""
    @wraps(draw)
    def drawn(*args: Any, **kwargs: Any) -> Figure:
        with mpl.rc_context():
            mpl.rcdefaults()
            mpl.rcParams.update(RC)
            return draw(*args, **kwargs)

    return drawn


def new_figure(width: float, height: float) -> Figure:
    """Return an empty figure of that size, inches, which no pyplot knows of."""
    figure = Figure(figsize=(width, height))
    FigureCanvasAgg(figure)
    return figure


def render(figure: Figure, kind: Literal["png", "pdf", "svg"]) -> bytes:
    """Return the figure as a file: PNG at 300 dpi, PDF with embedded fonts or SVG; the same bytes every time."""
    dates = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}
    buffer = io.BytesIO()
    with mpl.rc_context(RC):
        figure.savefig(buffer, format=kind, metadata=dates[kind])
    return buffer.getvalue()
