"""The report of a sequence as one page that opens by itself."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
import yaml

from fakemedia.core.types import SPLITS
from fakemedia.reporting.answer import answer
from fakemedia.reporting.formats import number, to_table
from fakemedia.reporting.grids import (
    METRICS,
    TASK_MEASURES,
    accuracy_grid,
    cost_grid,
    detection_grids,
    detection_table,
    difference_note,
    differences_grid,
    novelty_grid,
    novelty_sentence,
    robustness_grid,
    summary_grid,
    zero_shot_grids,
)
from fakemedia.reporting.pages import Cell, Table, render_page
from fakemedia.reporting.rendering import RenderedFigure
from fakemedia.reporting.sections import SECTIONS
from fakemedia.reporting.tables import RUN_METRICS, Tables

WORSE_POINTS = 0.5
"""Points of accuracy from which on calibration counts as having made a task worse."""
VERDICTS = {"pass": "No problems found.", "warn": "There are warnings.", "fail": "The data have faults."}
CALIBRATION = (
    ("temperature", "Temperature", 2), ("threshold", "Threshold, P(fake)", 3), ("accuracy", "Accuracy at 0.5, %", 1),
    ("accuracy_calibrated", "At the threshold, %", 1), ("coverage", "Not unsure, %", 1),
    ("accuracy_sure", "Accuracy of these, %", 1), ("ece", "ECE", 3), ("ece_calibrated", "ECE, calibrated", 3),
)
"""Columns of `calibration_table.calibration_table`, their heads and decimals."""


def report_page(tables: Tables, figures: Mapping[str, Sequence[RenderedFigure]], *, costs: pd.DataFrame,
                calibration: pd.DataFrame | None = None, novelty: pd.DataFrame | None = None,
                robustness: pd.DataFrame | None = None,
                audit: Mapping[str, Any] | None = None, weights: Mapping[tuple[str, int], str] | None = None,
                notices: Sequence[str] = (), sources: Sequence[tuple[str, str, str]] = (),
                configuration: Mapping[str, Any], versions: Mapping[str, str],
                provenance: Mapping[str, str] | None = None, no_pictures: Sequence[str] = ()) -> str:
    """Return the page as HTML.

    `figures` are those of each section, by its key (`gallery.draw_section`), and `similarity`; `costs`,
    `calibration`, `novelty` and `robustness` are the tables of `history.cost_table`,
    `calibration_table.calibration_table`, `novelty_table.novelty_table` and `robustness_table.robustness_table`;
    `audit` is the verdict on the data as `audit_page.audit_summary` writes it; `weights` give the SHA-256 of the
    last checkpoint of (method, seed); `notices` are shown beside those of the tables; `sources` give the origin of
    each number: what, file, command; `configuration` is any JSON value (other values are shown as text);
    `versions` give the version of each package; `provenance` says when, where and from what the results were made;
    `no_pictures` name the tasks of which no example pictures can be shown.
    """
    plain = json.loads(json.dumps(configuration, default=str))
    later = len(tables.stages) > 1
    summary = summary_grid(tables)
    robust = () if robustness is None or robustness.empty else [robustness_grid(robustness, tables, measure)
                                                                for measure in ("accuracy", "auc")]
    return render_page(
        "report.html", title=f"{tables.sequence}: what {_detector(tables)} keeps and forgets", stages=tables.stages,
        notices=[*tables.notices, *notices], to_table=to_table,
        pictures={key: figures.get(key, ()) for key in (*(section.key for section in SECTIONS), "similarity")},
        answer=answer(tables), summary=summary, difference_note=difference_note(tables), accuracy=accuracy_grid(tables),
        differences=differences_grid(tables) if len(tables.methods) > 1 else None,
        detection=detection_grids(tables), splits=_splits(tables),
        zero_shot=zero_shot_grids(tables) if later else (),
        calibration=_calibration(calibration, tables),
        robustness_tables=robust, novelty_sentence="" if novelty is None else novelty_sentence(novelty),
        novelty_table=None if novelty is None or novelty["auc"].isna().to_numpy().all()
        else novelty_grid(novelty, tables),
        cost=None if costs.empty else cost_grid(costs, tables),
        audit=_audit(audit) if audit else None, runs=_runs(tables, weights or {}),
        sources=sources,
        named=_with_prefix, grouped=_grouped(tables), worse=_made_worse(calibration, tables),
        provenance=provenance or {}, no_pictures=no_pictures,
        versions=Table(header=["Package", "Version"], text_columns=2,
                       rows=[[Cell(text=part) for part in row] for row in versions.items()]),
        configuration=yaml.safe_dump(plain, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True),
    )


def _numbers(row: Mapping[Any, Any], columns: Sequence[tuple[str, int]]) -> list[Cell]:
    """Return cells of the values of `row`; `columns` are their names and decimals."""
    return [Cell(text=number(row[name], decimals), value=row[name]) for name, decimals in columns]


def _calibration(calibration: pd.DataFrame | None, tables: Tables) -> Table | None:
    """Return the effect of calibration after the last stage: means over the tasks and seeds of each method."""
    if calibration is None or calibration.empty:
        return None
    last = calibration.loc[calibration["stage"] == len(tables.stages)]
    means = last.groupby("method", sort=False)[[name for name, *_ in CALIBRATION]].mean()
    return Table(header=["Method", *(head for _, head, _ in CALIBRATION)],
                 rows=[[Cell(text=str(method)), *_numbers(row, [(name, decimals) for name, _, decimals in CALIBRATION])]
                       for method, row in means.iterrows()])


def _detector(tables: Tables) -> str:
    networks = {network for network, _ in tables.trained.values()} or {tables.network}
    return networks.pop() if len(networks) == 1 else "a detector"


def _with_prefix(figures: Sequence[RenderedFigure], start: str) -> list[RenderedFigure]:
    """Return the figures whose names start so."""
    return [figure for figure in figures if figure.name.startswith(start)]


def _grouped(tables: Tables) -> str:
    """Return the stages that learn several tasks at once."""
    return "; ".join(" + ".join(stage.tasks) for stage in tables.stages if len(stage.tasks) > 1)


def _made_worse(calibration: pd.DataFrame | None, tables: Tables) -> str:
    """Return the tasks on which the calibrated threshold is worse than 0.5 after the last stage, by method."""
    if calibration is None or calibration.empty:
        return ""
    last = calibration.loc[calibration["stage"] == len(tables.stages)]
    means = last.groupby(["method", "task"], sort=False)[["accuracy", "accuracy_calibrated"]].mean().reset_index()
    gain = means["accuracy_calibrated"] - means["accuracy"]
    return ", ".join(f"{row['method']} on {row['task']} ({number(points, 1)} points)"
                     for row, points in zip(means.to_dict("records"), gain, strict=True) if points <= -WORSE_POINTS)


def _splits(tables: Tables) -> Table:
    columns = [(name, column.decimals) for name, column in TASK_MEASURES.items()]
    return Table(header=["Method", "Task", *(column.short for column in TASK_MEASURES.values())], text_columns=2,
                 titles=["", "", *(column.long for column in TASK_MEASURES.values())],
                 rows=[[Cell(text=row["method"]), Cell(text=row["task"]), *_numbers(row, columns)]
                       for row in detection_table(tables).to_dict("records")])


def _runs(tables: Tables, weights: Mapping[tuple[str, int], str]) -> Table:
    columns = [(name, METRICS[name].decimals) for name in RUN_METRICS]
    rows = [[Cell(text=row["method"]), Cell(text=str(row["seed"]), value=float(row["seed"])), *_numbers(row, columns),
             *([Cell(text=weights.get((row["method"], row["seed"]), "")[:12])] if weights else [])]
            for row in tables.runs.to_dict("records")]
    last = ["Last weights, SHA-256"] if weights else []
    return Table(header=["Method", "Seed", *(METRICS[name].short for name in RUN_METRICS), *last], rows=rows)


def _audit(audit: Mapping[str, Any]) -> dict[str, Any]:
    rows = [[Cell(text=task), Cell(text=facts["verdict"]), *(Cell(text=_used_counts(facts, split)) for split in SPLITS),
             *(Cell(text=str(facts[key]), value=float(facts[key])) for key in ("images", "left_out")),
             Cell(text=", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in facts["findings"].items()))]
            for task, facts in audit["tasks"].items()]
    header = ["Task", "Verdict", *(f"{split}, real + fake" for split in SPLITS), "Images", "Left out", "Findings"]
    return {"verdict": VERDICTS[audit["verdict"]], "images": audit["images"], "left_out": audit["left_out"],
            "table": Table(header=header, rows=rows, text_columns=2)}


def _used_counts(facts: Mapping[str, Any], split: str) -> str:
    """Return the images of a split that are used, real + fake; nothing if the audit is older than these counts."""
    counts = facts.get("splits", {}).get(split)
    if counts is None:
        return ""
    return " + ".join(str(counts[name]["images"] - counts[name]["left_out"]) for name in ("real", "fake"))
