"""Tables as text: LaTeX for a paper, Markdown for a page, and the few lines that end a run."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from fakemedia.reporting.tables import Tables


@dataclass(frozen=True)
class Metric:
    """How a metric is written: its short and long name, decimals, whether more is better."""

    short: str
    long: str
    decimals: int = 1
    higher: bool = True


METRICS = {
    "aa": Metric("AA", "Average accuracy after the last stage, %"),
    "forgetting": Metric("F", "Forgetting: best accuracy since learned minus final accuracy, points",
                         higher=False),
    "bwt": Metric("BWT", "Backward transfer: final accuracy minus accuracy when learned, points"),
    "fwt": Metric("FWT", "Forward transfer: accuracy just before learning minus chance (50 %), points"),
    "c_auc": Metric("C-AUC", "Continual AUC: mean over all stages and the tasks learned by then", 3),
    "fwt_auc": Metric("FWT-AUC", "Forward-transfer AUC: mean over all stages and the tasks still to come", 3),
    "learning_accuracy": Metric("LA", "Learning accuracy: accuracy just after a task was learned, %"),
}
PAPER_METRICS = ("aa", "forgetting", "bwt", "fwt", "c_auc", "fwt_auc")
HEADLINES = ("aa", "forgetting", "c_auc")
UPPER_BOUNDS = ("joint",)
UNDEFINED = "\N{EN DASH}"

_LATEX = {"\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{",
          "}": r"\}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}


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


def _ranks(values: pd.Series, metric: Metric) -> dict[object, int]:
    """Return 1 for the best and 2 for the second of the values as written, NaN left out; equals share their rank."""
    written = values.dropna().round(metric.decimals)
    if len(written) < 2:
        return {}
    return written.rank(method="dense", ascending=not metric.higher).astype(int).to_dict()


def _cells(tables: Tables, metrics: Sequence[str], unranked: Collection[str]) -> pd.DataFrame:
    """Return the summary with, for each estimate, its texts (`value`, `range`) and its `rank`, by (metric, method)."""
    rows = tables.summary.set_index(["metric", "method"]).loc[list(metrics)]
    ranks: dict[tuple[str, object], int] = {}
    for name in metrics:
        ranked = rows.loc[name, "mean"].drop(labels=list(unranked), errors="ignore")
        ranks |= {(name, method): rank for method, rank in _ranks(ranked, METRICS[name]).items()}
    decimals = [METRICS[name].decimals for name, _ in rows.index]
    return rows.assign(
        value=[number(value, d) for value, d in zip(rows["mean"], decimals, strict=True)],
        range=[interval(low, high, d) for low, high, d in zip(rows["low"], rows["high"], decimals, strict=True)],
        rank=[ranks.get(key, 0) for key in rows.index],
    )


def summary_rows(tables: Tables, style: Literal["latex", "markdown", "html"], metrics: Sequence[str] = PAPER_METRICS,
                 unranked: Collection[str] = UPPER_BOUNDS) -> list[list[str]]:
    """Return for each method the marked-up cells of `metrics`: mean and interval, best bold, second underlined.

    The methods of `unranked`, the upper bounds, are shown but not ranked.
    """
    marks = {"latex": (r"\textbf{", "}", r"\underline{", "}", r" {\scriptsize ", "}"),
             "markdown": ("**", "**", "<u>", "</u>", " ", ""),
             "html": ("<b>", "</b>", "<u>", "</u>", ' <small>', "</small>")}[style]
    cells = _cells(tables, metrics, unranked)

    def cell(name: str, method: str) -> str:
        entry = cells.loc[(name, method)]
        value, span = str(entry["value"]), str(entry["range"])
        if style == "latex":
            value, span = value.replace("-", "$-$").replace(UNDEFINED, "--"), span.replace("-", "$-$")
        if entry["rank"] in (1, 2):
            first = 2 * (int(entry["rank"]) - 1)
            value = marks[first] + value + marks[first + 1]
        return value + (f"{marks[4]}{span}{marks[5]}" if span else "")

    return [[cell(name, method) for name in metrics] for method in tables.methods]


def method_note(tables: Tables) -> str:
    """Return the sentence that says how the means and intervals of these tables came about."""
    seeds = f"{len(tables.seeds)} seeds" if len(tables.seeds) > 1 else "one seed"
    drawn = "source groups and seeds" if len(tables.seeds) > 1 else "source groups"
    return (f"Mean over {seeds}; in brackets the 95 % percentile interval of a bootstrap over {drawn} "
            f"({tables.groups} source groups), the same draws for every method. Accuracies in percent, their "
            "differences in points, AUC as fractions.")


def latex_table(tables: Tables, metrics: Sequence[str] = PAPER_METRICS,
                unranked: Collection[str] = UPPER_BOUNDS) -> str:
    """Return the main comparison as a two-column-wide `table*`; needs the package booktabs."""
    def header(name: str) -> str:
        return escape_latex(METRICS[name].short) + (r" $\uparrow$" if METRICS[name].higher else r" $\downarrow$")

    rows = summary_rows(tables, "latex", metrics, unranked)
    lines = [" & ".join([escape_latex(method), *cells]) + r" \\"
             for method, cells in zip(tables.methods, rows, strict=True)]
    caption = (f"Sequence {tables.sequence}, network {tables.network}. {method_note(tables)} "
               "Best in bold, second underlined.")
    return "\n".join([
        "% needs \\usepackage{booktabs}",
        r"\begin{table*}[t]",
        r"\centering\footnotesize\setlength{\tabcolsep}{4pt}",
        rf"\caption{{{escape_latex(caption)}}}",
        rf"\label{{tab:{tables.sequence}}}",
        rf"\begin{{tabular}}{{l{'r' * len(metrics)}}}",
        r"\toprule",
        " & ".join(["Method", *map(header, metrics)]) + r" \\",
        r"\midrule",
        *lines,
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table*}",
        "",
    ])


def markdown_table(tables: Tables, metrics: Sequence[str] = PAPER_METRICS,
                   unranked: Collection[str] = UPPER_BOUNDS) -> str:
    """Return the main comparison as a Markdown table, followed by the sentence on its intervals."""
    header = ["Method", *(f"{METRICS[name].short} {'↑' if METRICS[name].higher else '↓'}" for name in metrics)]
    rows = [[escape_markdown(method), *cells]
            for method, cells in zip(tables.methods, summary_rows(tables, "markdown", metrics, unranked), strict=True)]
    lines = [header, ["---", *["---:"] * len(metrics)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + f"\n\n{method_note(tables)}\n"


def headline_text(tables: Tables) -> str:
    """Return average accuracy, forgetting and C-AUC of each method as aligned lines for the terminal."""
    cells = _cells(tables, HEADLINES, ())
    header = ["method", "average accuracy (%)", "forgetting (points)", "C-AUC"]
    rows = [header] + [
        [method, *(f"{cells.loc[(name, method), 'value']} {cells.loc[(name, method), 'range']}".strip()
                   for name in HEADLINES)]
        for method in tables.methods
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
                     for row in rows)
