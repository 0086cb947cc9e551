"""All figures of the report, each with its section and caption."""

from __future__ import annotations

from dataclasses import dataclass

import pandas as pd
from matplotlib.figure import Figure

from fakemedia.reporting import figures
from fakemedia.reporting.profiles import Profiles
from fakemedia.reporting.tables import Tables

STAGES, TASKS, MATRICES, SCORES, ROBUSTNESS, TRAINING = (
    "Over the stages", "Task by task", "Accuracy matrices", "Scores", "Robustness", "Training and cost")
INTERVALS = "Bars: 95 % intervals."


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure of the page."""

    section: str
    name: str
    figure: Figure
    caption: str


def draw_figures(tables: Tables, profiles: Profiles, histories: pd.DataFrame,
                 robustness: pd.DataFrame | None = None) -> list[Drawn]:
    """Return all figures that there is something to draw for, in the order of the page."""
    drawn: list[Drawn] = []

    def add(section: str, name: str, figure: Figure, caption: str) -> None:
        drawn.append(Drawn(section=section, name=name, figure=figure, caption=caption))

    for measure, word in (("accuracy", "Accuracy"), ("auc", "AUC")):
        add(STAGES, f"average_{measure}", figures.curve_figure(tables.curves, tables.stages, measure),
            f"{word} after each stage, averaged over the tasks seen by then. Bands: 95 % intervals.")
    for measure, caption in (
        ("forgetting", "Forgetting of each task after the last stage: best accuracy since it was learned, minus the "
                       "final one."),
        ("learning_accuracy", "Accuracy on each task just after it was learned."),
        ("final_accuracy", "Accuracy on each task after the last stage."),
    ):
        add(TASKS, measure, figures.task_figure(tables.tasks, measure), f"{caption} {INTERVALS}")
    add(TASKS, "real_fake", figures.real_fake_figure(tables.tasks),
        f"Accuracy on the real and on the fake images of each task after the last stage. {INTERVALS}")
    if not tables.by_group.empty:
        add(TASKS, "groups", figures.group_figure(tables.by_group),
            f"Final accuracy and forgetting by group of tasks. {INTERVALS}")
    methods = tables.scored
    for method in methods:
        scored = tables.matrices.loc[(tables.matrices["method"] == method) & tables.matrices["mean"].notna(), "stage"]
        add(MATRICES, f"matrix_{method}", figures.matrix_figure(tables.matrices, method),
            f"Accuracy matrix of {method}: a row for each stage, a column for each task, mean over seeds"
            + ("; right of the stepped line are tasks still to come." if scored.nunique() > 1 else "."))
    for method in methods:
        if method in set(profiles.rocs["method"]):
            add(SCORES, f"roc_{method}", figures.roc_figure(profiles.rocs, tables.matrices, method),
                f"ROC curves of {method} on each task, just after learning it and after the last stage; mean over "
                "seeds.")
        add(SCORES, f"scores_{method}", figures.histogram_figure(profiles.histograms, method),
            f"Scores of {method} on each task: upwards just after learning it, downwards after the last stage. Right "
            "of the dotted line images are called fake.")
    add(SCORES, "calibration", figures.calibration_figure(profiles, methods),
        "How often test images of all tasks are fake, by their P(fake) after the last stage; on the diagonal the "
        f"probability is what it says. {INTERVALS}")
    if robustness is not None and not robustness.empty:
        add(ROBUSTNESS, "robustness", figures.robustness_figure(robustness, tables.methods),
            "Accuracy after the last stage on perturbed test images, mean over the tasks. Bands: 95 % intervals.")
    add(TRAINING, "training", figures.training_figure(histories, tables.stages, tables.methods),
        "Training of each stage, a line a seed: loss and its terms and, where it was measured, accuracy on validation "
        "images.")
    return drawn
