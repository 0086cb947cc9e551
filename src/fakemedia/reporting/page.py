"""One page that opens by itself: figures inside, nothing fetched, readable on a phone and on paper."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from fakemedia.reporting.formats import METRICS, PAPER_METRICS, interval, method_note, number, summary_rows
from fakemedia.reporting.style import render
from fakemedia.reporting.tables import SPLIT_METRICS, SUMMARY_METRICS, Tables

STYLE = """
:root { color-scheme: light; --ink: #1d2329; --soft: #5b6670; --line: #d9dee3; --tint: #f4f6f8; }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1.2rem; max-width: 62rem; color: var(--ink); background: #fff;
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 0 .3rem; }
h2 { font-size: 1.2rem; margin: 2.2rem 0 .6rem; padding-top: .5rem; border-top: 2px solid var(--ink); }
p, ul, dl { margin: .5rem 0; } small, .note, figcaption { color: var(--soft); font-size: .85rem; }
nav a { margin-right: .9rem; white-space: nowrap; } a { color: #0060a0; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; font-size: .88rem; width: 100%; }
th, td { padding: .3rem .6rem; text-align: right; white-space: nowrap; border-bottom: 1px solid var(--line);
  font-variant-numeric: tabular-nums; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
thead th { border-bottom: 1.5px solid var(--ink); } tbody tr:nth-child(even) { background: var(--tint); }
td small { display: block; }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 24rem), 1fr)); gap: 1.2rem; }
.figures.wide { grid-template-columns: 1fr; }
figure { margin: 0; break-inside: avoid; } figure img { width: 100%; height: auto; display: block; }
pre { background: var(--tint); padding: .8rem; overflow-x: auto; font-size: .82rem; border-radius: 4px; }
dt { font-weight: 600; } dd { margin: 0 0 .4rem 1rem; }
.warning { border-left: 4px solid #D55E00; background: #fdf3ec; padding: .5rem .9rem; margin-top: 1rem; }
@media print { body { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; } h2 { break-after: avoid; }
  .scroll { overflow: visible; } table { font-size: 8pt; } th, td { padding: .15rem .3rem; }
  pre { white-space: pre-wrap; } tr { break-inside: avoid; } }
"""

CAPTIONS = {
    "average_accuracy": "Accuracy after each stage, averaged over the tasks seen by then. Bands: 95 % intervals.",
    "average_auc": "AUC after each stage, averaged over the tasks seen by then. Bands: 95 % intervals.",
    "forgetting": "Forgetting of each task after the last stage: best accuracy since it was learned, minus the final "
                  "one. Bars: 95 % intervals.",
    "learning_accuracy": "Accuracy on each task just after it was learned. Bars: 95 % intervals.",
    "final_accuracy": "Accuracy on each task after the last stage. Bars: 95 % intervals.",
}
MATRIX_CAPTION = ("Accuracy matrix of {}: a row for each stage, a column for each task, mean over seeds; right of the "
                  "stepped line are tasks still to come.")


def _table(header: Sequence[str], rows: Iterable[Sequence[str]], text_columns: int = 1) -> str:
    """Return a table; its cells are HTML already. The first `text_columns` columns are aligned left."""
    def line(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}{' class=text' if i < text_columns else ''}>{cell}</{tag}>"
                                for i, cell in enumerate(cells)) + "</tr>"

    body = "\n".join(line(row, "td") for row in rows)
    return f'<div class="scroll"><table><thead>{line(header, "th")}</thead><tbody>\n{body}\n</tbody></table></div>'


def _section(title: str, *parts: str) -> str:
    name = title.lower().replace(" ", "-")
    return f'<section id="{name}"><h2>{escape(title)}</h2>\n' + "\n".join(part for part in parts if part) + "</section>"


def _figure(name: str, figure: Figure) -> str:
    caption = escape(CAPTIONS.get(name) or MATRIX_CAPTION.format(name.removeprefix("matrix_")))
    data = base64.b64encode(render(figure, "svg")).decode()
    return (f'<figure id="figure-{escape(name)}"><img alt="{caption}" src="data:image/svg+xml;base64,{data}">'
            f"<figcaption>{caption}</figcaption></figure>")


def _figures(figures: Mapping[str, Figure]) -> str:
    wide = any(figure.get_figwidth() > 5 for figure in figures.values())
    drawn = "\n".join(_figure(name, figure) for name, figure in figures.items())
    return f'<div class="figures{" wide" if wide else ""}">\n{drawn}\n</div>'


def _summary(tables: Tables) -> str:
    header = ["Method", *(f"{METRICS[name].short} {'↑' if METRICS[name].higher else '↓'}" for name in PAPER_METRICS)]
    rows = [[escape(method), *cells]
            for method, cells in zip(tables.methods, summary_rows(tables, "html"), strict=True)]
    return _table(header, rows)


def _differences(tables: Tables) -> str:
    table = tables.differences
    if table.empty:
        return ""
    cells = table.set_index(["method", "metric"])
    rows = []
    for method in dict.fromkeys(table["method"]):
        row = [escape(str(method))]
        for name in SUMMARY_METRICS:
            entry, decimals = cells.loc[(method, name)], METRICS[name].decimals
            sure = entry["low"] > 0 or entry["high"] < 0
            value = f"{entry['mean']:+.{decimals}f}" if pd.notna(entry["mean"]) else number(float("nan"), decimals)
            row.append((f"<b>{value}</b>" if sure else value)
                       + f" <small>{interval(entry['low'], entry['high'], decimals)}</small>")
        rows.append(row)
    baseline = escape(str(table["baseline"].iloc[0]))
    return (f"<p>Difference of each method from <b>{baseline}</b>, paired by seed and by draw; bold where the interval "
            "excludes 0.</p>" + _table(["Method", *(METRICS[name].short for name in SUMMARY_METRICS)], rows))


def _splits(tables: Tables) -> str:
    written = [(name, 1 if name.startswith("accuracy") else 3) for name in SPLIT_METRICS]
    by_split = tables.splits.groupby(["method", "task"], sort=False, as_index=False)
    means = pd.DataFrame(by_split.mean(numeric_only=True))
    rows = [[escape(row["method"]), escape(row["task"]), *(number(row[name], decimals) for name, decimals in written)]
            for row in means.to_dict("records")]
    header = ["Method", "Task", "Accuracy, %", "Real, %", "Fake, %", "AUC", "AP", "EER", "ECE"]
    return _table(header, rows, text_columns=2)


def _runs(tables: Tables) -> str:
    rows = [[escape(row["method"]), str(row["seed"]),
             *(number(row[name], METRICS[name].decimals) for name in PAPER_METRICS)]
            for row in tables.runs.to_dict("records")]
    return _table(["Method", "Seed", *(METRICS[name].short for name in PAPER_METRICS)], rows)


def report_page(tables: Tables, figures: Mapping[str, Figure], *, configuration: Mapping[str, Any],
                versions: Mapping[str, str], commands: Sequence[str]) -> str:
    """Return the page as HTML.

    `figures` are those of `figures.draw_figures`; `configuration` is whatever JSON can hold (other values are shown
    as text); `versions` gives the version of each package; `commands` are the shell lines that reproduce the run.
    """
    title = f"{tables.sequence}: what {tables.network} keeps and forgets"
    stages = " → ".join(" + ".join(map(escape, stage.tasks)) for stage in tables.stages)
    missing = "".join(f"<li>{escape(entry)}</li>" for entry in tables.missing)
    matrices = {name: figure for name, figure in figures.items() if name.startswith("matrix_")}
    others = {name: figure for name, figure in figures.items() if name not in matrices}
    terms = "".join(f"<dt>{METRICS[name].short}</dt><dd>{escape(METRICS[name].long)}</dd>" for name in SUMMARY_METRICS)
    settings = escape(json.dumps(configuration, indent=2, default=str, ensure_ascii=False))
    sections = [
        _section("Comparison", _summary(tables), f'<p class="note">{escape(method_note(tables))} Best in bold, second '
                 "underlined; upper bounds are not ranked.</p>", _differences(tables)),
        _section("Over the stages and tasks", _figures(others)),
        _section("Accuracy matrices", _figures(matrices)),
        _section("Tasks after the last stage", '<p class="note">Mean over seeds.</p>', _splits(tables)),
        _section("Runs", _runs(tables)),
        _section("Metrics", f"<dl>{terms}</dl>"),
        _section("Reproduce", f"<pre>{escape(chr(10).join(commands))}</pre>",
                 f"<p>Seeds: {', '.join(map(str, tables.seeds))}.</p>",
                 _table(["Package", "Version"], [[escape(k), escape(v)] for k, v in versions.items()], 2)),
        _section("Configuration", f"<pre>{settings}</pre>"),
    ]
    links = " ".join(f'<a href="#{name.lower().replace(" ", "-")}">{name}</a>' for name in (
        "Comparison", "Over the stages and tasks", "Accuracy matrices", "Runs", "Reproduce", "Configuration"))
    return "\n".join([
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
        f"<header><h1>{escape(title)}</h1><p>{stages}</p><nav>{links}</nav></header>",
        f'<div class="warning"><b>Missing</b><ul>{missing}</ul></div>' if missing else "",
        *sections,
        "</body></html>\n",
    ])
