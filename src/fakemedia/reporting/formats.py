"""A table as it is printed: the same cells as LaTeX for a paper, Markdown, and a table of a page."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fakemedia.reporting.pages import Cell, Table

Floats = NDArray[np.float64]
UNDEFINED = "\N{EN DASH}"
WIDE = 7
"""From so many columns on, LaTeX puts the intervals below the values, in a row of their own."""

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


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Estimates to be printed, a row for each of `keys` and a column for each of `columns`.

    `title` says what is shown, `where` of which runs, `note` how the numbers came about. `header` names the parts of a
    key. mean, low and high are float64 (R, C), NaN where undefined. The rows whose first key is in `unranked`, the
    upper bounds, are shown but not ranked.
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
    unranked: tuple[str, ...] = ()

    @property
    def ranked(self) -> bool:
        """Whether any column is ranked."""
        return len(self.keys) > 1 and any(column.higher is not None for column in self.columns)

    def ranks(self) -> NDArray[np.int64]:
        """Return 1 for the best and 2 for the second of each column as written, equals sharing their rank; else 0.

        Where all are equal none is best.
        """
        ranks = np.zeros(self.mean.shape, dtype=np.int64)
        rows = np.array([key[0] not in self.unranked for key in self.keys], dtype=bool)
        for number, column in enumerate(self.columns):
            written = np.round(self.mean[:, number], column.decimals)
            counted = rows & ~np.isnan(written)
            if column.higher is None or counted.sum() < 2:
                continue
            best = np.unique(written[counted])
            if len(best) == 1:
                continue
            best = best[::-1] if column.higher else best
            for rank, value in enumerate(best[:2], start=1):
                ranks[counted & (written == value), number] = rank
        return ranks


def escape_latex(text: str) -> str:
    """Return `text` with the characters that LaTeX takes as commands made harmless."""
    return "".join(_LATEX.get(character, character) for character in text)


def escape_markdown(text: str) -> str:
    """Return `text` with the characters that Markdown tables take as markup made harmless."""
    return "".join(f"\\{character}" if character in "\\|*_`<>[]" else character for character in text)


def number(value: float, decimals: int) -> str:
    """Return `value` with a fixed number of decimals and no negative zero; a dash where it is NaN."""
    return UNDEFINED if np.isnan(value) else f"{value:z.{decimals}f}"


def interval(low: float, high: float, decimals: int) -> str:
    """Return the interval in brackets, or nothing where it is NaN."""
    return "" if np.isnan(low) else f"[{number(low, decimals)}, {number(high, decimals)}]"


@dataclass(frozen=True)
class _Cell:
    value: str
    span: str
    rank: int
    mean: float


def _rows(grid: Grid) -> Iterator[tuple[tuple[str, ...], list[_Cell]]]:
    ranks = grid.ranks()
    for r, key in enumerate(grid.keys):
        yield key, [_Cell(number(grid.mean[r, c], column.decimals),
                          interval(grid.low[r, c], grid.high[r, c], column.decimals), int(ranks[r, c]),
                          float(grid.mean[r, c])) for c, column in enumerate(grid.columns)]


def _arrow(column: Column, up: str, down: str) -> str:
    return {True: f" {up}", False: f" {down}", None: ""}[column.higher]


def _marked(cell: _Cell, first: tuple[str, str], second: tuple[str, str],
            written: Callable[[str], str] = str) -> str:
    before, after = {1: first, 2: second}.get(cell.rank, ("", ""))
    return f"{before}{written(cell.value)}{after}"


def to_latex(grid: Grid, label: str) -> str:
    """Return `grid` as a two-column-wide `table*` with the label tab:`label`; needs booktabs and graphicx.

    Best in bold, second underlined, the interval beside the value or, in a wide table, below it. What is wider than
    the page is scaled down to it.
    """
    def plain(text: str) -> str:
        return escape_latex(text).replace("-", "$-$") if text != UNDEFINED else "--"

    lines, wide = [], len(grid.columns) >= WIDE
    for key, cells in _rows(grid):
        values = [_marked(cell, (r"\textbf{", "}"), (r"\underline{", "}"), plain) for cell in cells]
        spans = [plain(cell.span) for cell in cells]
        if not wide:
            values = [value + (rf" {{\scriptsize {span}}}" if span else "")
                      for value, span in zip(values, spans, strict=True)]
        lines.append(" & ".join([*map(escape_latex, key), *values]) + r" \\")
        if wide and any(spans):
            lines.append(" & ".join([""] * len(key) + [rf"{{\tiny {span}}}" if span else "" for span in spans])
                         + r" \\[2pt]")
    header = [*map(escape_latex, grid.header),
              *(escape_latex(column.short) + _arrow(column, r"$\uparrow$", r"$\downarrow$")
                for column in grid.columns)]
    if wide:
        keys = len(grid.header)
        header = [*header[:keys], *(rf"\rotatebox{{35}}{{{text}}}" for text in header[keys:])]
    caption = f"{grid.title}. {grid.where} {grid.note}" + (" Best in bold, second underlined." if grid.ranked else "")
    return "\n".join([
        r"% needs \usepackage{booktabs,graphicx}",
        r"\begin{table*}[t]",
        r"\centering\footnotesize\setlength{\belowcaptionskip}{4pt}",
        rf"\setlength{{\tabcolsep}}{{{'2pt' if wide else '4pt'}}}",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{tab:{label}}}",
        r"\resizebox{\ifdim\width>\textwidth\textwidth\else\width\fi}{!}{%",
        rf"\begin{{tabular}}{{{'l' * len(grid.header)}{'r' * len(grid.columns)}}}",
        r"\toprule",
        " & ".join(header) + r" \\",
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}}",
        r"\end{table*}",
        "",
    ])


def to_markdown(grid: Grid) -> str:
    """Return `grid` as a Markdown table under its title, followed by its note."""
    header = [*grid.header, *(escape_markdown(column.short) + _arrow(column, "↑", "↓") for column in grid.columns)]
    rows = [[*map(escape_markdown, key), *(f"{_marked(cell, ('**', '**'), ('<u>', '</u>'))} {cell.span}".strip()
                                           for cell in cells)] for key, cells in _rows(grid)]
    lines = [header, [*["---"] * len(grid.header), *["---:"] * len(grid.columns)], *rows]
    table = "\n".join("| " + " | ".join(line) + " |" for line in lines)
    return f"**{escape_markdown(grid.title)}.** {escape_markdown(grid.where)}\n\n{table}\n\n{grid.note}\n"


def to_table(grid: Grid) -> Table:
    """Return `grid` as a table of a page."""
    header = [*grid.header, *(column.short + _arrow(column, "↑", "↓") for column in grid.columns)]
    rows = [[*(Cell(text=part) for part in key),
             *(Cell(text=cell.value, value=cell.mean, mark={1: "b", 2: "u"}.get(cell.rank, ""), span=cell.span)
               for cell in cells)] for key, cells in _rows(grid)]
    return Table(header=header, rows=rows, text_columns=len(grid.header),
                 titles=[*[""] * len(grid.header), *(column.long for column in grid.columns)])
