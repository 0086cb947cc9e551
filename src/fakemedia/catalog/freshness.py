"""Is a result on disk what the parameters and the data of today would make?

Every answer walks back to its causes: scores to their checkpoint, a checkpoint to its parent and its data, a pixel
store to its index and its audit, an index to the files in its folder. Answers are kept until something is saved.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from fakemedia.artefacts.parquet import read_table, stored_identity
from fakemedia.catalog.names import (
    CALIBRATION,
    CHECKPOINT,
    FINDINGS,
    INDEX,
    ROBUSTNESS,
    SCORES,
    SPLIT,
    VALIDATION_SCORES,
)
from fakemedia.context import project
from fakemedia.core.errors import UserError
from fakemedia.core.plan import scores_fingerprint
from fakemedia.core.types import SPLITS

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.core.plan import Plan
    from fakemedia.ingest.collection import CollectionConfig


@project.remembered
def fresh_index(collection: str, task: str) -> pd.DataFrame | None:
    """Return the index of a task if the files it lists are still the files of its source; None otherwise."""
    from fakemedia.forge import is_forged
    from fakemedia.ingest.index import read_index, refreshed, write_index

    path = project.path(INDEX, collection=collection, task=task)
    config = project.forge_config(collection)
    if config is not None and not is_forged(config, Path(project.collection(collection)["source"]["root"]), task):
        return None
    try:
        index = read_index(path)
        found = refreshed(index, project.open_source(collection), task)
        if found is not None and found is not index:  # Files were touched: they need not be compared again.
            write_index(found, path)
        return found
    except UserError:
        return None


@project.remembered
def fresh_findings(collection: str, task: str) -> pd.DataFrame | None:
    """Return the findings about a task if they are those of the fresh index under today's settings; None otherwise."""
    from fakemedia.ingest.audit import audit_identity

    index, path = fresh_index(collection, task), project.path(FINDINGS, collection=collection, task=task)
    if index is None or stored_identity(path) != audit_identity(index, _settings(collection).audit_config):
        return None
    return read_table(path)


@project.remembered
def split_fingerprint(collection: str, task: str, split: str) -> str | None:
    """Return the fingerprint of a pixel store that was made from the fresh index, without what the quarantine takes,
    with today's policy; else None."""
    from fakemedia.ingest.audit import kept_rows
    from fakemedia.ingest.build_store import store_fingerprint
    from fakemedia.store.pixels import PixelStore

    index, findings = fresh_index(collection, task), fresh_findings(collection, task)
    if index is None or findings is None:
        return None
    settings = _settings(collection)
    expected = store_fingerprint(kept_rows(index, findings), split, settings.policy)
    try:
        found = PixelStore.open(project.path(SPLIT, collection=collection, task=task, split=split))
    except UserError:
        return None
    return expected if (found.fingerprint, found.streams) == (expected, settings.stream) else None


def _settings(collection: str) -> CollectionConfig:
    from fakemedia.ingest.collection import collection_config

    return collection_config(project.collection(collection), where=f"collections.{collection}")


def data_fingerprints(plan: Plan, splits: tuple[str, ...] = SPLITS,
                      tasks: tuple[str, ...] | None = None) -> dict[str, dict[str, str]] | None:
    """Return the fingerprints of the splits of `tasks`, by default all of `plan`; None if one is missing or stale."""
    found = {task: {split: split_fingerprint(plan.collection, task, split) for split in splits}
             for task in tasks or plan.tasks}
    if any(value is None for of_task in found.values() for value in of_task.values()):
        return None
    return found  # type: ignore[return-value]


@project.remembered
def train_fingerprints(sequence: str) -> dict[str, str] | None:
    """Return the fingerprints of the training images of all tasks; None if one of them is missing or stale."""
    found = data_fingerprints(project.plan(sequence), ("train",))
    return None if found is None else {task: splits["train"] for task, splits in found.items()}


@project.remembered
def groups_are_fresh(sequence: str) -> bool:
    """Say whether the groups of a sequence are known and were made from today's training images."""
    return (bool(project.plan(sequence).stages)
            and project.recorded_groups(sequence).get("data") == train_fingerprints(sequence) is not None)


@project.remembered
def checkpoint_sha256(sequence: str, method: str, stage: str, seed: int) -> str | None:
    """Return the hash of the weights of a checkpoint that is valid, as its ancestors are; None otherwise."""
    from fakemedia.learning.sequence import expected_fingerprint
    from fakemedia.networks import checkpoint

    plan = project.resolved_plan(sequence)
    wanted = plan.stage(stage)
    data = data_fingerprints(plan, ("train", "val"))
    if data is None:
        return None
    parent, parent_sha256 = plan.parent(method, wanted), None
    if parent is not None:
        parent_sha256 = checkpoint_sha256(sequence, method, parent.key, seed)
        if parent_sha256 is None:
            return None
    folder = project.path(CHECKPOINT, sequence=sequence, method=method, stage=stage, seed=seed)
    if not checkpoint.is_valid(folder, expected_fingerprint(plan, method, seed, wanted, data), parent_sha256):
        return None
    return checkpoint.read_meta(folder)["weights_sha256"]


@project.remembered
def scores_are_fresh(sequence: str, method: str, stage: str, seed: int) -> bool:
    """Say whether the scores of a checkpoint are there and were made from it and from today's test splits."""
    expected = _scores_identity(sequence, method, stage, seed, "test")
    path = project.path(SCORES, sequence=sequence, method=method, stage=stage, seed=seed)
    return expected is not None and stored_identity(path) == expected


@project.remembered
def validation_is_fresh(sequence: str, method: str, stage: str, seed: int) -> bool:
    """Say whether a checkpoint's scores on today's validation splits of the tasks it has seen are there."""
    expected = _scores_identity(sequence, method, stage, seed, "val")
    path = project.path(VALIDATION_SCORES, sequence=sequence, method=method, stage=stage, seed=seed)
    return expected is not None and stored_identity(path) == expected


@project.remembered
def calibration_is_fresh(sequence: str, method: str, stage: str, seed: int) -> bool:
    """Say whether a checkpoint's calibration is there and is what its validation scores give today."""
    from fakemedia.evaluation.calibration import Calibration

    scores = _scores_identity(sequence, method, stage, seed, "val")
    path = project.path(CALIBRATION, sequence=sequence, method=method, stage=stage, seed=seed)
    try:
        found = Calibration.from_json(path.read_text(encoding="utf-8"), where=path)
    except (OSError, UserError):
        return False
    return scores is not None and found.made_from == project.calibration_config().identity(scores)


@project.remembered
def robustness_is_fresh(sequence: str, method: str, seed: int) -> bool:
    """Say whether the scores of the last checkpoint on perturbed images, under today's settings, are there."""
    last = project.plan(sequence).stages[-1].key
    scores, config = _scores_identity(sequence, method, last, seed, "test"), project.robustness(sequence)
    path = project.path(ROBUSTNESS, sequence=sequence, method=method, seed=seed)
    return scores is not None and config is not None and stored_identity(path) == config.identity(scores)


def _scores_identity(sequence: str, method: str, stage: str, seed: int, split: str) -> str | None:
    """Return what a checkpoint's scores on the test or validation splits are made from; None if that is not fresh."""
    plan = project.resolved_plan(sequence)
    weights = checkpoint_sha256(sequence, method, stage, seed)
    data = data_fingerprints(plan, (split,), plan.stage(stage).seen if split == "val" else plan.tasks)
    if weights is None or data is None:
        return None
    return scores_fingerprint(weights_sha256=weights, crop=plan.method(method).training.crop,
                              data={task: splits[split] for task, splits in data.items()})
