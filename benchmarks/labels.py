"""Does an update notice that the labels of a new task are swapped, and accept those that are right?

    python benchmarks/labels.py --data FOLDER [--network efficientnet_lite0] [--taps both] [--crop 96] [--most 3]

Each task of the folder is new to detectors that have learned one, two, ... `--most` of the others: a ridge head on a
frozen network. Each detector checks the training pictures of the new task as `kedro update` does, with the labels as
they are and swapped. Beside it: the rule that asks only whether the AUC of the new task is below 0.2. In brackets:
95 % intervals over detectors (Clopper and Pearson), which share pictures and are not independent.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
from features import task_stores
from scipy.stats import binomtest

from fakemedia.core.plan import MethodPlan, Plan, Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import FAKE, REAL, make_stages
from fakemedia.evaluation.label_check import distances_if_swapped
from fakemedia.evaluation.metrics import auc
from fakemedia.learning.next_stage import class_outputs
from fakemedia.learning.sequence import learn_stage
from fakemedia.runtime.device import Runtime

BACKWARDS = 0.2


def checks(given: argparse.Namespace, new: str, known: tuple[str, ...], stores: dict, place: Path) -> np.ndarray:
    """Return whether `new` is refused: bool (2, 2), by rule (this one, AUC alone) and labels (right, swapped)."""
    network = Plugin(name=given.network, settings={"taps": given.taps})
    stages, training = make_stages([known, (new,)]), TrainingConfig(epochs=1, lr=1e-3, crop=given.crop)
    method = MethodPlan(label="one", method="ridge", settings={}, network=network, tune="head", training=training)
    plan = Plan(sequence="benchmark", collection="benchmark", stages=stages, network=network, training=training,
                seeds=(0,), methods=(method,)).resolved()
    train, validation = ({task: stores[task][split] for task in known} for split in ("train", "val"))
    learned = learn_stage(plan=plan, method="one", seed=0, stage=stages[0], parent=None, train=train,
                          validation=validation, folder=None, runtime=given.runtime, features=place.joinpath)
    old, reals, fakes = class_outputs(learned, stores[new]["train"], validation, runtime=given.runtime,
                                      features=place.joinpath)
    area = float(auc(np.repeat([REAL, FAKE], [len(reals.logits), len(fakes.logits)]),
                     np.concatenate([reals.logits, fakes.logits])))
    return np.array([[distances_if_swapped(old, reals, fakes) is not None,
                      distances_if_swapped(old, fakes, reals) is not None],
                     [area < BACKWARDS, 1 - area < BACKWARDS]])


def known_tasks(tasks: list[str], most: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each task with each set of at most `most` others."""
    for new in tasks:
        others = [task for task in tasks if task != new]
        for count in range(1, min(most, len(others)) + 1):
            for known in combinations(others, count):
                yield new, known


def share(found: np.ndarray) -> str:
    """Return the number of True in `found` with its interval."""
    interval = binomtest(int(found.sum()), len(found)).proportion_ci()
    return f"{found.sum():>4} of {len(found)}: {100 * found.mean():3.0f} % [{100 * interval.low:.0f}, " \
           f"{100 * interval.high:.0f}]"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--taps", default="both", choices=("head", "early", "blocks", "both"))
    parser.add_argument("--crop", type=int, default=96)
    parser.add_argument("--most", type=int, default=3)
    given = parser.parse_args()
    given.runtime = Runtime()
    tasks = sorted(path.name for path in given.data.iterdir() if path.is_dir() and not path.name.startswith("."))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        stores = {task: task_stores(given.data, task, place / "stores") for task in tasks}
        found = np.array([checks(given, new, known, stores, place) for new, known in known_tasks(tasks, given.most)])
    for rule, name in enumerate(("nearness to known real pictures", "AUC below 0.2")):
        print(f"{name}: refused with right labels {share(found[:, rule, 0])}; with swapped ones "
              f"{share(found[:, rule, 1])}")


if __name__ == "__main__":
    main()
