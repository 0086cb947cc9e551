"""Every figure of the report, drawn from its tables by a pure function."""

from __future__ import annotations

from matplotlib.figure import Figure

from fakemedia.reporting.figures.comparison import curve_figure, task_figure
from fakemedia.reporting.figures.matrices import distance_figure, matrix_figure
from fakemedia.reporting.tables import Tables

__all__ = ["curve_figure", "distance_figure", "draw_figures", "matrix_figure", "task_figure"]


def draw_figures(tables: Tables) -> dict[str, Figure]:
    """Return all figures by name: the averages over the stages, the measures per task, and a matrix per method."""
    scored = tables.matrices.dropna(subset="mean")["method"].unique()
    return {
        "average_accuracy": curve_figure(tables.curves, tables.stages, "accuracy"),
        "average_auc": curve_figure(tables.curves, tables.stages, "auc"),
        "forgetting": task_figure(tables.tasks, "forgetting"),
        "learning_accuracy": task_figure(tables.tasks, "learning_accuracy"),
        "final_accuracy": task_figure(tables.tasks, "final_accuracy"),
        **{f"matrix_{method}": matrix_figure(tables.matrices, method) for method in tables.methods
           if method in scored},
    }
