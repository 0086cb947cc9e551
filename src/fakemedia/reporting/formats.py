"""A printed table: the same cells as LaTeX for a paper, Markdown, and a table of a page."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray

from fakemedia.reporting.pages import Cell, Table

Floats = NDArray[np.float64]
UNDEFINED = "\N{EN DASH}"
NO_VARIATION = "no variation"
WIDE_COLUMNS = 7
"""Number of columns from which LaTeX puts the intervals into a separate row below the values."""
NARROW_COLUMNS = 3
"""Number of columns up to which a LaTeX table takes one column of the page."""

_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
          "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}",
          ">": r"\textgreater{}", UNDEFINED: "--"}


@dataclass(frozen=True, kw_only=True)
class Column:
    """How the numbers of a column are written, and whether more is better (None: they are not ranked)."""

    short: str
    long: str = ""
    decimals: int = 1
    higher: bool | None = True
    signed: bool = False
    """Whether positive numbers have a plus sign: differences."""


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Estimates to be printed, one row for each of `keys` and one column for each of `columns`.

    `title` is the heading, `where` names the runs, `note` explains the numbers. `header` names the parts of a
    key. mean, low and high are float64 (R, C), NaN where undefined; `best` (R, C) says what is set in bold.
    """

    name: str
    title: str
    where: str
    note: str
    header: tuple[str, ...]
    keys: tuple[tuple[str, ...], ...]
    columns: tuple[Column, ...]
    mean: Floats
    low: Floats
    high: Floats
    best: NDArray[np.bool_] | None = None


def escape_latex(text: str) -> str:
    """Return `text` with the characters that LaTeX takes as commands made harmless."""
    return "".join(_LATEX.get(character, character) for character in text)


def escape_markdown(text: str) -> str:
    """Return `text` with the characters that Markdown tables take as markup made harmless."""
    return "".join(f"\\{character}" if character in "\\|*_`<>[]" else character for character in text)


def number(value: float, decimals: int, *, signed: bool = False) -> str:
    """Return `value` with a fixed number of decimals and no negative zero; a dash where it is NaN."""
    return UNDEFINED if np.isnan(value) else f"{value:{'+' if signed else ''}z.{decimals}f}"


def interval(low: float, high: float, decimals: int) -> str:
    """Return the interval in brackets, `no variation` where it is a point, or nothing where it is NaN."""
    if np.isnan(low):
        return ""
    return NO_VARIATION if low == high else f"[{number(low, decimals)}, {number(high, decimals)}]"


def _rows(grid: Grid) -> Iterator[tuple[tuple[str, ...], list[Cell]]]:
    """Yield the key and the cells of each row."""
    best = np.zeros(grid.mean.shape, dtype=bool) if grid.best is None else grid.best
    for r, key in enumerate(grid.keys):
        yield key, [Cell(text=number(grid.mean[r, c], column.decimals, signed=column.signed),
                         value=float(grid.mean[r, c]), bold=bool(best[r, c]),
                         span=interval(grid.low[r, c], grid.high[r, c], column.decimals))
                    for c, column in enumerate(grid.columns)]


def _arrow(column: Column, up: str, down: str) -> str:
    return {True: f" {up}", False: f" {down}", None: ""}[column.higher]


def to_latex(grid: Grid, label: str) -> str:
    """Return `grid` as a `table`, or where it is wide as a `table*`, with the label tab:`label`.

    Needs booktabs and graphicx. The interval is beside the value or, in a wide table, below it. What is wider than the
    page is scaled down to it. The note is a comment.
    """
    def plain(text: str) -> str:
        return escape_latex(text).replace("-", "$-$") if text not in (UNDEFINED, NO_VARIATION) else escape_latex(text)

    lines, is_wide = [], len(grid.columns) >= WIDE_COLUMNS
    for key, cells in _rows(grid):
        values = [rf"\textbf{{{plain(cell.text)}}}" if cell.bold else plain(cell.text) for cell in cells]
        spans = [plain(cell.span) for cell in cells]
        if not is_wide:
            values = [value + (rf" {{\scriptsize {span}}}" if span else "")
                      for value, span in zip(values, spans, strict=True)]
        lines.append(" & ".join([*map(escape_latex, key), *values]) + r" \\")
        if is_wide and any(spans):
            lines.append(" & ".join([""] * len(key) + [rf"{{\tiny {span}}}" if span else "" for span in spans])
                         + r" \\[2pt]")
    header = [*map(escape_latex, grid.header),
              *(escape_latex(column.short) + _arrow(column, r"$\uparrow$", r"$\downarrow$")
                for column in grid.columns)]
    if is_wide:
        keys = len(grid.header)
        header = [*header[:keys], *(rf"\rotatebox{{35}}{{{text}}}" for text in header[keys:])]
    kind, width = ("table", r"\columnwidth") if len(grid.columns) <= NARROW_COLUMNS else ("table*", r"\textwidth")
    return "\n".join([
        r"% needs \usepackage{booktabs,graphicx}",
        *(f"% {line}" for line in wrap(grid.note, 116)),
        rf"\begin{{{kind}}}[t]",
        r"\centering\footnotesize\setlength{\belowcaptionskip}{4pt}",
        rf"\setlength{{\tabcolsep}}{{{'2pt' if is_wide else '4pt'}}}",
        rf"\caption{{{escape_latex(f'{grid.title}. {grid.where}')}}}",
        rf"\label{{tab:{label}}}",
        rf"\resizebox{{\ifdim\width>{width}{width}\else\width\fi}}{{!}}{{%",
        rf"\begin{{tabular}}{{{'l' * len(grid.header)}{'r' * len(grid.columns)}}}",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}}",
        rf"\end{{{kind}}}",
        "",
    ])


def to_markdown(grid: Grid) -> str:
    """Return `grid` as a Markdown table under its title, followed by its note."""
    header = [*grid.header, *(escape_markdown(column.short) + _arrow(column, "↑", "↓") for column in grid.columns)]
    rows = [[*map(escape_markdown, key), *(f"{f'**{cell.text}**' if cell.bold else cell.text} {cell.span}".strip()
                                           for cell in cells)] for key, cells in _rows(grid)]
    lines = [header, [*["---"] * len(grid.header), *["---:"] * len(grid.columns)], *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"**{escape_markdown(grid.title)}.** {escape_markdown(grid.where)}\n\n{table}\n\n{grid.note}\n"


def to_table(grid: Grid) -> Table:
    """Return `grid` as a table of a page."""
    header = [*grid.header, *(column.short + _arrow(column, "↑", "↓") for column in grid.columns)]
    rows = [[*(Cell(text=part) for part in key), *cells] for key, cells in _rows(grid)]
    return Table(header=header, rows=rows, text_columns=len(grid.header),
                 titles=[*[""] * len(grid.header), *(column.long for column in grid.columns)])
