"""Wiring of the ingestion pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia import project
from fakemedia.catalog.names import FINDINGS, INDEX, SOURCE, SPLIT
from fakemedia.core.plan import Plan
from fakemedia.core.types import SPLITS
from fakemedia.data.settings import collection_config
from fakemedia.pipelines.ingestion.nodes import (
    audit_images,
    index_images,
    open_source,
    store_pixels,
    summarise_audit,
)
from fakemedia.pipelines.wiring import bound

AUDIT = ("findings", "verdict", "figure", "page")


def create_pipeline(plan: Plan) -> Pipeline:
    """Return the nodes that bring the tasks of `plan` into pixel stores."""
    collection, sequence = plan.collection, plan.sequence
    settings = collection_config(project.collection(collection), where=f"collections.{collection}")
    source = SOURCE.format(collection=collection)
    indexes = [INDEX.format(collection=collection, task=task) for task in plan.tasks]
    findings = [FINDINGS.format(collection=collection, task=task) for task in plan.tasks]
    nodes = [
        node(bound(open_source, collection=collection, tasks=plan.tasks), None, source, name=f"open_{collection}"),
        node(bound(summarise_audit, sequence=sequence), [*indexes, *findings],
             [f"{sequence}__audit_{part}" for part in AUDIT], name=f"audit_{sequence}_summary"),
    ]
    for task, index, found in zip(plan.tasks, indexes, findings, strict=True):
        splits = {split: SPLIT.format(collection=collection, task=task, split=split) for split in SPLITS}
        folders = {split: project.path(SPLIT, collection=collection, task=task, split=split) for split in SPLITS}
        pool = folders["train"].with_name("decoded")
        nodes += [
            node(bound(index_images, task=task, path=project.path(INDEX, collection=collection, task=task), pool=pool,
                       settings=settings), source, index, name=f"index_{collection}_{task}"),
            node(bound(audit_images, settings=settings), index, found, name=f"audit_{collection}_{task}"),
            node(bound(store_pixels, folders=folders, pool=pool, settings=settings), [index, source, found],
                 list(splits.values()), name=f"store_{collection}_{task}"),
        ]
    return Pipeline(nodes, tags="ingestion")
