"""Wiring of the grouping pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import SPLIT
from fakemedia.core.plan import Plan
from fakemedia.pipelines.grouping.nodes import (
    announce_training,
    draw_agreement,
    draw_distances,
    draw_spectra,
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
        node(draw_spectra, "samples", "figure_spectra", name="draw_spectra"),
    ]
    for measure in measures:
        nodes += [
            node(bound(measure_distances, plan=plan, measure=measure), "samples", measure, name=f"measure_{measure}"),
            node(bound(draw_distances, measure=measure), measure, f"figure_{measure}", name=f"draw_{measure}"),
        ]
    if len(measures) > 1 and len(plan.tasks) > 2:
        nodes.append(node(bound(draw_agreement, measures=measures), list(measures), "figure_agreement",
                          name="draw_agreement"))
    if plan.grouping is not None:
        nodes.append(node(bound(find_groups, plan=plan), [plan.grouping.measure, "samples", *stores], "groups",
                          name="find_groups"))
        if not plan.stages:
            nodes.append(node(announce_training, "groups", None, name="then_train_by_groups"))
    return Pipeline(nodes, namespace=f"{plan.sequence}-similarity", inputs=set(stores), tags="grouping")
