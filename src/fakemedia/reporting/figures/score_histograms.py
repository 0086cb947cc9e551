"""Figures of scores: ROC curves, histograms and calibration."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from fakemedia.core.types import FAKE, REAL
from fakemedia.reporting.profiles import CALIBRATION_BINS, FINAL, LEARNED, Profiles
from fakemedia.reporting.style import COLOURS, ONE_COLUMN, TWO_COLUMNS, add_legend, new_figure, panels, styled

MOMENTS = {LEARNED: (COLOURS[0], (0, (4, 1.5))), FINAL: (COLOURS[1], "-")}
CLASSES = {REAL: ("real", COLOURS[0]), FAKE: ("fake", COLOURS[1])}
KINDS = {False: ("as scored", COLOURS[0], "o", (0, (4, 1.5))), True: ("calibrated", COLOURS[1], "s", "-")}


@styled
def roc_figure(rocs: pd.DataFrame, matrices: pd.DataFrame, method: str) -> Figure:
    """Draw the ROC curves of `method` (`Profiles.rocs`) on each task, just after learning and after the last stage.

    The AUC in each panel is that of `Tables.matrices`, a mean over seeds.
    """
    table = rocs.loc[rocs["method"] == method]
    tasks = list(dict.fromkeys(table["task"]))
    figure, panel_axes = panels(len(tasks), height=1.75, sharex=True, sharey=True)
    aucs = matrices.loc[(matrices["method"] == method) & (matrices["measure"] == "auc")]
    for axes, task in zip(panel_axes, tasks, strict=True):
        task_aucs = aucs.loc[aucs["task"] == task].set_index("stage")
        stages = {LEARNED: task_aucs["learned"].iloc[0], FINAL: task_aucs.index.max()}
        lines = []
        axes.plot([0, 1], [0, 1], color="0.7", linewidth=0.6)
        for moment, (colour, dashes) in MOMENTS.items():
            curve = table.loc[(table["task"] == task) & (table["moment"] == moment)]
            if curve.empty:
                continue
            axes.plot(curve["fpr"], curve["tpr"], color=colour, linestyle=dashes)
            lines.append((f"{task_aucs['mean'].loc[stages[moment]]:.3f}", colour))
        for line, (text, colour) in enumerate([*reversed(lines), ("AUC", "0.3")]):
            axes.text(0.97, 0.05 + 0.11 * line, text, color=colour, transform=axes.transAxes, ha="right", fontsize=6.5,
                      bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.8})
        axes.set_title(task)
        axes.set_aspect("equal")
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.set_yticks([0, 0.5, 1], ["0", "0.5", "1"])
    figure.supxlabel("False positive rate: real images called fake", fontsize=7)
    figure.supylabel("True positive rate: fake images called fake", fontsize=7)
    add_legend(figure, [Line2D([], [], color=colour, linestyle=dashes, label=f"{method}, {moment}")
                        for moment, (colour, dashes) in MOMENTS.items() if (table["moment"] == moment).any()])
    return figure


@styled
def histogram_figure(histograms: pd.DataFrame, method: str) -> Figure:
    """Draw the scores of `method` (`Profiles.histograms`) on each task: upwards just after learning, downwards after
    the last stage. Right of the line images are called fake."""
    table = histograms.loc[histograms["method"] == method]
    tasks = list(dict.fromkeys(table["task"]))
    both = (table["moment"] == LEARNED).any()
    figure, panel_axes = panels(len(tasks), height=1.55 if both else 1.1)
    for axes, task in zip(panel_axes, tasks, strict=True):
        task_rows = table.loc[table["task"] == task]
        for (label, moment), rows in task_rows.groupby(["label", "moment"]):
            name, colour = CLASSES[int(label)]
            edges = np.append(rows["left"], rows["right"].iloc[-1])
            height = rows["density"].to_numpy() * (1 if moment == LEARNED else -1)
            axes.stairs(height, edges, fill=True, color=colour, alpha=0.25)
            axes.stairs(height, edges, color=colour, linewidth=0.9, linestyle="-" if label == FAKE else (0, (3, 1)),
                        label=name)
        reach = 1.08 * task_rows["density"].max()
        axes.set_ylim(-reach, reach if both else 0)
        axes.axhline(0, color="0.2", linewidth=0.6)
        axes.axvline(0, color="0.2", linewidth=0.6, linestyle=(0, (2, 2)))
        axes.set_yticks([])
        axes.grid(visible=False)
        axes.spines[["left", "bottom"]].set_visible(False)
        axes.set_title(task)
    figure.supxlabel("Score: logit of fake minus logit of real", fontsize=7)
    figure.supylabel("\N{LEFTWARDS ARROW} after the last stage      just learned \N{RIGHTWARDS ARROW}" if both
                     else "\N{LEFTWARDS ARROW} after the last stage", fontsize=7)
    add_legend(figure, [Line2D([], [], color=colour, linestyle="-" if label == FAKE else (0, (3, 1)),
                               label=f"{method}, {name} images") for label, (name, colour) in CLASSES.items()
                        if (table["label"] == label).any()])
    return figure


@styled
def calibration_figure(profiles: Profiles, methods: Sequence[str]) -> Figure:
    """Draw how often images are fake against P(fake), after the last stage, over the test images of all tasks.

    A panel a method, with the number of images in each bin below it; as scored and, where a temperature was found on
    validation images, calibrated.
    """
    table = profiles.reliability.loc[profiles.reliability["mean"].notna()]
    plotted = [method for method in methods if (table["method"] == method).any()]
    columns = min(max(len(plotted), 1), 4)
    rows = max(-(-len(plotted) // columns), 1)
    figure = new_figure(ONE_COLUMN if columns <= 2 else TWO_COLUMNS, 2.4 * rows + 0.5)
    axes = figure.subplots(2 * rows, columns, squeeze=False, sharex=True, height_ratios=[3, 1] * rows)
    for panel in range(rows * columns):
        curve, counts = axes[2 * (panel // columns):2 * (panel // columns) + 2, panel % columns]
        if panel < len(plotted):
            _reliability(curve, counts, table.loc[table["method"] == plotted[panel]], profiles.errors)
            curve.set_title(plotted[panel])
        else:
            curve.remove()
            counts.remove()
        if panel % columns == 0 and panel < len(plotted):
            curve.set_ylabel("Images that\nare fake (%)")
            counts.set_ylabel("Images")
    figure.supxlabel("P(fake)", fontsize=7)
    add_legend(figure, [Line2D([], [], color=colour, marker=marker, linestyle=dashes, label=name)
                        for calibrated, (name, colour, marker, dashes) in KINDS.items()
                        if (table["calibrated"] == calibrated).any()])
    return figure


def _reliability(curve: Axes, counts: Axes, table: pd.DataFrame, errors: pd.DataFrame) -> None:
    """Draw the reliability of one method and, below it, how many images each of its bins holds."""
    ece = errors.set_index(["method", "calibrated"])["ece"]
    curve.plot([0, 1], [0, 100], color="0.7", linewidth=0.6)
    for position, (calibrated, (_, colour, marker, dashes)) in enumerate(KINDS.items()):
        rows = table.loc[table["calibrated"] == calibrated]
        if rows.empty:
            continue
        curve.vlines(rows["probability"], rows["low"], rows["high"], color=colour, linewidth=0.8)
        curve.plot(rows["probability"], rows["mean"], color=colour, linestyle=dashes, linewidth=0.9, marker=marker,
                   markersize=3, zorder=3)
        curve.text(0.03, 0.93 - 0.1 * position, f"ECE {ece[(rows['method'].iloc[0], calibrated)]:.3f}", color=colour,
                   transform=curve.transAxes, fontsize=6.5, zorder=4,
                   bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 0.8})
        edges = np.arange(CALIBRATION_BINS + 1) / CALIBRATION_BINS
        height = rows.set_index("bin")["images"].reindex(range(CALIBRATION_BINS), fill_value=0)
        counts.stairs(height, edges, color=colour, linestyle=dashes, fill=False, linewidth=0.9)
    curve.set_ylim(-2, 102)
    curve.set_xlim(-0.02, 1.02)
    counts.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
    counts.set_ylim(bottom=0)
