"""Wiring of the grouping pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import SIMILARITY_PARAMETERS, SUITE
from fakemedia.context.context import Context
from fakemedia.core.plan import Plan
from fakemedia.pipelines.grouping.nodes import (
    announce_training,
    draw_similarity,
    find_groups,
    measure_distances,
    sample_tasks,
)
from fakemedia.pipelines.wiring import bound


def create_pipeline(context: Context, plan: Plan) -> Pipeline:
    """Return the nodes that measure and draw how similar the tasks of `plan` are; none for a single task.

    If the stages are groups of tasks, they are found here. While they are unknown, the last node logs that training
    follows.
    """
    if len(plan.tasks) < 2 or not plan.measures:
        return Pipeline([])
    train = SUITE.format(sequence=plan.sequence, split="train")
    measures = tuple(plan.measures)
    nodes = [
        node(bound(sample_tasks, context=context, plan=plan), [SIMILARITY_PARAMETERS, train], "samples",
             name=f"sample_tasks_{plan.sequence}"),
        *(node(bound(measure_distances, context=context, sequence=plan.sequence, measure=measure), "samples", measure,
               name=f"measure_{measure}_{plan.sequence}") for measure in measures),
        node(bound(draw_similarity, measures=measures), ["samples", *measures], "figures",
             name=f"draw_similarity_{plan.sequence}"),
    ]
    if plan.grouping is not None:
        nodes.append(node(bound(find_groups, plan=plan), [plan.grouping.measure, "samples", train], "groups",
                          name=f"find_groups_{plan.sequence}"))
        if not plan.stages:
            nodes.append(node(announce_training, "groups", None, name=f"announce_training_{plan.sequence}"))
    return Pipeline(nodes, namespace=f"{plan.sequence}-similarity", inputs={train},
                    parameters={SIMILARITY_PARAMETERS}, tags="grouping")
