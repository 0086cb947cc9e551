"""Wiring of the ingestion pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia import project
from fakemedia.catalog.names import INDEX, SOURCE, SPLIT, SUITE
from fakemedia.core.plan import Plan
from fakemedia.core.types import SPLITS
from fakemedia.pipelines.ingestion.nodes import gather, index_images, open_source, store_pixels
from fakemedia.pipelines.wiring import bound


def create_pipeline(plan: Plan) -> Pipeline:
    """Return the nodes that bring the tasks of `plan` into pixel stores, and gather the suites for evaluation."""
    collection, settings = plan.collection, project.collection(plan.collection)
    source = SOURCE.format(collection=collection)
    nodes = [node(bound(open_source, collection=collection, tasks=plan.tasks), None, source, name=f"open_{collection}")]
    for task in plan.tasks:
        index = INDEX.format(collection=collection, task=task)
        splits = {split: SPLIT.format(collection=collection, task=task, split=split) for split in SPLITS}
        folders = {split: project.path(SPLIT, collection=collection, task=task, split=split) for split in SPLITS}
        policy = settings.get("policy", "native")
        nodes += [
            node(bound(index_images, task=task), source, index, name=f"index_{collection}_{task}"),
            node(bound(store_pixels, folders=folders, policy=policy), [index, source], list(splits.values()),
                 name=f"store_{collection}_{task}"),
        ]
    nodes += [
        node(gather, [SPLIT.format(collection=collection, task=task, split=split) for task in plan.tasks],
             SUITE.format(sequence=plan.sequence, split=split), name=f"gather_{plan.sequence}_{split}")
        for split in ("val", "test")
    ]
    return Pipeline(nodes, tags="ingestion")
