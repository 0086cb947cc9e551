"""One more stage on top of a finished detector: its own method continues from its state and memory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from fakemedia.core.errors import UserError
from fakemedia.core.plan import MethodPlan, Plan, Plugin
from fakemedia.core.plugin import configure
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import FAKE, REAL, Stage
from fakemedia.evaluation.calibration import CalibrationConfig
from fakemedia.evaluation.label_check import Outputs, distances_if_swapped
from fakemedia.evaluation.novelty import spread
from fakemedia.learning.keeping import check_fakes_alone, check_reals
from fakemedia.learning.one_step import calibrate_checkpoint
from fakemedia.learning.sequence import learn_stage, make_method, view_outputs
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.runtime.device import Runtime
from fakemedia.store.pixels import PixelStore

Stores = Mapping[str, PixelStore]
FeatureFolders = Callable[[str], Path]
MAX_COMPARED = 500
"""Pictures of a class that the check of the labels compares, at most."""


def next_plan(parent: Checkpoint, task: str, method: MethodPlan | None = None) -> Plan:
    """Return the plan whose last stage learns `task` after `parent`, by the method of `parent` or by `method`.

    UserError if `parent` knows the task, or if its method learns all tasks together.
    """
    meta = parent.meta
    seen, index = tuple(meta["stage"]["seen"]), meta["stage"]["index"]
    if task in seen:
        raise UserError(f"The detector knows the task {task!r} already", where="--task", expected="a new name",
                        do=f"name the new pictures otherwise, such as {task}_2")
    network = Plugin(**meta["network"])
    training = configure(TrainingConfig, meta["training"], where=f"checkpoint {meta['fingerprint']}")
    parent_method = MethodPlan(label=meta["method"]["name"], method=meta["method"]["name"],
                               settings=meta["method"]["settings"], network=network, tune=meta["tune"],
                               training=training)
    planned = method or parent_method
    if planned.is_joint:
        raise UserError(f"The method {planned.method} learns all tasks together: it does not go on from a detector",
                        where=f"checkpoint {meta['fingerprint']}", expected="a continual method, such as ridge or "
                        "replay", do="add the task to the sequence and run it, or give another --label")
    if planned.network.name != network.name or planned.tune != meta["tune"]:
        raise UserError("The label has another network, or trains other weights of it, than the detector",
                        where=f"--label {planned.label}", expected=f"{network.name}, tune: {meta['tune']}")
    planned = replace(planned, network=network)
    parent_stage = Stage(index=index, name=meta["stage"]["name"], tasks=seen, seen=seen)
    last = Stage(index=index + 1, name=task, tasks=(task,), seen=(*seen, task))
    return Plan(sequence="update", collection="update", stages=(parent_stage, last), network=network, training=training,
                seeds=(meta["seed"],), methods=(planned,), real="stored").resolved()


def check_next_fakes(plan: Plan) -> None:
    """Raise UserError unless the last stage of a `next_plan` can learn its task without real pictures of it."""
    planned, stage = plan.methods[0], plan.stages[-1]
    check_fakes_alone(stage.name, planned.method, make_method(planned, plan.seeds[0], stage),
                      where=f"method {planned.label}")


def check_labels(parent: Checkpoint, train: PixelStore, validation: Stores, *, runtime: Runtime,
                 features: FeatureFolders) -> None:
    """Raise UserError if, by the scores of `parent`, the labels of a new task look swapped.

    `train` holds the new task, `validation` the tasks that `parent` has learned.
    """
    if not ((train.labels == REAL).any() and (train.labels == FAKE).any()):
        return
    known, reals, fakes = class_outputs(parent, train, validation, runtime=runtime, features=features)
    distances = distances_if_swapped(known, reals, fakes) if known else None
    if distances is not None:
        real_distance, fake_distance = distances
        raise UserError(f"The pictures called fake of the task {train.task} look more like the known real pictures "
                        f"(distance {fake_distance:.2f}) than those called real ({real_distance:.2f}): the labels look "
                        "swapped", where=f"task {train.task}",
                        expected="real pictures that look like those of the tasks learned",
                        do="check the folders 0_real and 1_fake; if they are right, learn the task in a sequence")


def class_outputs(parent: Checkpoint, train: PixelStore, validation: Stores, *, runtime: Runtime,
                  features: FeatureFolders) -> tuple[list[Outputs], Outputs, Outputs]:
    """Return the outputs of `parent` for the real pictures of each task of `validation` that has some, and for the real
    pictures and the fakes of `train`; of each at most MAX_COMPARED pictures, evenly spread."""
    outputs = view_outputs(parent, runtime, features)

    def of_class(store: PixelStore, label: int) -> Outputs:
        rows = np.flatnonzero(store.labels == label)
        rows = rows[spread(len(rows), MAX_COMPARED)]
        return Outputs(*outputs.read(store, rows=rows), np.asarray(store.sources, str)[rows])

    with runtime.reproducible():
        known = [of_class(store, REAL) for store in validation.values() if (store.labels == REAL).any()]
        return known, of_class(train, REAL), of_class(train, FAKE)


def learn_next(plan: Plan, parent: Checkpoint, train: Stores, validation: Stores, folder: Path, *, runtime: Runtime,
               calibration: CalibrationConfig, features: FeatureFolders) -> Checkpoint:
    """Learn the last stage of a `next_plan` on top of `parent`, calibrate, measure novelty; save it as `folder`.

    `train` and `validation` hold the stores of all tasks; `features` gives the folder for the features of a task.
    A task of fakes only takes the real pictures that the method has kept. UserError as `learn_stage`, and where the
    method keeps no real pictures.
    """
    label, stage = plan.methods[0].label, plan.stages[-1]
    check_reals({task: train[task] for task in stage.tasks}, {task: store for task, store in train.items()
                                                              if task not in stage.tasks},
                make_method(plan.methods[0], 0, stage), where=f"stage {stage.key}, {label}")
    learned = learn_stage(plan=plan, method=label, seed=plan.seeds[0], stage=stage, parent=parent, train=train,
                          validation=validation, folder=folder, runtime=runtime, features=features)
    calibrate_checkpoint(learned, dict(train), dict(validation), folder, runtime, calibration, features=features)
    return learned
