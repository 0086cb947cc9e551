"""Wiring of the ingestion pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import INDEX, SPLIT
from fakemedia.context import project
from fakemedia.core.plan import Plan
from fakemedia.core.types import SPLITS
from fakemedia.ingest.collection import collection_config
from fakemedia.pipelines.ingestion.nodes import audit_images, index_images, open_source, store_pixels, summarise_audit
from fakemedia.pipelines.wiring import bound

AUDIT = ("findings", "verdict", "figure", "page")


def create_pipeline(plan: Plan) -> Pipeline:
    """Return the nodes that bring the tasks of `plan` into pixel stores."""
    collection, sequence = plan.collection, plan.sequence
    settings = collection_config(project.collection(collection), where=f"collections.{collection}")
    nodes = [
        node(bound(open_source, collection=collection, tasks=plan.tasks), None, "source", name=f"open_{collection}"),
        node(bound(summarise_audit, sequence=sequence),
             [f"{task}__{part}" for part in ("index", "findings") for task in plan.tasks],
             [f"{sequence}__audit_{part}" for part in AUDIT], name=f"summarise_audit_{sequence}"),
    ]
    stores = []
    for task in plan.tasks:
        index, found = f"{task}__index", f"{task}__findings"
        splits = {split: SPLIT.format(collection=collection, task=task, split=split) for split in SPLITS}
        folders = {split: project.path(SPLIT, collection=collection, task=task, split=split) for split in SPLITS}
        pool = folders["train"].with_name("decoded")
        stores += splits.values()
        nodes += [
            node(bound(index_images, task=task, path=project.path(INDEX, collection=collection, task=task), pool=pool,
                       settings=settings), "source", index, name=f"index_{task}"),
            node(bound(audit_images, settings=settings), index, found, name=f"audit_{task}"),
            node(bound(store_pixels, folders=folders, pool=pool, settings=settings), [index, "source", found],
                 list(splits.values()), name=f"store_{task}"),
        ]
    return Pipeline(nodes, namespace=f"{collection}-data", outputs=set(stores), tags="ingestion")
