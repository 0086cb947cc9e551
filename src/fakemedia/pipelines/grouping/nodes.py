"""Nodes of the grouping pipeline."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from fakemedia.core.plan import Plan
    from fakemedia.data.pixels import PixelStore

IMAGES = 1000


def measure_distances(*stores: PixelStore, measure: str, plan: Plan) -> pd.DataFrame:
    """Return the distances between the tasks' training images by `measure`: a row a task, first column `task`.

    Of each task at most IMAGES images are looked at, in centre crops of the size that the network sees.
    """
    from fakemedia.core import plugin
    from fakemedia.similarity.base import distance_matrix, sample_task

    samples = [sample_task(store, maximum=IMAGES, crop=plan.training.crop, seed=plan.seeds[0]) for store in stores]
    distances = distance_matrix(plugin.create("similarity", measure, {}), samples)
    return distances.rename_axis("task").reset_index()


def draw_distances(distances: pd.DataFrame, *, measure: str) -> Figure:
    """Return the heat map of the distances."""
    from fakemedia.reporting.figures import distance_figure

    return distance_figure(distances.set_index("task"), measure)
