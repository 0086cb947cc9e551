"""Stages in sequence: which ones a method trains, what each depends on, how one is learned and scored."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, replace
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import torch

from fakemedia.artefacts.manifest import Recipe
from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.hashing import fingerprint
from fakemedia.core.plan import MethodPlan, Plan
from fakemedia.core.rng import derive
from fakemedia.core.training import TrainingConfig
from fakemedia.core.tune import read_tune
from fakemedia.core.types import Stage
from fakemedia.evaluation.novelty import Novelty
from fakemedia.evaluation.perturbations.perturbation import RobustnessConfig
from fakemedia.evaluation.perturbed import score_perturbed
from fakemedia.learning.correction import affine_correction
from fakemedia.learning.head_trainer import HeadTrainer, fitting
from fakemedia.learning.keeping import (
    check_memory,
    check_own_reals,
    check_reals,
    memory_after,
    with_stored_reals,
    write_memory,
)
from fakemedia.learning.recipes import stage_recipe
from fakemedia.learning.restoring import (
    body_weights,
    frozen_body,
    restore,
    restore_head,
    restore_network,
    same_network,
)
from fakemedia.learning.resume import remove_resume
from fakemedia.learning.steps import warn_of_few_steps
from fakemedia.learning.trainer import StageTrainer
from fakemedia.learning.training_loop import to_device
from fakemedia.learning.view_outputs import ViewOutputs, score_stores, validate_stores
from fakemedia.memory.memory import Memory, without_memory
from fakemedia.methods.method import GradientMethod, Method, StageData, facts
from fakemedia.networks.checkpoint import Checkpoint, is_made_by, load, make_checkpoint, recover, save
from fakemedia.networks.detector import Detector
from fakemedia.networks.tuning import merge, tune
from fakemedia.networks.views import read_views
from fakemedia.runtime.device import Runtime
from fakemedia.store.batches import TrainBatches
from fakemedia.store.decoders import differences, merged
from fakemedia.store.pixels import PixelStore

logger = logging.getLogger(__name__)
Stores = Mapping[str, PixelStore]
VERSIONS = {name: version(name) for name in ("fakemedia", "torch", "timm")}


def learn_stage(*, plan: Plan, method: str, seed: int, stage: Stage, parent: Checkpoint | None, train: Stores,
                validation: Stores, folder: Path | None, runtime: Runtime,
                features: Callable[[str], Path] | None = None,
                on_epoch: Callable[[Mapping[str, Any]], None] | None = None,
                on_saved: Callable[[Path], None] | None = None) -> Checkpoint:
    """Learn `stage` by `method` from the parent's checkpoint, save it as `folder` and return it.

    `plan` is resolved. `train` and `validation` hold at least the stores of `plan.trained_tasks` and
    `plan.validation_tasks`. A method that joins tasks ignores `parent`; without one, a stage begins with the
    start network. If the parent was made by another method, this one first reviews the training images of the earlier
    tasks, which `train` must then hold too. If only the head is trained, `features` gives the folder for the
    features of a task's pictures; None: a temporary one, for a single process.

    If `folder` already holds the result, it is read and nothing is trained; an interrupted stage continues from the
    state that was saved last; `on_saved` is called with `folder` after each save of it. Raises UserError for a missing
    store, a parent of another network, and what the trainer and `save` raise.
    """
    planned = plan.method(method).at(stage)
    learner = make_method(planned, seed, stage)
    parent = None if planned.is_joint else parent
    earlier = tuple(task for task in stage.seen if task not in stage.tasks)
    reviewed = earlier if parent is not None and parent.meta["method"]["name"] != planned.method else ()
    _check_tune(planned, parent)
    learned = _pick(train, plan.trained_tasks(method, stage), stage, "training")
    reviewed_stores = _pick(train, reviewed, stage, "training")
    check_own_reals(learned, planned.method, where=f"stage {stage.key}, {method}")
    validation = _pick(validation, plan.validation_tasks(method, stage), stage, "validation")
    data_hashes = _by_task(train={task: store.fingerprint for task, store in (reviewed_stores | learned).items()},
                           val={task: store.fingerprint for task, store in validation.items()})
    start = parent.content if parent is not None else None
    recipe = stage_recipe(method=planned, seed=seed, stage=stage, data=data_hashes, parent=start)
    if folder is not None and _is_saved(folder, recipe, runtime):
        return load(folder)

    pictures = [*(reviewed_stores | learned).values()]
    decoder, faces = merged(store.decoder for store in pictures), pictures[0].faces
    if parent is not None:
        decoder = _with_decoder_of(parent, decoder, where=f"{method}, stage {stage.key}")
        _check_faces(parent, faces, where=f"{method}, stage {stage.key}")
    if isinstance(learner, GradientMethod) and runtime.rank == 0:
        warn_of_few_steps(plan, method, stage, train)
    computed_with = runtime.facts()
    tuned = read_tune(planned.tune)
    body = frozen_body(parent, runtime) if tuned.kind == "head" and same_network(planned.network, parent) else None
    network = restore_head(parent) if body and parent else restore(planned.network, seed, parent)
    network.correction = None
    network.keeps_statistics = parent is not None and planned.training.norm_statistics == "frozen_after_first"
    network = runtime.place(tune(network, tuned, derive(seed, "tune", stage.key)))
    trainer = StageTrainer(
        config=planned.training, runtime=runtime, seed=derive(seed, "stage", stage.key), folder=folder,
        on_epoch=on_epoch, on_saved=on_saved,
        label=f"{method} seed {seed}, stage {stage.index} of {plan.stages[-1].index} {stage.name}",
        identity={"parameters or data": replace(recipe, inputs={**recipe.inputs, "parent": ""}).fingerprint,
                  "parent checkpoint": start or "",
                  "versions": fingerprint(VERSIONS), "code": _code_hash(), "device": fingerprint(computed_with)})
    selection_stores = {task: validation[task] for task in plan.validated_tasks(method, stage)}
    data = StageData(**vars(stage), train=learned, validation=selection_stores,
                     seed=derive(seed, "batches", stage.key))
    memory = Memory.read(parent.method_state) if parent is not None and learner.memory is not None else Memory()
    standardised = learned if parent is None and isinstance(learner, GradientMethod) else {}
    with runtime.reproducible(), fitting(
            trainer, network, tuned, features, standardised, train, body) as (trainer, detector):
        if reviewed:
            learner.review(StageData(index=stage.index - 1, name=stage.name, tasks=earlier, seen=earlier,
                                     train=reviewed_stores, seed=derive(seed, "batches", "review", stage.key)),
                           detector, trainer)
        elif parent is not None:
            learner.load_state_dict(to_device(without_memory(parent.method_state), runtime.device))
        if learner.memory is not None:
            if reviewed:
                memory = memory_after(memory, reviewed_stores, learner.memory, derive(seed, "memory"), detector,
                                      trainer)
                learner.remember(memory, detector, trainer)
            check_memory(learner.memory, memory, learned, where=f"stage {stage.key}, {method}")
            data = replace(data, memory=trainer.memory_batches(memory, derive(seed, "replay", stage.key)))
        data = replace(data, train=with_stored_reals(learned, memory, learner, where=f"stage {stage.key}, {method}"))
        learner.fit(data, detector, trainer)
        accuracies = _validated(planned, data, detector, trainer)
        if learner.memory is not None:
            memory = memory_after(memory, learned, learner.memory, derive(seed, "memory"), detector, trainer)
            learner.remember(memory, detector, trainer)
        if planned.training.correction == "affine":
            network.correction = detector.correction = affine_correction(detector, validation, trainer)
            accuracies = trainer.accuracies(data, detector)
    weights = {**(body_weights(parent) if body and parent else {}), **merge(network).state_dict()}
    checkpoint = make_checkpoint(weights, {**learner.state_dict(), **memory.tensors()}, {
        "fingerprint": recipe.fingerprint, "parent": start,
        "parent_weights_sha256": parent.meta["weights_sha256"] if parent is not None else None,
        "network": asdict(planned.network), "tune": planned.tune,
        "method": asdict(planned.plugin), "training": asdict(planned.training), "seed": seed, "stage": asdict(stage),
        "data": data_hashes, "policy": pictures[0].policy, "decoder": decoder, "faces": faces,
        "best_epoch": trainer.trained.best_epoch if trainer.trained else 0,
        "history": trainer.trained.history if trainer.trained else [], "validation": accuracies,
        "versions": VERSIONS, "computed_with": computed_with,
        **({"body": trainer.frozen.facts()} if isinstance(trainer, HeadTrainer) else {}),
    })
    if folder is not None:
        if runtime.rank == 0:
            write_memory(memory, learner.memory, folder)
            save(checkpoint, folder, recipe)
            remove_resume(folder)
        runtime.wait()
        checkpoint = load(folder) if runtime.rank else checkpoint
    return checkpoint


def _check_tune(method: MethodPlan, parent: Checkpoint | None) -> None:
    """Raise UserError if `method` cannot train by its `tune`, or would continue with a state of another one."""
    check_low_rank(method, where=f"method {method.label}")
    if parent is None or parent.meta["method"]["name"] != method.method or not parent.method_state:
        return
    if parent.meta["tune"] != method.tune:
        raise UserError(f"The parent checkpoint holds a state of {method.method} for another choice of trained weights",
                        where=f"checkpoint {parent.meta['fingerprint']}", expected=f"tune: {method.tune}, found "
                        f"{parent.meta['tune']}", do=f"use tune: {parent.meta['tune']}, or train the earlier stages "
                        f"with tune: {method.tune}")


def _with_decoder_of(parent: Checkpoint, decoder: dict[str, str], *, where: str) -> dict[str, str]:
    """Return the decoders of the pictures of `parent` and of a stage upon it; a warning names those that differ."""
    parent_decoder = parent.meta.get("decoder", {})
    changed = differences(parent_decoder, decoder)
    if changed:
        logger.warning("%s: pictures were decoded by %s, with which the parent was trained: pixels of lossy formats "
                       "may differ. To decode all pictures alike, delete the pixel stores, data/03_primary.", where,
                       ", ".join(changed))
    return merged([parent_decoder, decoder])


def _check_faces(parent: Checkpoint, faces: str, *, where: str) -> None:
    """Warn if the pictures of a stage are not cropped to faces as those of `parent` were, where that is known."""
    parent_faces = parent.meta.get("faces", faces)
    if parent_faces != faces:
        logger.warning("%s: its pictures are %s, while those that the parent was trained with are %s: set the faces of "
                       "the collection alike.", where,
                       *(f"faces that {detector} found" if detector else "not cropped to faces"
                         for detector in (faces, parent_faces)))


def _is_saved(folder: Path, recipe: Recipe, runtime: Runtime) -> bool:
    """Return whether `folder` holds the checkpoint that `recipe` makes; leftovers of a killed run are removed."""
    if runtime.rank == 0:
        recover(folder)
    runtime.wait()
    saved = is_made_by(folder, recipe)
    if saved and runtime.rank == 0:
        remove_resume(folder)
    return saved


def _validated(planned: MethodPlan, stage: StageData, detector: Detector, trainer: StageTrainer) -> dict[str, float]:
    """Return the validation accuracy of the weights that `detector` ends with by task, percent; empty without images.

    UserError if they are not those that the trainer selected and the method does not declare that it changes them.
    """
    trained = trainer.trained
    if trained is None:
        return trainer.accuracies(stage, detector)
    if all(torch.equal(tensor, trained.weights[name]) for name, tensor in detector.state_dict().items()):
        return trainer.accuracies(stage, detector) if trained.measured_again else trained.history[
            trained.best_epoch - 1].get("validation", {})
    if facts(planned.method).changes_selected:
        return trainer.accuracies(stage, detector)
    raise UserError("The method has changed the weights that validation selected", where=f"methods/{planned.method}.py",
                    expected="the weights as the training left them",
                    do="change a copy, or declare CHANGES_SELECTED = True: the weights are then validated once more")


def check_low_rank(method: MethodPlan, *, where: str) -> None:
    """Raise UserError if `method` compares single weights between stages and is to train low-rank updates."""
    if facts(method.method).holds_weights and read_tune(method.tune).kind == "lora":
        raise UserError(f"The method {method.method} cannot train low-rank updates: it compares single weights with "
                        "those of earlier stages", where=where, expected="tune: all, norm or head",
                        do="change tune, or take another method")


def check_stages(plan: Plan, method: str, stores: Stores) -> None:
    """Raise UserError if a stage of `method` cannot make its batches; `stores` are the existing training stores.

    `learn_stage` raises it too, but only after the earlier stages are trained.
    """
    check_low_rank(plan.method(method), where=f"sequences.{plan.sequence}.methods.{method}.tune")
    for stage in plan.learned(method):
        config = plan.method(method).at(stage).training
        read_views(config.views, where=f"sequences.{plan.sequence}, {method}: training.views")
        tasks = plan.trained_tasks(method, stage)
        check_own_reals({task: stores[task] for task in tasks if task in stores}, plan.method(method).method,
                        where=f"sequences.{plan.sequence}.methods.{method}, stage {stage.key}")
        if all(task in stores for task in stage.seen):
            check_reals({task: stores[task] for task in tasks},
                        {task: stores[task] for task in stage.seen if task not in tasks},
                        make_method(plan.method(method), 0, stage), where=f"stage {stage.key}, {method}")
        if all(task in stores for task in tasks):
            TrainBatches([stores[task] for task in tasks], batch_size=config.batch_size, crop=config.crop,
                         flip=config.flip, seed=0)
    memory = make_method(plan.method(method), 0, plan.stages[0]).memory
    if memory is not None:
        existing = {task: stores[task] for task in plan.tasks if task in stores}
        check_memory(memory, Memory(), existing, where=f"sequences.{plan.sequence}.methods.{method}")


def score_checkpoint(checkpoint: Checkpoint, suite: Stores, *, runtime: Runtime,
                     features: Callable[[str], Path] | None = None, novelty: Novelty | None = None,
                     several: bool = False) -> pd.DataFrame:
    """Return the scores of `checkpoint` on the test stores of `suite`, in its order, learned or not.

    Those of centre crops, or with `several` of the crops that pictures are scored on where one is not enough.

    Where the head alone was trained and `features` gives the folder that keeps the features of a task's pictures, these
    are read or computed there: many heads of one network then cost one forward pass. They are rounded to one part in
    2,000, and so are these logits. Columns as in `learning.view_outputs.score_stores`.
    """
    with runtime.reproducible():
        return score_stores(view_outputs(checkpoint, runtime, features), suite, novelty, several=several)


def validate_checkpoint(checkpoint: Checkpoint, train: Stores, validation: Stores, *, runtime: Runtime,
                        features: Callable[[str], Path] | None = None) -> tuple[pd.DataFrame, Novelty]:
    """Return the scores of `checkpoint` on validation stores, and its novelty from the training stores of its tasks.

    As `learning.view_outputs.validate_stores`; `features` as in `score_checkpoint`.
    """
    with runtime.reproducible():
        return validate_stores(view_outputs(checkpoint, runtime, features), train, validation,
                               checkpoint.meta["weights_sha256"])


def view_outputs(checkpoint: Checkpoint, runtime: Runtime, features: Callable[[str], Path] | None) -> ViewOutputs:
    """Return the reader of what `checkpoint` computes of pictures; `features` as in `score_checkpoint`."""
    feature_folder = features if checkpoint.meta["tune"] == "head" else None
    body = None if feature_folder is None else frozen_body(checkpoint, runtime)
    network = restore_network(checkpoint) if body is None else restore_head(checkpoint)
    return ViewOutputs(network=runtime.place(network), runtime=runtime, body=body, feature_folder=feature_folder,
                       config=TrainingConfig(**checkpoint.meta["training"]))


def learn_plan(plan: Plan, stores: Mapping[str, Stores], *, runtime: Runtime, folder: Path | None = None,
               features: Callable[[str], Path] | None = None) -> pd.DataFrame:
    """Learn every method of `plan` stage by stage, for each seed; return the scores of all checkpoints in one table.

    `plan` is resolved; `stores` holds the stores of its tasks by split. With `folder`, checkpoints are kept as
    `<folder>/<label>/seed<n>/<stage>` and current ones are not retrained; `features` as in
    `learn_stage`. Columns as in `evaluation.predict.score_suite`, and method (str), seed (int) and stage (int, from 1):
    what `reporting.results.gather` takes. Raises UserError as `learn_stage` does.
    """
    tables = []
    runs = [(method_plan.label, seed) for method_plan in plan.methods for seed in plan.seeds_of(method_plan.label)]
    for method, seed in runs:
        learned = None
        for stage in plan.learned(method):
            stage_folder = folder / method / f"seed{seed}" / stage.key if folder is not None else None
            learned = learn_stage(plan=plan, method=method, seed=seed, stage=stage, parent=learned,
                                  train=stores["train"], validation=stores["val"], folder=stage_folder, runtime=runtime,
                                  features=features)
            scores = score_checkpoint(learned, stores["test"], runtime=runtime, features=features)
            tables.append(scores.assign(method=method, seed=seed, stage=stage.index))
    return pd.concat(tables, ignore_index=True)


def score_robustness(checkpoint: Checkpoint, suite: Stores, config: RobustnessConfig, *,
                     runtime: Runtime) -> pd.DataFrame:
    """Return the scores of `checkpoint` on perturbed test images of `suite`.

    Columns as in `evaluation.perturbed.score_perturbed`. Raises UserError for perturbations that cannot be used.
    """
    network = runtime.place(restore_network(checkpoint))
    with runtime.reproducible():
        return score_perturbed(
            network, suite, config.conditions(), per_task_max=config.per_task_max, crop=checkpoint.crop,
            batch_size=_evaluation_batch(checkpoint, runtime), autocast=runtime.autocast,
            label=f"perturb {checkpoint.meta['method']['name']} seed {checkpoint.meta['seed']}")


def _evaluation_batch(checkpoint: Checkpoint, runtime: Runtime) -> int:
    return runtime.evaluation_batch(checkpoint.meta["training"]["batch_size"])


def make_method(method: MethodPlan, seed: int, stage: Stage) -> Method:
    """Return the method that fits `stage` in a run with the seed `seed`."""
    return plugin.create("methods", method.method, method.settings, derive(seed, "strategy", stage.key))


def _pick(stores: Stores, tasks: Iterable[str], stage: Stage, kind: str) -> dict[str, PixelStore]:
    for task in tasks:
        if task not in stores:
            raise UserError(f"The {kind} images of {task!r} are missing", where=f"stage {stage.key}",
                            expected=f"{kind} images of {', '.join(tasks)}", do="give that task's data too")
    return {task: stores[task] for task in tasks}


def _by_task(**splits: Mapping[str, str]) -> dict[str, dict[str, str]]:
    tasks = {task for fingerprints in splits.values() for task in fingerprints}
    return {task: {split: fingerprints[task] for split, fingerprints in splits.items() if task in fingerprints}
            for task in sorted(tasks)}


@cache
def _code_hash() -> str:
    """Return the hash of the source code of training: a state saved by other code may not fit."""
    package = Path(__file__).parents[1]
    rooms = ("core", "sources", "ingest", "store", "evaluation", "networks", "memory", "methods", "runtime", "learning")
    return sha256(b"".join(path.read_bytes() for room in rooms for path in sorted((package / room).rglob("*.py"))
                           )).hexdigest()
