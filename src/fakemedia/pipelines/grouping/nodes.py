"""Nodes of the grouping pipeline."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from fakemedia.core.invocation import program

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.context.context import Context
    from fakemedia.core.plan import Plan
    from fakemedia.core.stages import SimilarityConfig
    from fakemedia.reporting.rendering import RenderedFigure
    from fakemedia.similarity.measure import TaskSample
    from fakemedia.store.pixels import PixelStore

logger = logging.getLogger(__name__)


def sample_tasks(similarity: SimilarityConfig, train: dict[str, PixelStore], *, context: Context,
                 plan: Plan) -> list[TaskSample]:
    """Return centre crops, of the size that the network sees, of training images of each task.

    Their spectra and features are stored on the disk, so that a second run does not compute them again.
    """
    from fakemedia.similarity.measure import sample_task

    network, key = _feature_network(similarity, context, plan)
    return [sample_task(store, maximum=similarity.images, crop=plan.training.crop, seed=similarity.seed,
                        network=network, network_key=key, folder=context.features_folder(plan.collection, store.task))
            for store in train.values()]


def _feature_network(similarity: SimilarityConfig, context: Context, plan: Plan) -> tuple[Any, str]:
    """Return the network whose features the measures read, on the device, and its fingerprint; None if none does."""
    from fakemedia.core import plugin
    from fakemedia.core.hashing import fingerprint
    from fakemedia.core.rng import derive
    from fakemedia.learning.recipes import identified

    if all(measure.reads != "features" for measure in context.measures(plan.sequence).values()):
        return None, ""
    network_config, seed = context.feature_network(plan), derive(similarity.seed, "network")
    network = plugin.create("networks", network_config.name, network_config.settings, seed)
    return context.runtime.place(network), fingerprint([
        identified(network_config), seed, plugin.constant("networks", network_config.name, "VERSION", 1)])


def measure_distances(samples: list[TaskSample], *, context: Context, sequence: str, measure: str) -> pd.DataFrame:
    """Return the distances between the tasks by `measure`: one row per task, first column `task`."""
    from fakemedia.similarity.measure import distance_matrix

    distances = distance_matrix(context.measures(sequence)[measure], samples)
    return distances.rename_axis("task").reset_index()


def find_groups(distances: pd.DataFrame, samples: list[TaskSample], train: dict[str, PixelStore], *,
                plan: Plan) -> dict[str, Any]:
    """Return the groups of tasks that the sequence learns in turn, and the inputs that they were made from."""
    from fakemedia.similarity import grouping, transfer

    assert plan.grouping is not None
    difficulty = transfer.hardness(samples, transfer.Config()) if plan.grouping.order == "hardest_first" else None
    grouped = grouping.group_tasks(distances.set_index("task"), plan.grouping, difficulty)
    logger.info("Groups of %s by %s: %s", plan.sequence, plan.grouping.measure,
                ", ".join(" + ".join(group) for group in grouped.groups))
    return grouping.record(grouped, plan, {task: store.fingerprint for task, store in train.items()})


def announce_training(groups: dict[str, Any]) -> None:
    """Log that training by these groups needs another run: its nodes can be made only when the groups are known."""
    logger.info("The groups of %s are known now: the next run trains by them (a plain `%s run` does both).",
                groups["sequence"], program())


def draw_similarity(samples: list[TaskSample], *distances: pd.DataFrame,
                    measures: tuple[str, ...]) -> list[RenderedFigure]:
    """Return the figures of how similar the tasks are, in all file formats; `distances` are those by `measures`."""
    from fakemedia.reporting.similarity_figures import draw_similarity
    from fakemedia.similarity.fingerprint import find_trace

    tables = {name: table.set_index("task") for name, table in zip(measures, distances, strict=True)}
    return draw_similarity(tables, {sample.task: find_trace(sample) for sample in samples})
