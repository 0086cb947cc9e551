"""Several crops of a picture: accuracy and calibration of `kedro score`, by what a head was trained on.

    python benchmarks/crops.py --data FOLDER [--views centre centre,quarters] [--scored 1 4 16] [--crop 64]

FOLDER holds tasks in the reference layout. Ridge on the features of a frozen network learns all tasks, in each of the
`--views`. It is calibrated on validation pictures, and scores the files of the `--split` as `kedro score --crops N`.
For each N: AA (mean over tasks of the accuracy at 0.5, percent), AUC (mean over tasks), and the expected calibration
error over all files, by the calibration of the centre crop and by that of several crops. `seen` is the mean share of a
picture that is looked at; `files/s` counts reading and the network.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from features import task_stores

from fakemedia.core.plan import MethodPlan, Plan, Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import FAKE, SPLITS, make_stages
from fakemedia.evaluation.calibration import CalibrationConfig, calibrate
from fakemedia.evaluation.metrics import accuracy, auc, expected_calibration_error
from fakemedia.learning.sequence import learn_stage, validate_checkpoint
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.runtime.device import Runtime
from fakemedia.scoring.checkpoint_model import CheckpointModel
from fakemedia.scoring.model import Facts
from fakemedia.scoring.scores import score_files
from fakemedia.store.pixels import PixelStore

Stores = dict[str, dict[str, PixelStore]]


def make_plan(given: argparse.Namespace, views: str, tasks: list[str]) -> Plan:
    """Return the plan of ridge on `tasks`, trained in `views`, names with commas."""
    network = Plugin(name=given.network, settings={"taps": given.taps})
    training = TrainingConfig(crop=given.crop, views=tuple(views.split(",")))
    method = MethodPlan(label="ridge", method="ridge", settings={}, network=network, tune="head", training=training)
    return Plan(sequence="benchmark", collection="benchmark", stages=make_stages([(task,) for task in tasks]),
                network=network, training=training, seeds=(0,), methods=(method,)).resolved()


def learned(plan: Plan, stores: Stores, runtime: Runtime, place: Path) -> Checkpoint:
    """Return the checkpoint after all stages."""
    parent = None
    for stage in plan.stages:
        parent = learn_stage(plan=plan, method="ridge", seed=0, stage=stage, parent=parent, train=stores["train"],
                             validation=stores["val"], folder=None, runtime=runtime, features=place.joinpath)
    assert parent is not None
    return parent


def scoring_model(checkpoint: Checkpoint, plan: Plan, stores: Stores, runtime: Runtime,
                  place: Path) -> CheckpointModel:
    """Return the checkpoint as `kedro score` uses it, calibrated on validation pictures."""
    scores, novelty = validate_checkpoint(checkpoint, stores["train"], stores["val"], runtime=runtime,
                                          features=place.joinpath)
    store = next(iter(stores["train"].values()))
    facts = Facts(network=plan.network.name, tasks=plan.tasks, crop=plan.training.crop, policy=store.policy,
                  fingerprint="", calibration=calibrate(scores, config=CalibrationConfig()), novelty=novelty)
    return CheckpointModel(checkpoint, facts, runtime)


def pictures(data: Path, tasks: list[str], split: str) -> pd.DataFrame:
    """Return path, task and label of the files of a split."""
    folders = {(task, label): data / task / split / name for task in tasks
               for label, name in enumerate(("0_real", "1_fake"))}
    return pd.DataFrame([{"path": path, "task": task, "label": label} for (task, label), folder in folders.items()
                         for path in sorted(folder.iterdir())])


def row(model: CheckpointModel, files: pd.DataFrame, crops: int) -> str:
    """Return what scoring `files` with so many crops gives."""
    scores = score_files(model, list(files["path"]), crops=crops, progress=False)
    kept = scores["logit"].notna()
    labels, logits = files["label"].to_numpy()[kept], scores["logit"].to_numpy()[kept]
    of_tasks = [(files["task"][kept] == task).to_numpy() for task in files["task"].unique()]
    calibration = model.facts.calibration
    assert calibration is not None
    errors = [expected_calibration_error(labels, logits / rule.temperature)
              for rule in (calibration, calibration.for_crops(2))]
    found = calibration.for_crops(crops)
    at_threshold = 100 * np.mean(found.is_fake(logits) == (labels == FAKE))
    return (f"{np.mean([accuracy(labels[each], logits[each]) for each in of_tasks]):10.1f}"
            f"{np.mean([auc(labels[each], logits[each]) for each in of_tasks]):8.3f}{at_threshold:14.1f}"
            f"{errors[0]:12.3f}{errors[1]:12.3f}{scores['seen'].mean():8.0%}"
            f"{len(files) / scores.attrs['seconds']:9.0f}")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--views", nargs="+", default=["centre", "centre,quarters"], help="names with commas")
    parser.add_argument("--scored", nargs="+", type=int, default=[1, 4, 16], help="crops of a picture")
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--taps", default="both", choices=["head", "blocks", "both"])
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--split", default="test", choices=SPLITS, help="what is scored; val to choose a setting")
    parser.add_argument("--keep", type=Path, help="folder that keeps pixel stores and features for the next time")
    given = parser.parse_args()
    tasks = sorted(path.name for path in given.data.iterdir() if path.is_dir())
    runtime, files = Runtime(), pictures(given.data, tasks, given.split)
    with tempfile.TemporaryDirectory() as scratch:
        place = given.keep or Path(scratch)
        found = {task: task_stores(given.data, task, place / "stores") for task in tasks}
        stores = {split: {task: splits[split] for task, splits in found.items()} for split in SPLITS}
        print(f"{'views':<26}{'crops':>6}{'AA':>10}{'AUC':>8}{'at threshold':>14}{'ECE centre':>12}{'ECE several':>12}"
              f"{'seen':>8}{'files/s':>9}")
        for views in given.views:
            plan = make_plan(given, views, tasks)
            checkpoint = learned(plan, stores, runtime, place / "features")
            model = scoring_model(checkpoint, plan, stores, runtime, place / "features")
            for crops in given.scored:
                print(f"{views:<26}{crops:>6}{row(model, files, crops)}", flush=True)


if __name__ == "__main__":
    main()
