"""Nodes of the update pipeline: the champion learns one more task, and the result is registered as the candidate."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from fakemedia.core.errors import UserError
from fakemedia.core.types import REAL, SPLITS, check_name
from fakemedia.runtime.threads import cores

if TYPE_CHECKING:
    from fakemedia.catalog.version_stores import VersionStores
    from fakemedia.context.context import Context
    from fakemedia.core.plan import MethodPlan, Plan
    from fakemedia.ingest.parts import Table
    from fakemedia.networks.checkpoint import Checkpoint
    from fakemedia.registry.client import Registry
    from fakemedia.registry.update_config import UpdateConfig
    from fakemedia.registry.versions import Version
    from fakemedia.store.pixels import PixelStore

logger = logging.getLogger(__name__)
LOCK = ".update.lock"


@dataclass(frozen=True)
class Champion:
    """The detector that an update starts from."""

    registry: Registry
    version: Version
    checkpoint: Checkpoint
    """With the state of its method; its files were verified."""

    @property
    def policy(self) -> str:
        """How the pictures that it has learned were stored."""
        return self.checkpoint.meta["policy"]


@dataclass(frozen=True, kw_only=True)
class Earlier:
    """The pictures of the tasks that the champion knows, by task."""

    train: dict[str, PixelStore]
    validation: dict[str, PixelStore]
    features: Callable[[str], Path]
    """Returns the folder that keeps the features of a task's pictures."""


@contextmanager
def updating(context: Context) -> Iterator[None]:
    """Hold the lock of updates; UserError if another command holds it."""
    from filelock import FileLock, Timeout

    folder = context.root / context.registry.folder
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(timeout=1)
    except Timeout:
        raise UserError("Another update is running in this project", where=folder, expected="one at a time",
                        do="wait until it ends") from None
    try:
        yield
    finally:
        lock.release()


def open_champion(*, context: Context) -> Champion:
    """Return the champion; UserError without one, or if its files were changed."""
    from fakemedia.networks.checkpoint import load
    from fakemedia.registry.versions import CHAMPION, find_version, open_version

    registry = context.open_registry()
    version = find_version(registry, CHAMPION)
    return Champion(registry, version, load(open_version(registry, version)))


def plan_task(request: UpdateConfig, champion: Champion, *, context: Context) -> Plan:
    """Return the plan whose last stage learns the task on top of the champion.

    UserError: a task that it knows, an unknown label, a method that cannot be continued.
    """
    from fakemedia.learning.next_stage import next_plan

    return next_plan(champion.checkpoint, check_name(request.task), _method(champion, request.label, context))


def index_folder(request: UpdateConfig, champion: Champion, plan: Plan | None, *, context: Context) -> Table:
    """Return the index of the pictures of the new task, without those left out.

    Missing splits are made by rule. UserError, which names the first file, if the audit refuses the pictures, and,
    before any is read, if there are fakes only and the method of `plan` cannot learn them, or if the champion, whose
    tasks have no plan, or a former one learned the task from other pictures: those stay as they are.
    """
    from fakemedia.artefacts.manifest import is_current
    from fakemedia.catalog.names import INDEX
    from fakemedia.catalog.version_stores import UPDATE
    from fakemedia.ingest.audit import WARNING, accept, audit_task
    from fakemedia.ingest.collection import AuditConfig
    from fakemedia.ingest.index import index_parts, index_recipe, refreshed
    from fakemedia.ingest.parts import read_index
    from fakemedia.learning.next_stage import check_next_fakes

    task, data = check_name(request.task), context.root / request.data
    if not request.data or not data.is_dir():
        raise UserError("The folder of the new task does not exist", where=data, expected="a folder with 1_fake/ and, "
                        "if there are real pictures, 0_real/, in train/, val/ and test/ or not split yet")
    folder, recipe = context.path(INDEX, collection=UPDATE, task=task), index_recipe(task, {"name": "archive"})
    previous = None
    if is_current(folder, recipe, folder=True):
        with suppress(UserError):
            previous = read_index(folder)
    with source_of(task, data) as source:
        if task not in source.tasks():
            raise UserError("The folder holds no picture in 1_fake/ or 0_real/", where=data, do="sort the pictures "
                            "into these folders; see docs/how-to/own-data.md", expected="pictures of a new task")
        if (plan is None or task in _updates(champion.registry)) and (
                previous is None or refreshed(previous, source, task) is None):
            raise UserError(f"{'The' if plan is None else 'A former'} champion knows the task {task!r} already, from "
                            "other pictures", where=data, expected="the name of a new task", do="rename the folder")
        if plan is not None and all(item.label != REAL for item in source.items(task)):
            check_next_fakes(plan)
        index = index_parts(source, task, folder, recipe, workers=cores(), previous=previous)
    findings = audit_task(index, AuditConfig())
    for row in findings.loc[(findings["severity"] == WARNING) | (findings["finding"] == "skipped")].to_dict("records"):
        logger.warning("%s", ": ".join(filter(None, (row["path"] or task, row["finding"], row["detail"]))))
    return accept(index, findings, AuditConfig(), fakes_only=True)


def _updates(registry: Registry) -> set[str]:
    """Return the tasks that updates added to versions that were ever promoted."""
    from fakemedia.catalog.version_stores import UPDATE
    from fakemedia.registry.update_record import was_promoted
    from fakemedia.registry.versions import list_versions

    promoted = was_promoted(registry)
    return {version.facts.tasks[-1] for version in list_versions(registry)
            if version.number in promoted and version.facts.origin.partition("/")[0] == UPDATE}


@contextmanager
def source_of(task: str, data: Path) -> Iterator:
    """Yield the source of the pictures in `data` as those of `task`."""
    from fakemedia.core import plugin

    with TemporaryDirectory() as root:
        (Path(root) / task).symlink_to(data.resolve(), target_is_directory=True)
        try:
            yield plugin.create("sources", "archive", {"root": root})
        except UserError as error:
            raise type(error)(str(error).replace(root, str(data.resolve().parent))) from error


def store_folder(request: UpdateConfig, champion: Champion, index: Table, *,
                 context: Context) -> dict[str, PixelStore]:
    """Return the pixel stores of the new task by split, stored as the champion's pictures were."""
    from fakemedia.catalog.names import SPLIT
    from fakemedia.catalog.version_stores import UPDATE
    from fakemedia.ingest.build_store import ensure_store

    with source_of(request.task, context.root / request.data) as source:
        return {split: ensure_store(index, source, split, policy=champion.policy, workers=cores(), folder=context.path(
            SPLIT, collection=UPDATE, task=request.task, split=split)) for split in SPLITS}


def gather_earlier(champion: Champion, *, context: Context) -> Earlier:
    """Return the pictures of the tasks that the champion knows; UserError, which names the first that is missing."""
    project, tasks = _project(champion, context), champion.version.facts.tasks
    return Earlier(train=project.stores(tasks, "train"), validation=project.stores(tasks, "val"),
                   features=project.features)


def check_task(champion: Champion, stores: dict[str, PixelStore], earlier: Earlier, *,
               context: Context) -> dict[str, PixelStore]:
    """Return the pixel stores of the new task; UserError if their labels look swapped to the champion."""
    from fakemedia.learning.next_stage import check_labels

    check_labels(champion.checkpoint, stores["train"], earlier.validation, runtime=context.runtime,
                 features=earlier.features)
    return stores


def learn_task(plan: Plan, champion: Champion, stores: dict[str, PixelStore], earlier: Earlier, *,
               context: Context) -> Path:
    """Learn the task on top of the champion and return the folder of the checkpoint, calibrated and with novelty."""
    from fakemedia.catalog.names import CHECKPOINT
    from fakemedia.learning.next_stage import learn_next

    stage = plan.stages[-1]
    folder = context.path(CHECKPOINT, sequence=plan.sequence, label=plan.methods[0].label, seed=plan.seeds[0],
                          stage=stage.key)
    learn_next(plan, champion.checkpoint, {**earlier.train, stage.name: stores["train"]},
               {**earlier.validation, stage.name: stores["val"]}, folder, runtime=context.runtime,
               calibration=context.calibration, features=earlier.features)
    return folder


def _project(champion: Champion, context: Context) -> VersionStores:
    from fakemedia.catalog.version_stores import VersionStores, ancestors
    from fakemedia.registry.versions import list_versions

    return VersionStores(context, ancestors(champion.version, list_versions(champion.registry)))


def _method(champion: Champion, label: str | None, context: Context) -> MethodPlan | None:
    """Return the method of `label` in the sequence that the champion comes from; None: its own."""
    if label is None:
        return None
    sequence = champion.version.facts.origin.partition("/")[0]
    if sequence not in context.sequences:
        raise UserError("The champion comes from no configured sequence, so it has no labels", where=f"--label {label}",
                        do="leave --label out, to continue with the champion's own method")
    return context.plan(sequence).rooted(context.root).method(label)


def register_candidate(champion: Champion, folder: Path, *, context: Context) -> Version:
    """Register the checkpoint as the candidate, with the champion as its parent; return the version."""
    from fakemedia.catalog.handles import card_info
    from fakemedia.registry.versions import register_checkpoint

    return register_checkpoint(champion.registry, folder, card_info(folder, context, "unknown"),
                               parent=champion.version.number)


def run_update(context: Context, request: UpdateConfig) -> Version:
    """Run all nodes of the update and return the candidate."""
    with updating(context):
        champion = open_champion(context=context)
        plan = plan_task(request, champion, context=context)
        index = index_folder(request, champion, plan, context=context)
        stores, earlier = (store_folder(request, champion, index, context=context),
                           gather_earlier(champion, context=context))
        check_task(champion, stores, earlier, context=context)
        return register_candidate(champion, learn_task(plan, champion, stores, earlier, context=context),
                                  context=context)
