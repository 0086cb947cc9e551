"""Nodes of the grouping pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from fakemedia.core.plan import Plan
    from fakemedia.data.pixels import PixelStore
    from fakemedia.similarity.base import TaskSample

IMAGES = 1000


def sample_tasks(*stores: PixelStore, plan: Plan) -> list[TaskSample]:
    """Return centre crops, of the size that the network sees, of at most IMAGES training images of each task."""
    from fakemedia.similarity.base import sample_task

    return [sample_task(store, maximum=IMAGES, crop=plan.training.crop, seed=plan.seeds[0]) for store in stores]


def measure_distances(samples: list[TaskSample], *, measure: str) -> pd.DataFrame:
    """Return the distances between the tasks by `measure`: a row a task, first column `task`."""
    from fakemedia.core import plugin
    from fakemedia.similarity.base import distance_matrix

    distances = distance_matrix(plugin.create("similarity", measure, {}), samples)
    return distances.rename_axis("task").reset_index()


def draw_distances(distances: pd.DataFrame, *, measure: str) -> Figure:
    """Return the heat map of the distances."""
    from fakemedia.reporting.figures import distance_figure

    return distance_figure(distances.set_index("task"), measure)
