"""Does novelty notice a generator that a detector has not learned? Each task of a folder is left out in turn.

    python benchmarks/novelty.py --data FOLDER [--network efficientnet_lite0] [--taps both] [--method ridge]
    python benchmarks/novelty.py --data FOLDER --network convnet --tune all --method joint --epochs 20 --lr 3e-3

A detector learns all tasks but one at once; its novelty comes from their training and validation pictures. AUC: how
well novelty separates the test fakes of the task left out from all test pictures of the others. Then the percentages
called unknown: test pictures of the tasks learned (1 % by construction), fakes and real pictures of the one left out.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import pandas as pd
from features import task_stores

from fakemedia.core.plan import MethodPlan, Plan, Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import SPLITS, make_stages
from fakemedia.learning.sequence import learn_stage, score_checkpoint, validate_checkpoint
from fakemedia.reporting.novelty_table import MEASURES, novelty_table
from fakemedia.runtime.device import Runtime


def measure(given: argparse.Namespace, left_out: str, tasks: list[str], stores: dict, place: Path) -> pd.DataFrame:
    """Return the row of a detector that has learned all `tasks` but one."""
    known = tuple(task for task in tasks if task != left_out)
    stages = make_stages([known, (left_out,)])
    network = Plugin(name=given.network, settings={"taps": given.taps})
    training = TrainingConfig(epochs=given.epochs, lr=given.lr, crop=given.crop)
    method = MethodPlan(label="one", method=given.method, settings={}, network=network, tune=given.tune,
                        training=training)
    plan = Plan(sequence="benchmark", collection="benchmark", stages=stages, network=network, training=training,
                seeds=(0,), methods=(method,)).resolved()
    learned = learn_stage(plan=plan, method="one", seed=0, stage=stages[0], parent=None, train=stores["train"],
                          validation=stores["val"], folder=None, runtime=given.runtime, features=place.joinpath)
    train, validation = ({task: stores[split][task] for task in known} for split in ("train", "val"))
    _, novelty = validate_checkpoint(learned, train, validation, runtime=given.runtime, features=place.joinpath)
    scores = score_checkpoint(learned, stores["test"], runtime=given.runtime, features=place.joinpath, novelty=novelty)
    return novelty_table(scores.assign(method=left_out, seed=0, stage=1), stages=stages)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--taps", default="both", choices=("head", "blocks", "both"))
    parser.add_argument("--method", default="ridge")
    parser.add_argument("--tune", default="head")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--crop", type=int, default=64)
    given = parser.parse_args()
    given.runtime = Runtime()
    tasks = sorted(path.name for path in given.data.iterdir() if path.is_dir())
    with tempfile.TemporaryDirectory() as folder:
        found = {task: task_stores(given.data, task, Path(folder) / "stores") for task in tasks}
        stores = {split: {task: found[task][split] for task in tasks} for split in SPLITS}
        rows = pd.concat([measure(given, task, tasks, stores, Path(folder)) for task in tasks])
    print(f"{'left out':<12}" + "".join(f"{name:>10}" for name in MEASURES))
    for row in [*rows.to_dict("records"), {"method": "mean", **rows[list(MEASURES)].mean()}]:
        print(f"{row['method']:<12}" + "".join(f"{row[name]:>10.{3 if name == 'auc' else 1}f}" for name in MEASURES))


if __name__ == "__main__":
    main()
