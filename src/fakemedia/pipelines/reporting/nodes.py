"""Nodes of the reporting pipeline: everything is drawn from the scores, nothing is trained."""

from __future__ import annotations

import platform
from dataclasses import asdict
from importlib.metadata import version
from typing import TYPE_CHECKING

from fakemedia import project

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from fakemedia.core.plan import Plan
    from fakemedia.reporting.tables import Tables

PACKAGES = ("fakemedia", "kedro", "torch", "torchvision", "timm", "lightning-fabric", "scikit-learn", "numpy", "pandas")


def tabulate(*results: pd.DataFrame, plan: Plan) -> Tables:
    """Return every table of the report, with intervals, from the scores of all methods."""
    import pandas as pd

    from fakemedia.reporting.results import gather
    from fakemedia.reporting.tables import make_tables

    methods = [method.name for method in plan.methods]
    scores = pd.concat(results, ignore_index=True)
    return make_tables(gather(scores, sequence=plan.sequence, network=plan.network.name, stages=plan.stages),
                       baseline="finetune" if "finetune" in methods else None)


def tabulate_calibration(*tables: pd.DataFrame, plan: Plan) -> pd.DataFrame:
    """Return what calibration changes on every test split; test scores of all methods first, then validation scores."""
    import pandas as pd

    from fakemedia.reporting.calibration import calibration_table

    scores, validation = (pd.concat(half, ignore_index=True)
                          for half in (tables[:len(plan.methods)], tables[len(plan.methods):]))
    return calibration_table(scores, validation, stages=plan.stages, config=project.calibration_config())


def write_tables(tables: Tables) -> tuple[pd.DataFrame, pd.DataFrame, str, str, str]:
    """Return the runs, the summary with intervals, the LaTeX and Markdown tables, and the headline for the terminal."""
    from fakemedia.reporting.formats import headline_text, latex_table, markdown_table

    return tables.runs, tables.summary, latex_table(tables), markdown_table(tables), headline_text(tables)


def draw_matrix(tables: Tables, *, method: str) -> Figure:
    """Return the heat map of a method's accuracy matrix."""
    from fakemedia.reporting.figures import matrix_figure

    return matrix_figure(tables.matrices, method)


def draw_curves(tables: Tables, *, measure: str) -> Figure:
    """Return `measure` (accuracy or auc), averaged over the tasks seen, over the stages, for all methods."""
    from fakemedia.reporting.figures import curve_figure

    return curve_figure(tables.curves, tables.stages, measure)


def draw_tasks(tables: Tables, *, measure: str) -> Figure:
    """Return `measure` (forgetting, learning_accuracy or final_accuracy) of each task for all methods."""
    from fakemedia.reporting.figures import task_figure

    return task_figure(tables.tasks, measure)


def write_page(tables: Tables, *, plan: Plan) -> str:
    """Return the report as one HTML page with everything inside."""
    from fakemedia.reporting.figures import draw_figures
    from fakemedia.reporting.page import report_page

    command = f"kedro run --pipelines {plan.sequence} --params seed={plan.seeds[0]},n_seeds={len(plan.seeds)}"
    return report_page(
        tables, draw_figures(tables), configuration=asdict(plan.resolved()),
        versions={"python": platform.python_version(), **{package: version(package) for package in PACKAGES}},
        commands=[command, f"kedro run --pipelines {plan.sequence} --tags reporting  # from the scores, no training"],
    )
