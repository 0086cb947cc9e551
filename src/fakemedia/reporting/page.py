"""The report of a sequence as one page that opens by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import pandas as pd
import yaml

from fakemedia.core.types import SPLITS
from fakemedia.reporting.formats import interval, number, to_html
from fakemedia.reporting.grids import (
    METRICS,
    PAPER_METRICS,
    cost_grid,
    method_note,
    robustness_grid,
    summary_grid,
    zero_shot_grids,
)
from fakemedia.reporting.html import anchor, document, figure_element, html_table, section
from fakemedia.reporting.rendering import Drawn
from fakemedia.reporting.sections import MATRICES, ROBUSTNESS, SCORES, STAGES, TASKS, TRAINING
from fakemedia.reporting.tables import SPLIT_METRICS, SUMMARY_METRICS, Tables

VERDICTS = {"pass": "Nothing to mend.", "warn": "There are warnings.", "fail": "The data have faults."}
CALIBRATION = (
    ("temperature", "Temperature", 2), ("threshold", "Threshold, P(fake)", 3), ("accuracy", "Accuracy at 0.5, %", 1),
    ("accuracy_calibrated", "At the threshold, %", 1), ("coverage", "Not unsure, %", 1),
    ("accuracy_sure", "Accuracy of these, %", 1), ("ece", "ECE", 3), ("ece_calibrated", "ECE, calibrated", 3),
)
"""Columns of `calibration.calibration_table`, their heads and decimals."""
SPLIT_HEADS = ("Accuracy, %", "Real, %", "Fake, %", "AUC", "AP", "EER", "ECE")


def report_page(tables: Tables, figures: Mapping[str, Sequence[Drawn]], *, costs: pd.DataFrame,
                calibration: pd.DataFrame | None = None, robustness: pd.DataFrame | None = None,
                audit: Mapping[str, Any] | None = None, weights: Mapping[tuple[str, int], str] | None = None,
                notices: Sequence[str] = (), sources: Sequence[tuple[str, str, str]] = (),
                configuration: Mapping[str, Any], versions: Mapping[str, str]) -> str:
    """Return the page as HTML.

    `figures` are those of each section, by its title (`gallery.draw_section`); `costs`, `calibration` and `robustness`
    are the tables of `history.cost_table`, `calibration_table.calibration_table` and
    `robustness_table.robustness_table`; `audit` is the verdict on the data as `audit_page.audit_summary` writes it;
    `weights` give the SHA-256 of the last checkpoint of (method, seed); `notices` are told beside those of the tables;
    `sources` say where each number comes from: what, file, shell line; `configuration` is whatever JSON can hold
    (other values are shown as text); `versions` give the version of each package.
    """
    title = f"{tables.sequence}: what {tables.network} keeps and forgets"
    stages = " → ".join(" + ".join(map(escape, stage.tasks)) for stage in tables.stages)
    told = "".join(f"<li>{escape(entry)}</li>" for entry in (*tables.notices, *notices))
    terms = "".join(f"<dt>{METRICS[name].short}</dt><dd>{escape(METRICS[name].long)}</dd>" for name in SUMMARY_METRICS)
    plain = json.loads(json.dumps(configuration, default=str))
    settings = escape(yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True))
    pictures = {title: _figures(drawn) for title, drawn in figures.items() if drawn}
    later = len(tables.stages) > 1
    sections = {
        "Comparison": [to_html(summary_grid(tables)), f'<p class="note">{escape(method_note(tables))} Best in bold, '
                       "second underlined; upper bounds are not ranked. A click on a column's head sorts by it.</p>",
                       _differences(tables)],
        STAGES.title: [pictures.get(STAGES.title, "")],
        TASKS.title: [pictures.get(TASKS.title, ""), "<h3>After the last stage</h3>", _splits(tables),
                        '<p class="note">Mean over seeds.</p>',
                        *(_titled(to_html(grid), grid.title) for grid in zero_shot_grids(tables) if later)],
        MATRICES.title: [pictures.get(MATRICES.title, "")],
        SCORES.title: [pictures.get(SCORES.title, ""), *_calibration(calibration, tables)],
        ROBUSTNESS.title: [pictures.get(ROBUSTNESS.title, ""), *(
            _titled(to_html(grid), grid.title) for grid in _robustness_grids(robustness, tables))],
        TRAINING.title: [pictures.get(TRAINING.title, ""), *_costs(costs, tables)],
        "Data": [_audit(audit)] if audit else [],
        "Runs": [_runs(tables, weights or {})],
        "Metrics": [f"<dl>{terms}</dl>"],
        "Reproduce": [_sources(sources), f"<p>Seeds: {', '.join(map(str, tables.seeds))}.</p>", html_table(
            ["Package", "Version"], [[(escape(part), part) for part in row] for row in versions.items()],
            text_columns=2)],
        "Configuration": [f"<pre>{settings}</pre>"],
    }
    written = {name: parts for name, parts in sections.items() if any(parts)}
    links = " ".join(f'<a href="#{anchor(name)}">{name}</a>' for name in written)
    return document(
        title, f"<header><h1>{escape(title)}</h1><p>{stages}</p><nav>{links}</nav></header>",
        f'<div class="warning"><b>Look out</b><ul>{told}</ul></div>' if told else "",
        *(section(name, *parts) for name, parts in written.items()),
    )


def _figures(drawn: Sequence[Drawn]) -> str:
    parts = "\n".join(map(figure_element, drawn))
    return f'<div class="figures">\n{parts}\n</div>'


def _titled(table: str, title: str) -> str:
    return f"<h3>{escape(title)}</h3>{table}"


def _robustness_grids(robustness: pd.DataFrame | None, tables: Tables) -> list:
    return [] if robustness is None or robustness.empty else [robustness_grid(robustness, tables, measure)
                                                              for measure in ("accuracy", "auc")]


def _costs(costs: pd.DataFrame, tables: Tables) -> list[str]:
    if costs.empty:
        return []
    grid = cost_grid(costs, tables)
    return [_titled(to_html(grid), grid.title), f'<p class="note">{escape(grid.note)}</p>']


def _calibration(calibration: pd.DataFrame | None, tables: Tables) -> list[str]:
    """Return what calibration changes after the last stage: means over the tasks and seeds of each method."""
    if calibration is None or calibration.empty:
        return []
    last = calibration.loc[calibration["stage"] == len(tables.stages)]
    means = last.groupby("method", sort=False)[[name for name, *_ in CALIBRATION]].mean()
    rows = [[(escape(str(method)), str(method)), *((number(row[name], decimals), row[name])
                                                   for name, _, decimals in CALIBRATION)]
            for method, row in means.iterrows()]
    return [_titled(html_table(["Method", *(head for _, head, _ in CALIBRATION)], rows),
                    "What calibration changes after the last stage"),
            '<p class="note">Temperature, threshold and the band called unsure come from validation images alone. '
            "Means over the tasks and seeds; the figure, and its ECE, takes the test images of all tasks "
            "together. Each task and stage: <code>calibration.csv</code>.</p>"]


def _differences(tables: Tables) -> str:
    table = tables.differences
    if table.empty:
        return ""
    cells = table.set_index(["method", "metric"])
    rows = []
    for method in dict.fromkeys(table["method"]):
        row: list[tuple[str, str | float]] = [(escape(str(method)), str(method))]
        for name in SUMMARY_METRICS:
            entry, decimals = cells.loc[(method, name)], METRICS[name].decimals
            sure = entry["low"] > 0 or entry["high"] < 0
            value = f"{entry['mean']:+.{decimals}f}" if pd.notna(entry["mean"]) else number(float("nan"), decimals)
            row.append(((f"<b>{value}</b>" if sure else value)
                        + f" <small>{interval(entry['low'], entry['high'], decimals)}</small>", float(entry["mean"])))
        rows.append(row)
    baseline = escape(str(table["baseline"].iloc[0]))
    return (f"<p>Difference of each method from <b>{baseline}</b>, paired by seed and by draw; bold where the interval "
            "excludes 0.</p>" + html_table(["Method", *(METRICS[name].short for name in SUMMARY_METRICS)], rows))


def _splits(tables: Tables) -> str:
    written = [(name, 1 if name.startswith("accuracy") else 3) for name in SPLIT_METRICS]
    by_split = tables.splits.groupby(["method", "task"], sort=False, as_index=False)
    means = pd.DataFrame(by_split.mean(numeric_only=True))
    rows = [[(escape(row["method"]), row["method"]), (escape(row["task"]), row["task"]),
             *((number(row[name], decimals), row[name]) for name, decimals in written)]
            for row in means.to_dict("records")]
    return html_table(["Method", "Task", *SPLIT_HEADS], rows, text_columns=2)


def _runs(tables: Tables, weights: Mapping[tuple[str, int], str]) -> str:
    rows = [[(escape(row["method"]), row["method"]), (str(row["seed"]), float(row["seed"])),
             *((number(row[name], METRICS[name].decimals), row[name]) for name in PAPER_METRICS),
             *((sha[:12], sha) for sha in ([weights.get((row["method"], row["seed"]), "")] if weights else []))]
            for row in tables.runs.to_dict("records")]
    last = ["Last weights, SHA-256"] if weights else []
    return html_table(["Method", "Seed", *(METRICS[name].short for name in PAPER_METRICS), *last], rows)


def _audit(audit: Mapping[str, Any]) -> str:
    rows = [[(escape(task), task), (escape(facts["verdict"]), facts["verdict"]),
             *((_used(facts, split), "") for split in SPLITS),
             (str(facts["images"]), float(facts["images"])), (str(facts["left_out"]), float(facts["left_out"])),
             (escape(", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in facts["findings"].items())), "")]
            for task, facts in audit["tasks"].items()]
    header = ["Task", "Verdict", *(f"{split}, real + fake" for split in SPLITS), "Images", "Left out", "Findings"]
    return (f"<p><b>{escape(VERDICTS[audit['verdict']])}</b> {audit['images']} images; "
            f"{audit['left_out']} are left out of training and evaluation. All findings: <code>audit/audit.html</code>"
            "</p>" + html_table(header, rows, text_columns=2))


def _used(facts: Mapping[str, Any], split: str) -> str:
    """Return the images of a split that are used, real + fake; nothing if the audit is older than these counts."""
    counts = facts.get("splits", {}).get(split)
    if counts is None:
        return ""
    return " + ".join(str(counts[name]["images"] - counts[name]["left_out"]) for name in ("real", "fake"))


def _path(file: str) -> str:
    """Return a path that is broken after its slashes first."""
    return f"<code>{escape(file).replace('/', '/<wbr>')}</code>"


def _command(line: str) -> str:
    """Return a command that is broken between its words alone, not at the hyphens of its options."""
    return f"<code>{' '.join(f'<span>{escape(word)}</span>' for word in line.split())}</code>"


def _sources(sources: Sequence[tuple[str, str, str]]) -> str:
    rows = [[(escape(what), what), (_path(file), file), (_command(line), line)]
            for what, file, line in sources]
    return html_table(["Numbers", "File", "Made by"], rows, text_columns=3) if rows else ""
