"""Wiring of the ingestion pipeline."""

from collections.abc import Sequence

from kedro.pipeline import Pipeline, node
from kedro.pipeline.node import Node

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


def create_pipeline(context: Context, plans: Sequence[Plan]) -> Pipeline:
    """Return the nodes that ingest the tasks of `plans`, all of one collection, into pixel stores; each task once."""
    collection = plans[0].collection
    tasks = tuple(dict.fromkeys(task for plan in plans for task in plan.tasks))
    settings = COLLECTION_PARAMETERS.format(collection=collection)
    source_node = node(bound(open_source, context=context, collection=collection, tasks=tasks), settings, "source",
                       name=f"open_{collection}")
    stores = {task: {split: SPLIT.format(collection=collection, task=task, split=split) for split in SPLITS}
              for task in tasks}
    nodes = [source_node, *(audit_node for plan in plans for audit_node in _audit_nodes(plan)),
             *(task_node for task in tasks for task_node in _task_nodes(context, plans, task, settings, stores[task]))]
    return Pipeline(nodes, namespace=f"{collection}-data", parameters={settings}, tags="ingestion",
                    outputs={name for names in stores.values() for name in names.values()})


def _audit_nodes(plan: Plan) -> list[Node]:
    """Return the nodes that report the findings about the tasks of a sequence."""
    sequence = plan.sequence
    parts = [f"{task}__{part}" for part in ("index", "findings") for task in plan.tasks]
    return [
        node(summarise_audit, parts, [f"{sequence}__audit_{part}" for part in ("findings", "verdict", "figure")],
             name=f"summarise_audit_{sequence}"),
        node(bound(write_audit_page, sequence=sequence),
             [f"{sequence}__audit_findings", f"{sequence}__audit_figure", *(f"{task}__index" for task in plan.tasks)],
             _page(plan), name=f"write_audit_page_{sequence}"),
    ]


def _task_nodes(context: Context, plans: Sequence[Plan], task: str, settings: str,
                splits: dict[str, str]) -> list[Node]:
    """Return the nodes that index, audit and store a task, after the audits of all `plans` that have it."""
    collection, task_plans = plans[0].collection, [plan for plan in plans if task in plan.tasks]
    folders = {split: context.path(SPLIT, collection=collection, task=task, split=split) for split in SPLITS}
    pool = folders["train"].with_name("decoded")
    index, findings = f"{task}__index", f"{task}__findings"
    audit = context.path(AUDIT_PAGE, sequence=task_plans[0].sequence, collection=collection)
    return [
        node(bound(index_images, task=task, pool=pool, cluster=context.cluster,
                   folder=context.path(INDEX, collection=collection, task=task)),
             [settings, "source"], index, name=f"index_{task}"),
        node(audit_images, [settings, index], findings, name=f"audit_{task}"),
        node(bound(store_pixels, folders=folders, pool=pool, audit=audit,
                   fakes_only=all(plan.real == "stored" for plan in task_plans)),
             [settings, index, "source", findings, *map(_page, task_plans)], list(splits.values()),
             name=f"store_{task}"),
    ]


def _page(plan: Plan) -> str:
    return f"{plan.sequence}__audit_page"


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
