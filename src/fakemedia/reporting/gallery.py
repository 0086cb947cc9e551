"""Every figure of the report, declared once: name, section, caption, and how it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure

from fakemedia.reporting.figures.contact_sheets import errors_figure, pairs_figure
from fakemedia.reporting.figures.matrices import matrix_figure
from fakemedia.reporting.figures.method_comparison import curve_figure, group_figure, real_fake_figure, task_figure
from fakemedia.reporting.figures.novelty_curves import novelty_figure
from fakemedia.reporting.figures.robustness_curves import robustness_figure
from fakemedia.reporting.figures.score_histograms import calibration_figure, histogram_figure, roc_figure
from fakemedia.reporting.figures.training_curves import training_figure
from fakemedia.reporting.rendering import RenderedFigure, render_figure
from fakemedia.reporting.sections import (
    EXAMPLES,
    MATRICES,
    NOVELTY,
    ROBUSTNESS,
    SCORES,
    STAGES,
    TASKS,
    TRAINING,
    Section,
)
from fakemedia.reporting.tables import Tables

INTERVALS = "Bars: 95 % intervals."


@dataclass(frozen=True, kw_only=True)
class Plot:
    """A figure of the report: its section, caption and the function that draws it."""

    section: Section
    name: str
    """The name of its files. `{method}` in it: there is one figure for each method that has scores."""
    caption: str
    draw: Callable[..., Figure | None]
    """Takes what the section needs and, for a figure of each method, the method; None if there is nothing to draw."""
    photographs: bool = False
    """Whether it shows photographs: a page then has it as JPEG."""


FIGURES = (
    Plot(section=STAGES, name="average_accuracy",
         caption=f"Accuracy after each stage, averaged over the tasks seen by then. {INTERVALS}",
         draw=lambda tables: curve_figure(tables.curves, tables.stages, "accuracy")),
    Plot(section=STAGES, name="average_auc",
         caption=f"AUC after each stage, averaged over the tasks seen by then. {INTERVALS}",
         draw=lambda tables: curve_figure(tables.curves, tables.stages, "auc")),
    Plot(section=TASKS, name="forgetting",
         caption="Forgetting of each task after the last stage: best accuracy since it was learned, minus the "
                     f"final one. {INTERVALS}",
         draw=lambda tables: task_figure(tables.tasks, "forgetting")),
    Plot(section=TASKS, name="learning_accuracy",
         caption=f"Accuracy on each task just after it was learned. {INTERVALS}",
         draw=lambda tables: task_figure(tables.tasks, "learning_accuracy")),
    Plot(section=TASKS, name="final_accuracy",
         caption=f"Accuracy on each task after the last stage. {INTERVALS}",
         draw=lambda tables: task_figure(tables.tasks, "final_accuracy")),
    Plot(section=TASKS, name="real_fake",
         caption="Accuracy on the real and on the fake images of each task after the last stage. " + INTERVALS,
         draw=lambda tables: real_fake_figure(tables.tasks)),
    Plot(section=TASKS, name="groups_of_tasks",
         caption=f"Final accuracy and forgetting by group of tasks. {INTERVALS}",
         draw=lambda tables: None if tables.by_group.empty else group_figure(tables.by_group)),
    Plot(section=MATRICES, name="matrix_{method}",
         caption="Accuracy matrix of {method}, mean over seeds: white is chance (50 %). Where there are several "
                     "rows, tasks right of the stepped line are still to come.",
         draw=lambda tables, method: matrix_figure(tables.matrices, method)),
    Plot(section=MATRICES, name="auc_matrix_{method}",
         caption="AUC matrix of {method}, mean over seeds: white is chance (0.5); below it, fake images score "
                     "lower than real ones.",
         draw=lambda tables, method: matrix_figure(tables.matrices, method, "auc")),
    Plot(section=SCORES, name="roc_{method}",
         caption="ROC curves of {method} on each task, just after learning it and after the last stage; mean over "
                     "seeds.",
         draw=lambda tables, profiles, method: None if method not in set(profiles.rocs["method"])
         else roc_figure(profiles.rocs, tables.matrices, method)),
    Plot(section=SCORES, name="scores_{method}",
         caption="Scores of {method} on each task: upwards just after learning it, downwards after the last stage. "
                     "Images right of the dotted line are called fake.",
         draw=lambda tables, profiles, method: histogram_figure(profiles.histograms, method)),
    Plot(section=SCORES, name="reliability",
         caption="How often test images of all tasks are fake, by their P(fake) after the last stage; on the "
                     f"diagonal the probability is right. Below, the images in each bin. {INTERVALS}",
         draw=lambda tables, profiles: calibration_figure(profiles, tables.scored)),
    Plot(section=EXAMPLES, name="pairs", photographs=True,
         caption="A real and a fake test image of each task, of one source where both classes have it.",
         draw=lambda tables, examples: pairs_figure(examples.pairs) if examples.pairs else None),
    Plot(section=EXAMPLES, name="errors_{method}", photographs=True,
         caption="Where {method} is most wrong after the last stage: above, real images called fake; below, fake "
                     "images called real. P(fake) as scored, the verdict at 0.5; one image of each task and source "
                     "before a second one.",
         draw=lambda tables, examples, method: errors_figure(examples.worst[method])
         if examples.worst.get(method) else None),
    Plot(section=NOVELTY, name="novelty",
         caption="Novelty after each stage, mean over seeds: how well it separates fakes of the tasks still to "
                     "come from the images of the tasks learned, and what is called unknown of either.",
         draw=lambda tables, novelty: None if novelty["auc"].isna().to_numpy().all()
         else novelty_figure(novelty, tables.stages, tables.methods)),
    Plot(section=ROBUSTNESS, name="robustness",
         caption=f"Accuracy after the last stage on perturbed test images, mean over the tasks. {INTERVALS}",
         draw=lambda tables, robustness: None if robustness.empty
         else robustness_figure(robustness, tables.methods)),
    Plot(section=TRAINING, name="training_curves",
         caption="Training of each stage, a line for each seed: loss and its terms and, where it was measured, "
                     "accuracy on validation images.",
         draw=lambda tables, histories: training_figure(histories, tables.stages, tables.methods)),
)
"""In the order of the page."""


def draw_section(section: Section, tables: Tables, *others: Any) -> list[RenderedFigure]:
    """Return the figures of `section` that there is something to draw for; the arguments are what the section needs."""
    figures = []
    for spec in (figure for figure in FIGURES if figure.section == section):
        for method in tables.scored if "{method}" in spec.name else (None,):
            figure = spec.draw(tables, *others, *([method] if method else []))
            if figure is not None:
                figures.append(render_figure(spec.name.format(method=method), figure,
                                   spec.caption.format(method=method), photographs=spec.photographs))
    return figures
