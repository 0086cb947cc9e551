"""Wiring of the ingestion pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import AUDIT_PAGE, COLLECTION_PARAMETERS, INDEX, SPLIT, SUITE
from fakemedia.context.context import Context
from fakemedia.core.plan import Plan
from fakemedia.core.types import SPLITS
from fakemedia.pipelines.ingestion.nodes import (
    audit_images,
    gather,
    index_images,
    open_source,
    store_pixels,
    summarise_audit,
    write_audit_page,
)
from fakemedia.pipelines.wiring import bound


def create_pipeline(context: Context, plan: Plan) -> Pipeline:
    """Return the nodes that ingest the tasks of `plan` into pixel stores."""
    collection, sequence = plan.collection, plan.sequence
    settings, page = COLLECTION_PARAMETERS.format(collection=collection), f"{sequence}__audit_page"
    nodes = [
        node(bound(open_source, context=context, collection=collection, tasks=plan.tasks), settings, "source",
             name=f"open_{collection}"),
        node(summarise_audit, [f"{task}__{part}" for part in ("index", "findings") for task in plan.tasks],
             [f"{sequence}__audit_{part}" for part in ("findings", "verdict", "figure")],
             name=f"summarise_audit_{sequence}"),
        node(bound(write_audit_page, sequence=sequence),
             [f"{sequence}__audit_findings", f"{sequence}__audit_figure", *(f"{task}__index" for task in plan.tasks)],
             page, name=f"write_audit_page_{sequence}"),
    ]
    stores = []
    audit = context.path(AUDIT_PAGE, sequence=sequence, collection=collection)
    for task in plan.tasks:
        index, found = f"{task}__index", f"{task}__findings"
        splits = {split: SPLIT.format(collection=collection, task=task, split=split) for split in SPLITS}
        folders = {split: context.path(SPLIT, collection=collection, task=task, split=split) for split in SPLITS}
        pool = folders["train"].with_name("decoded")
        stores += splits.values()
        nodes += [
            node(bound(index_images, task=task, path=context.path(INDEX, collection=collection, task=task), pool=pool),
                 [settings, "source"], index, name=f"index_{task}"),
            node(audit_images, [settings, index], found, name=f"audit_{task}"),
            node(bound(store_pixels, folders=folders, pool=pool, audit=audit,
                       fakes_only=plan.real == "stored"),
                 [settings, index, "source", found, page], list(splits.values()),
                 name=f"store_{task}"),
        ]
    return Pipeline(nodes, namespace=f"{collection}-data", outputs=set(stores), parameters={settings},
                    tags="ingestion")


def gather_splits(plan: Plan) -> Pipeline:
    """Return the nodes that gather each split of all tasks of `plan`, in the box of the data."""
    stores = {split: [SPLIT.format(collection=plan.collection, task=task, split=split) for task in plan.listed]
              for split in SPLITS}
    suites = {split: SUITE.format(sequence=plan.sequence, split=split) for split in SPLITS}
    labels = [method.label for method in plan.methods]
    tags = {"train": ["training", "grouping", *labels], "val": ["training", *labels],
            "test": ["training", "robustness", *labels]}
    return Pipeline(
        [node(gather, stores[split], suites[split], name=f"gather_{plan.sequence}_{split}", tags=tags[split])
         for split in SPLITS],
        namespace=f"{plan.collection}-data", inputs={name for names in stores.values() for name in names},
        outputs=set(suites.values()))
