"""The audit of the data as a table, a figure and a page."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from scipy.stats import ks_2samp

from fakemedia.core.types import SPLITS
from fakemedia.ingest.audit import FAULT, NOTE, WARNING, kept_rows, shared_images, verdict
from fakemedia.ingest.parts import Table, indexed, tally
from fakemedia.reporting.pages import Cell, render_page
from fakemedia.reporting.pages import Table as PageTable
from fakemedia.reporting.rendering import RenderedFigure
from fakemedia.reporting.style import COLOURS, TWO_COLUMNS, new_figure, styled

MEANINGS = {
    "unreadable": "The file cannot be read as a picture.",
    "no_face": "The picture has no face that is found. It is left out.",
    "empty": "The picture is a single colour, or nearly.",
    "sheet": "The picture is a grid of equal tiles. If the tiles are the data, cut_sheets: true in the "
             "collection's settings cuts it.",
    "cut_sheet": "The sheet was cut into its tiles, which share it as source.",
    "duplicate": "The same file is twice in one split.",
    "near_duplicate": "Nearly the same picture is twice in one split, under two sources. If both come from one "
                      "photograph, record it in sources.csv: the report's intervals depend on it.",
    "leak": "The same file is in two splits.",
    "near_leak": "Nearly the same picture is in two splits.",
    "source_leak": "Images of one source photograph, video or person are in two splits.",
    "contradiction": "The same file is given as real and as fake.",
    "imbalance": "One class has many more images than the other.",
    "shortcut": "Codec, colour mode, JPEG quality or size separate real from fake: a detector may learn the container.",
    "shared": "Two tasks have images in common.",
    "cut": "The data came without these splits.",
    "skipped": "Files in class folders that are no pictures, or archives, that are not read.",
    "unplaced": "Pictures that belong to no class, split or task, and are not read.",
    "spelling": "Folders that are read under their usual name.",
}
WORDS = {"pass": "No problems found.", "warn": "Read the warnings before you train.",
         "fail": "These data cannot be used for training."}
CAPTION = ("Left: codec, JPEG quality and colour mode of real and fake images. Right: their sizes. Where the two "
           "differ, a detector can separate them without using traces.")
CLASSES = ("real", "fake")
MAX_TASKS = 12
"""Maximum number of tasks in the figure."""
MAX_POINTS = 400
"""Maximum number of images of one class whose sizes the figure shows."""
SAMPLE_SIZE = 100_000
"""Maximum number of images of one task that the figure is drawn from."""
CONTAINER = ("task", "label", "codec", "quality", "mode", "width", "height", "error")
MAX_LISTED = 20
"""Maximum number of findings of one kind in one task on the page; the table has all."""


def gather_findings(indexes: Sequence[Table], findings: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the findings about each task and, as notes, the images that tasks share."""
    return pd.concat([*findings, shared_images(indexes)], ignore_index=True)


def audit_summary(tables: Sequence[Table], findings: pd.DataFrame) -> str:
    """Return the verdict, the images and those left out, in all, by task, and by split and class, as JSON:

    {verdict, images, left_out, tasks: {task: {verdict, images, left_out, findings: {kind: count},
    splits: {split: {real | fake: {images, left_out}}}}}}
    """
    tasks = {}
    for index in map(indexed, tables):
        task_findings = findings.loc[findings["task"] == index.task]
        kinds = {str(kind): int(count) for kind, count in task_findings["finding"].value_counts().items()}
        images, kept = (tally(rows, ["split", "label"]) for rows in (index, kept_rows(index, task_findings)))
        splits = {split: {name: _counts(images[split, label], kept[split, label])
                          for label, name in enumerate(CLASSES)} for split in SPLITS}
        tasks[index.task] = {"verdict": verdict(task_findings), **_counts(images.total(), kept.total()),
                             "findings": kinds, "splits": splits}
    return json.dumps({"verdict": verdict(findings),
                       **{key: sum(counts[key] for counts in tasks.values()) for key in ("images", "left_out")},
                       "tasks": tasks}, indent=2) + "\n"


def _counts(images: int, kept: int) -> dict[str, int]:
    return {"images": images, "left_out": images - kept}


def _container(index: pd.DataFrame) -> pd.Series:
    quality = index["quality"].map(lambda value: f" q{value // 10 * 10}+" if value else "").astype(str)
    return index["codec"].str.upper() + quality + " " + index["mode"]


@styled
def audit_figure(tables: Sequence[Table]) -> Figure:
    """Return the containers (codec, JPEG quality, mode) and the sizes of real and fake images, one row per task.

    Of more than MAX_TASKS tasks it has those where real and fake differ most; of more than SAMPLE_SIZE images of a task
    a random sample, and of more than MAX_POINTS of a class sizes at even distances.
    """
    samples = [indexed(table).sample(SAMPLE_SIZE, CONTAINER) for table in tables]
    frames = _most_different([rows.loc[rows["error"] == ""] for rows in samples])
    figure = new_figure(TWO_COLUMNS, 0.8 + 0.75 * len(frames))
    axes = figure.subplots(len(frames), 2, squeeze=False, sharex="col")
    kinds = sorted({str(kind) for index in frames for kind in _container(index).unique()})
    for row, index in enumerate(frames):
        bars, sizes = axes[row]
        for label, (name, offset) in enumerate(zip(CLASSES, (0.2, -0.2), strict=True)):
            class_rows = index.loc[index["label"] == label]
            left = 0.0
            for kind, share in _container(class_rows).value_counts(normalize=True).sort_index().items():
                colour = COLOURS[kinds.index(str(kind)) % len(COLOURS)]
                bars.barh(offset, 100 * share, 0.36, left=left, color=colour, edgecolor="white", linewidth=0.4)
                left += 100 * share
            class_rows = class_rows.iloc[::max(1, -(-len(class_rows) // MAX_POINTS))]
            sizes.plot(class_rows["width"], class_rows["height"], "o" if label == 0 else "x", markersize=3, alpha=0.5,
                       color=COLOURS[label], label=name, markerfacecolor="none")
        bars.set_yticks([0.2, -0.2], CLASSES)
        bars.set_title(str(index["task"].iloc[0]), loc="left")
        bars.grid(False)
        sizes.set_ylabel("height, px")
    axes[-1, 0].set_xlabel("images, %")
    axes[-1, 1].set_xlabel("width, px")
    for position, kind in enumerate(kinds):
        axes[0, 0].bar(0, 0, color=COLOURS[position % len(COLOURS)], label=kind)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper left", ncols=min(4, len(kinds)))
    axes[0, 1].legend(loc="upper right", ncols=2, bbox_to_anchor=(1, 1.45))
    return figure


def audit_caption(tasks: int, largest: int = 0) -> str:
    """Return the caption of the figure of `tasks` tasks, the largest of which has `largest` images."""
    return (CAPTION
            + (f" Of {tasks} tasks, the {MAX_TASKS} where they differ most are shown." if tasks > MAX_TASKS else "")
            + (f" Of a task with more than {SAMPLE_SIZE:,} images, that many are drawn at random."
               if largest > SAMPLE_SIZE else ""))


def _most_different(indexes: list[pd.DataFrame]) -> list[pd.DataFrame]:
    """Return the MAX_TASKS tasks where real and fake differ most in container or size, in their order."""
    differences = [_difference(index) for index in indexes]
    largest = sorted(range(len(indexes)), key=lambda row: -differences[row])[:MAX_TASKS]
    return [indexes[row] for row in sorted(largest)]


def _difference(index: pd.DataFrame) -> float:
    """Return the difference of real and fake, 0 to 1: the larger of the total variation distance of their containers
    and the Kolmogorov-Smirnov statistic of their numbers of pixels."""
    real, fake = (index.loc[index["label"] == label] for label in (0, 1))
    if real.empty or fake.empty:
        return 1.0
    shares = [_container(rows).value_counts(normalize=True) for rows in (real, fake)]
    variation = shares[0].sub(shares[1], fill_value=0).abs().sum() / 2
    areas = [rows["width"] * rows["height"] for rows in (real, fake)]
    return max(float(variation), float(ks_2samp(*areas, method="asymp")[0]))  # pyright: ignore[reportArgumentType]


def audit_page(sequence: str, indexes: Sequence[Table], findings: pd.DataFrame, figure: RenderedFigure) -> str:
    """Return the audit as one self-contained HTML page."""
    summary = json.loads(audit_summary(indexes, findings))
    return render_page(
        "audit.html", title=f"Audit of the data of {sequence}", verdict=WORDS[summary["verdict"]],
        images=summary["images"], count=len(indexes), left_out=summary["left_out"], tasks=_tasks(summary),
        findings=_findings(findings), figure=figure)


def _tasks(summary: dict) -> PageTable:
    rows = []
    for name, facts in summary["tasks"].items():
        counts = [[" + ".join(str(facts["splits"][split][name][key]) for name in CLASSES) for split in SPLITS]
                  for key in ("images", "left_out")]
        sizes = [images if left_out == "0 + 0" else f"{images}, of these {left_out} left out"
                 for images, left_out in zip(*counts, strict=True)]
        rows.append([name, facts["verdict"], *sizes, str(facts["left_out"])])
    return _table(["Task", "Verdict", *(f"{split}, real + fake" for split in SPLITS), "Left out"], rows)


def _findings(findings: pd.DataFrame) -> list[tuple[str, list[dict[str, Any]]]]:
    """Return the kinds of findings under each heading: name, count, meaning, shortened (to how many, or 0), table."""
    parts = []
    for severity, heading in ((FAULT, "Faults"), (WARNING, "Warnings"), (NOTE, "Notes")):
        kinds = []
        for kind, rows in findings.loc[findings["severity"] == severity].groupby("finding", sort=False):
            listed = rows.groupby("task", sort=False).head(MAX_LISTED)
            columns = {"Task": listed["task"], "Image": listed["path"], "Repeats": listed["other"],
                       "Detail": listed["detail"], "Left out": listed["left_out"].map({True: "yes", False: ""})}
            filled_columns = {name: column.astype(str) for name, column in columns.items() if (column != "").any()}
            kinds.append({"name": str(kind), "count": len(rows), "meaning": MEANINGS[str(kind)],
                          "shortened": MAX_LISTED if len(listed) < len(rows) else 0,
                          "table": _table(list(filled_columns), list(zip(*filled_columns.values(), strict=True)))})
        if kinds:
            parts.append((heading, kinds))
    return parts


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> PageTable:
    return PageTable(header=header, rows=[[Cell(text=text) for text in row] for row in rows], text_columns=len(header))
