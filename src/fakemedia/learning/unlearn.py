"""Unlearning: the checkpoint that training without a task would have given, made without training."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, replace
from pathlib import Path

from fakemedia.artefacts.manifest import Recipe
from fakemedia.core import plugin
from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.plan import Plugin
from fakemedia.core.rng import derive
from fakemedia.core.training import TrainingConfig
from fakemedia.core.tune import read_tune
from fakemedia.core.types import Stage
from fakemedia.learning.correction import affine_correction
from fakemedia.learning.head_trainer import fitting
from fakemedia.learning.sequence import VERSIONS, restore_network
from fakemedia.learning.trainer import StageTrainer
from fakemedia.learning.training_loop import to_device
from fakemedia.methods.method import Method, StageData, facts
from fakemedia.networks.checkpoint import Checkpoint, make_checkpoint, save
from fakemedia.networks.tuning import merge, tune
from fakemedia.runtime.device import Runtime
from fakemedia.store.pixels import PixelStore

VERSION = 2
"""Version of `unlearn`: raised when its results change. 2: a correction of the log-odds is fitted again."""


def check_unlearns(checkpoint: Checkpoint, task: str) -> None:
    """Raise UserError unless `task` can be taken out of `checkpoint`: a method that does not, a task never learned.

    Also for the only task: nothing would be left.
    """
    name, seen = checkpoint.meta["method"]["name"], checkpoint.meta["stage"]["seen"]
    where = f"checkpoint {checkpoint.meta['fingerprint']}, method {name}"
    if not facts(name).unlearns:
        alternatives = [method for method in plugin.names("methods") if facts(method).unlearns]
        raise UserError(f"The method {name} cannot unlearn a task exactly: its weights come from steps that depended "
                        "on all pictures learned so far", where=where, expected=f"one of {', '.join(alternatives)}",
                        do="train again without the task")
    if task not in seen:
        raise unknown_name("task", task, seen, where=f"{where}: tasks learned")
    if len(seen) == 1:
        raise UserError(f"{task!r} is the only task that was learned", where=where, expected="two tasks at least",
                        do="delete the checkpoint")


def unlearn(checkpoint: Checkpoint, task: str, *, train: PixelStore | None, validation: Mapping[str, PixelStore],
            runtime: Runtime, folder: Path | None = None,
            features: Callable[[str], Path] | None = None) -> Checkpoint:
    """Return the checkpoint that training without `task` would have given; save it as `folder` if given.

    `train` holds the training pictures of `task`, for a method that subtracts what it has summed of them; `validation`
    those that choose settings and correct the log-odds, of every other task learned. `features` as in `learn_stage`.
    UserError: see `check_unlearns`; pictures that are missing or not those that were learned; what `save` raises.
    """
    check_unlearns(checkpoint, task)
    meta, seed = checkpoint.meta, checkpoint.meta["seed"]
    index, seen = meta["stage"]["index"], tuple(meta["stage"]["seen"])
    remaining = tuple(name for name in seen if name != task)
    stage = Stage(index=index, name=f"without_{task}", tasks=remaining, seen=remaining)
    validation = {name: validation[name] for name in remaining}
    selection_stores = {} if meta["training"]["select_on"] == "none" else validation
    spec, pictures = Plugin(**meta["method"]), {} if train is None else {task: train}
    method: Method = plugin.create("methods", spec.name, spec.settings, derive(seed, "strategy", stage.key))
    network = restore_network(checkpoint)
    network.correction = None
    network = runtime.place(tune(network, read_tune(meta["tune"])))
    config = replace(TrainingConfig(**meta["training"]), validation_max=None, validation_share=None)
    trainer = StageTrainer(config=config, runtime=runtime, seed=derive(seed, "stage", stage.key), label=stage.name)
    with runtime.reproducible(), fitting(
            trainer, network, read_tune(meta["tune"]), features, {}, pictures) as (fitter, detector):
        method.load_state_dict(to_device(checkpoint.method_state, runtime.device))
        method.unlearn(task, StageData(index=index, name=meta["stage"]["name"], tasks=(task,), seen=seen,
                                       train=pictures, validation=selection_stores), detector, fitter)
        if config.correction == "affine":
            network.correction = detector.correction = affine_correction(detector, validation, fitter)
        accuracies = fitter.accuracies(StageData(**vars(stage), validation=selection_stores), detector)
    used_validation = validation if config.correction == "affine" else selection_stores
    stores = {f"{store.task} {store.split}": store.fingerprint
              for store in (*pictures.values(), *used_validation.values())}
    recipe = Recipe(producer="unlearned", version=VERSION, settings={"task": task, "stage": stage},
                    inputs={"parent": checkpoint.content, **stores})
    unlearned = make_checkpoint(merge(network).state_dict(), method.state_dict(), {
        **meta, "fingerprint": recipe.fingerprint, "parent": checkpoint.content,
        "parent_weights_sha256": meta["weights_sha256"], "stage": asdict(stage), "validation": accuracies,
        "data": {name: splits for name, splits in meta["data"].items() if name != task},
        "unlearned": [*meta.get("unlearned", []), task], "versions": VERSIONS, "computed_with": runtime.facts()})
    if folder is not None:
        save(unlearned, folder, recipe)
    return unlearned
