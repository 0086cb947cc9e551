"""Wiring of the grouping pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import SPLIT
from fakemedia.core.plan import Plan
from fakemedia.pipelines.grouping.nodes import draw_distances, measure_distances, sample_tasks
from fakemedia.pipelines.wiring import bound

MEASURES = ("fingerprint", "transfer")


def create_pipeline(plan: Plan) -> Pipeline:
    """Return the nodes that measure and draw how similar the tasks of `plan` are; none for a single task."""
    if len(plan.tasks) < 2:
        return Pipeline([])
    stores = [SPLIT.format(collection=plan.collection, task=task, split="train") for task in plan.tasks]
    nodes = [node(bound(sample_tasks, plan=plan), stores, "samples", name="sample_tasks")]
    for measure in MEASURES:
        nodes += [
            node(bound(measure_distances, measure=measure), "samples", measure, name=f"measure_{measure}"),
            node(bound(draw_distances, measure=measure), measure, f"figure_{measure}", name=f"draw_{measure}"),
        ]
    return Pipeline(nodes, namespace=f"{plan.sequence}-similarity", inputs=set(stores), tags="grouping")
