"""The demo's numbers in the pages: taken from a finished run into docs/results/demo.csv, and written from there.

    python docs/demo_numbers.py take [data/08_reporting/demo]   # rows of that run's number of seeds, and the figures
    python docs/demo_numbers.py write                           # pages from docs/results/demo.csv

A page holds the generated text between comments, so that it reads the same in a clone and on the site:
`<!-- demo table 1 -->` or `<!-- demo console 1 -->` (1: the number of seeds) on a line of its own, up to
`<!-- /demo -->`; inside a sentence `<!-- demo 1 replay aa -->88.6<!-- / -->`, not at the start of a line.
"""

from __future__ import annotations

import csv
import re
import shutil
import sys
from collections import Counter
from collections.abc import Callable
from math import nan
from pathlib import Path

from fakemedia.core.errors import UserError
from fakemedia.reporting.formats import interval, number

DOCS = Path(__file__).parent
ROOT = DOCS.parent
NUMBERS = DOCS / "results" / "demo.csv"
FIGURES = ("average_accuracy", "forgetting", "matrix_finetune")
COLUMNS = ("seeds", "label", "metric", "mean", "low", "high")
DECIMALS = {"aa": 1, "forgetting": 1, "c_auc": 3, "gap_closed": 0, "seconds": 0, "state_bytes": 0}
HEADLINES = {"aa": "average accuracy, %", "forgetting": "forgetting, points", "c_auc": "C-AUC"}
BLOCK = re.compile(r"(?<=<!-- demo )(table|console) (\d+)( -->\n).*?(?=\n<!-- /demo -->)", re.DOTALL)
VALUE = re.compile(r"(?<=<!-- demo )(\d+) (\w+) (\w+)( -->)[^<]*(?=<!-- / -->)")

Rows = dict[tuple[int, str, str], tuple[float, float, float]]
"""Mean, low, high by number of seeds, label and metric; NaN where undefined."""


def read(path: Path = NUMBERS) -> Rows:
    """Return the numbers in `path`, in its order."""
    with path.open(encoding="utf-8", newline="") as file:
        return {(int(row["seeds"]), row["label"], row["metric"]): _estimate(row) for row in csv.DictReader(file)}


def taken(report: Path) -> Rows:
    """Return the numbers of the finished run whose report is in the folder `report`; UserError if there is none."""
    try:
        seeds = min(Counter(row["method"] for row in _table(report / "metrics.csv")).values())
        tables = [*_table(report / "tables" / "summary.csv"), *_table(report / "tables" / "costs.csv")]
    except FileNotFoundError as error:
        raise UserError("No finished run", where=report, expected="metrics.csv and tables/ of a report",
                        do="run: kedro run") from error
    return {(seeds, row["method"], row["metric"]): _estimate(row) for row in tables if row["metric"] in DECIMALS}


def save(rows: Rows, path: Path = NUMBERS) -> None:
    """Write `rows` to `path`: four decimals, nothing where a number is undefined."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for key, values in rows.items():
            writer.writerow([*key, *("" if value != value else f"{value:.4f}" for value in values)])


def filled(text: str, rows: Rows) -> str:
    """Return the page `text` with the numbers of `rows` between its comments; UserError for a number not in them."""
    text = BLOCK.sub(lambda found: f"{found[1]} {found[2]}{found[3]}{TEXTS[found[1]](rows, int(found[2]))}", text)
    return VALUE.sub(lambda found: f"{found[1]} {found[2]} {found[3]}{found[4]}"
                     f"{number(_found(rows, int(found[1]), found[2], found[3])[0], DECIMALS[found[3]])}", text)


def table_text(rows: Rows, seeds: int) -> str:
    """Return the main numbers of the run with `seeds` seeds as a Markdown table."""
    header, *lines = [f"| {' | '.join(line)} |" for line in (["label", *HEADLINES.values()], *_cells(rows, seeds))]
    return "\n".join([header, "|---" * (1 + len(HEADLINES)) + "|", *lines])


def console_text(rows: Rows, seeds: int) -> str:
    """Return what the run with `seeds` seeds printed at its end, as a block of code."""
    lines = [["method", "average accuracy (%)", "forgetting (points)", "C-AUC"], *_cells(rows, seeds)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    text = "\n".join("  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
                     for line in lines)
    return f"```text\n{text}\nReport: .../data/08_reporting/demo/report.html\n```"


TEXTS: dict[str, Callable[[Rows, int], str]] = {"table": table_text, "console": console_text}


def pages() -> list[Path]:
    """Return the pages that may hold numbers of the demo."""
    return [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]


def _cells(rows: Rows, seeds: int) -> list[list[str]]:
    labels = dict.fromkeys(label for count, label, _ in rows if count == seeds)
    return [[label, *(_cell(_found(rows, seeds, label, metric), DECIMALS[metric]) for metric in HEADLINES)]
            for label in labels]


def _cell(values: tuple[float, float, float], decimals: int) -> str:
    mean, low, high = values
    return f"{number(mean, decimals)} {interval(low, high, decimals)}".strip()


def _found(rows: Rows, seeds: int, label: str, metric: str) -> tuple[float, float, float]:
    if (seeds, label, metric) not in rows:
        raise UserError(f"No {metric} of {label} with {seeds} seed(s)", where=NUMBERS,
                        expected="every number that a page asks for",
                        do=f"run kedro run --params n_seeds={seeds}, then make docs-numbers")
    return rows[seeds, label, metric]


def _table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _estimate(row: dict[str, str]) -> tuple[float, float, float]:
    mean, low, high = (float(row[name]) if row[name] else nan for name in ("mean", "low", "high"))
    return mean, low, high


def main(command: str, report: str = "data/08_reporting/demo") -> None:
    """Take the numbers of a run, or write them into the pages."""
    rows = read()
    if command == "take":
        new = taken(Path(report))
        (seeds,) = {key[0] for key in new}
        save({**{key: values for key, values in rows.items() if key[0] != seeds}, **new})
        for name in FIGURES:
            shutil.copy(Path(report) / "figures" / f"{name}.png", DOCS / "images" / f"{name}.png")
        print(f"{NUMBERS.relative_to(ROOT)}: {len(new)} numbers of the run with {seeds} seed(s)")
    for page in pages() if command == "write" else ():
        text = page.read_text(encoding="utf-8")
        if (changed := filled(text, rows)) != text:
            page.write_text(changed, encoding="utf-8")
            print(f"{page.relative_to(ROOT)}: written")


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except UserError as error:
        sys.exit(str(error))
