"""`kedro step`: learn one more task on plain folders, without a sequence in the configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pandas as pd

from fakemedia.artefacts.files import PARTIAL, write_file
from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.hashing import fingerprint
from fakemedia.core.plan import MethodPlan, Plan, Plugin
from fakemedia.core.training import TRAINING_PRESETS, TrainingConfig
from fakemedia.core.types import SPLITS, check_name, make_stages
from fakemedia.evaluation.calibration import CALIBRATION_FILE, CalibrationConfig, calibrate
from fakemedia.evaluation.metrics import task_metrics
from fakemedia.evaluation.novelty import NOVELTY_FILE
from fakemedia.ingest.build_store import ensure_store
from fakemedia.ingest.index import build_index, check_index
from fakemedia.learning.sequence import learn_stage, score_checkpoint, validate_checkpoint
from fakemedia.networks.checkpoint import FILES, Checkpoint, load
from fakemedia.runtime.device import Runtime
from fakemedia.runtime.threads import cores
from fakemedia.store.pixels import PixelStore


def learn_step(*, network: str, input_model: Path | None, output_dir: Path, source_datasets: tuple[Path, ...],
               target_dataset: Path, method: str, pretrained: str | None, preset: str | None, epochs: int | None,
               batch_size: int | None, crop: int | None, seed: int, cache: Path, runtime: Runtime,
               calibration: CalibrationConfig) -> pd.DataFrame:
    """Learn `target_dataset` by `method` from the checkpoint `input_model`; save and calibrate it as `output_dir`.

    A dataset is a task folder in the reference layout; its name is the task's. Without an input model the target is
    learned as the first task, from `pretrained` weights (None: the network's default). Pixel stores go to `cache`.
    From an input model the step takes what is trained of the network, and, for the same method, its settings.
    Returns one row per task with its role, and accuracy (percent) and AUC on its test split before (NaN without an
    input model) and after the step.

    Raises UserError for folders that are not task folders, two tasks of one name, source datasets without an input
    model or an input model without them, a checkpoint of another network, and an output folder that is the input model
    or holds other files.
    """
    if bool(source_datasets) != (input_model is not None):
        raise UserError("An input model needs the datasets that it has learned, and they need the model",
                        where="--input-model and --source-datasets", expected="both, or neither for a first task")
    sources = [_task(folder) for folder in source_datasets]
    target = _task(target_dataset)
    if len({*sources, target}) <= len(sources):
        raise UserError("Two datasets have one name", where=", ".join([*sources, target]),
                        expected="a task folder of a different name for each task")
    check_output_folder(output_dir, input_model)
    parent = load(input_model) if input_model is not None else None
    if parent is not None and parent.meta["network"]["name"] != network:
        raise UserError("The input model is of another network", where=input_model, expected=network,
                        do=f"use --network {parent.meta['network']['name']}, or give a checkpoint of {network}")
    options = {"epochs": epochs, "batch_size": batch_size, "crop": crop}
    plan = _plan(network, parent, method, pretrained, preset, options, seed, sources, target)
    stores_by_task = {_task(folder): folder_stores(folder, cache) for folder in (*source_datasets, target_dataset)}
    stores = {split: {task: task_stores[split] for task, task_stores in stores_by_task.items()} for split in SPLITS}
    learned = learn_stage(plan=plan, method=method, seed=seed, stage=plan.stages[-1], parent=parent,
                          train=stores["train"], validation=stores["val"], folder=output_dir, runtime=runtime)
    calibrate_checkpoint(learned, stores["train"], stores["val"], output_dir, runtime, calibration)
    metrics = {key: _measure(checkpoint, stores["test"], runtime)
               for key, checkpoint in (("before", parent), ("after", learned)) if checkpoint is not None}
    return pd.DataFrame([
        {"task": task, "role": "target" if task == target else "source",
         **{f"{metric}_{key}": metrics.get(key, {}).get(task, {}).get(metric, float("nan"))
            for metric in ("accuracy", "auc") for key in ("before", "after")}}
        for task in stores["test"]
    ])


def _task(folder: Path) -> str:
    return check_name(folder.resolve().name)


def check_output_folder(output_dir: Path, input_model: Path | None) -> None:
    """Raise UserError unless `output_dir` is new, empty or an older checkpoint, which is replaced."""
    if input_model is not None and output_dir.resolve() == input_model.resolve():
        raise UserError("The output would replace the input model", where=output_dir, expected="a folder of its own")
    names = {path.name for path in output_dir.iterdir() if path.suffix != PARTIAL} if output_dir.is_dir() else set()
    if output_dir.is_file() or names - {*FILES, CALIBRATION_FILE, NOVELTY_FILE}:
        raise UserError("The output folder holds other files than a checkpoint", where=output_dir,
                        expected="a new or empty folder, or a checkpoint to replace", do="name another folder")


def _plan(network: str, parent: Checkpoint | None, method: str, pretrained: str | None, preset: str | None,
          options: dict[str, int | None], seed: int, sources: list[str], target: str) -> Plan:
    settings = {key: value for key, value in {"preset": preset, **options}.items() if value is not None}
    training = plugin.configure(TrainingConfig, settings, where="kedro step", presets=TRAINING_PRESETS)
    presets = getattr(plugin.load("methods", method), "PRESETS", {})
    weights = {} if pretrained is None else {"pretrained": pretrained}
    network_settings = dict(parent.meta["network"]["settings"]) if parent else weights
    start = Plugin(name=network, settings=network_settings)
    learned = parent.meta["method"] if parent is not None else {"name": "", "settings": {}}
    settings_of_method = ({"preset": preset} if preset in presets else
                          dict(learned["settings"]) if learned["name"] == method else {})
    return Plan(
        sequence="step", collection="step", stages=make_stages([tuple(sources), (target,)] if sources else [(target,)]),
        network=start, training=training, seeds=(seed,),
        methods=(MethodPlan(label=method, method=method, settings=settings_of_method, network=start, training=training,
                            tune=parent.meta["tune"] if parent else "all"),),
    ).resolved()


def folder_stores(folder: Path, cache: Path) -> dict[str, PixelStore]:
    """Return the stores of a task's folder in the reference layout, by split, built below `cache`."""
    folder = folder.resolve()
    source = plugin.create("sources", "folder", {"root": str(folder.parent)})
    workers = cores()
    index = build_index(source, folder.name, workers=workers)
    check_index(index)
    task_cache = cache / f"{folder.name}-{fingerprint(folder)[:8]}"
    return {split: ensure_store(index, source, split, task_cache / split, workers=workers) for split in SPLITS}


def calibrate_checkpoint(checkpoint: Checkpoint, train: dict[str, PixelStore], validation: dict[str, PixelStore],
                         folder: Path, runtime: Runtime, config: CalibrationConfig,
                         features: Callable[[str], Path] | None = None) -> None:
    """Calibrate the checkpoint in `folder` on validation images of all tasks that it knows, and write its novelty.

    Its novelty needs the training stores of all of them; with fewer there is none. `features` as in
    `learning.sequence.score_checkpoint`.
    """
    if set(train) == set(validation):
        scores, novelty = validate_checkpoint(checkpoint, train, validation, runtime=runtime, features=features)
        write_file(folder / NOVELTY_FILE, novelty.to_json().encode())
    else:
        scores = score_checkpoint(checkpoint, validation, runtime=runtime, features=features)
    calibration = calibrate(scores, config=config, weights_sha256=checkpoint.meta["weights_sha256"])
    write_file(folder / CALIBRATION_FILE, calibration.to_json().encode())


def _measure(checkpoint: Checkpoint, suite: dict[str, PixelStore], runtime: Runtime) -> dict[str, dict[str, float]]:
    scores = score_checkpoint(checkpoint, suite, runtime=runtime)
    return {str(task): task_metrics(rows["label"].to_numpy(), rows["logit"].to_numpy())
            for task, rows in scores.groupby("task", sort=False)}
