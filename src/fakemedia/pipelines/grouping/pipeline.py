"""Wiring of the grouping pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import SPLIT
from fakemedia.core.plan import Plan
from fakemedia.pipelines.grouping.nodes import (
    announce_training,
    draw_similarity,
    find_groups,
    measure_distances,
    sample_tasks,
)
from fakemedia.pipelines.wiring import bound


def create_pipeline(plan: Plan) -> Pipeline:
    """Return the nodes that measure and draw how similar the tasks of `plan` are; none for a single task.

    Where the stages are to be groups of tasks, they are found here; as long as they are not known, the last node says
    that training will follow.
    """
    if len(plan.tasks) < 2 or not plan.measures:
        return Pipeline([])
    stores = [SPLIT.format(collection=plan.collection, task=task, split="train") for task in plan.listed]
    measures = tuple(plan.measures)
    nodes = [
        node(bound(sample_tasks, plan=plan), stores, "samples", name="sample_tasks"),
        *(node(bound(measure_distances, plan=plan, measure=measure), "samples", measure, name=f"measure_{measure}")
          for measure in measures),
        node(bound(draw_similarity, measures=measures), ["samples", *measures], "figures", name="draw_similarity"),
    ]
    if plan.grouping is not None:
        nodes.append(node(bound(find_groups, plan=plan), [plan.grouping.measure, "samples", *stores], "groups",
                          name="find_groups"))
        if not plan.stages:
            nodes.append(node(announce_training, "groups", None, name="then_train_by_groups"))
    return Pipeline(nodes, namespace=f"{plan.sequence}-similarity", inputs=set(stores), tags="grouping")
