"""Heads on a frozen network: what a sequence of many tasks costs beside the features, which are computed once.

    python benchmarks/heads.py [--tasks 12] [--pictures 1000] [--crop 128] [--taps both] [--labels finetune,replay,...]

Striped pictures in memory: every task has `--pictures` training pictures, a fifth as many for validation and two fifths
for the test. Features are those of all splits by the packaged EfficientNet-Lite0: 2,848 numbers at `taps: both`, 320 at
`taps: early`, which the demo's heads read. A label learns every stage and is scored after each, as a run does: test
pictures of all tasks and validation pictures of the tasks seen. The last line is one more task on top of the others.
Seconds of processor time, which other programs disturb less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

from fakemedia.core import plugin
from fakemedia.core.plan import MethodPlan, Plan, Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import SPLITS, Stage, make_stages
from fakemedia.learning.sequence import learn_stage, score_checkpoint
from fakemedia.methods.method import facts
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.networks.features import FeatureCache
from fakemedia.runtime.device import Runtime
from fakemedia.store.pixels import PixelStore

LABELS = ("finetune", "replay", "ridge", "slda", "experts", "joint")
SHARES = dict(zip(SPLITS, (1.0, 0.2, 0.4), strict=True))


class Striped(PixelStore):
    """Pictures in memory: the fake ones have finer stripes, and noise of a strength of the task."""

    def __init__(self, task: str, split: str, count: int, side: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.folder, self.task, self.split, self.policy, self.streams = Path(task), task, split, "native", False
        self.decoder: dict[str, str] = {}
        labels = np.arange(count) % 2
        waves = np.sin(np.arange(side) / np.where(labels, 2.0, 3.0)[:, None] + rng.uniform(0, 6, (count, 1)))
        pixels = 128 + 40 * waves[:, :, None, None] + rng.normal(0, 8 + seed % 7, (count, side, side, 3))
        self._pixels = pixels.clip(0, 255).astype(np.uint8).reshape(-1)  # pyright: ignore
        self._unchecked = np.zeros(count, bool)  # pyright: ignore
        self._images = pd.DataFrame({  # pyright: ignore
            "id": [f"{seed}-{number}" for number in range(count)], "label": labels, "height": side, "width": side,
            "source": [f"{seed}-{number}" for number in range(count)], "offset": 3 * side**2 * np.arange(count)})
        self.fingerprint = f"{task}-{split}-{count}-{side}-{seed}"

    def __len__(self) -> int:
        return len(self._images)


def seconds(work: Callable[[], object]) -> float:
    """Return the processor time of `work`."""
    begun = time.process_time()
    work()
    return time.process_time() - begun


def make_plan(labels: list[str], tasks: list[str], *, crop: int, pictures: int, taps: str) -> Plan:
    """Return the plan of `labels` on `tasks`; a memory keeps 5 % of the training pictures."""
    network = Plugin(name="efficientnet_lite0", settings={"taps": taps})
    training = TrainingConfig(epochs=30, lr=1e-3, crop=crop)
    memory = {"pictures": max(2 * len(tasks), len(tasks) * pictures // 20)}
    return Plan(sequence="heads", collection="heads", stages=make_stages([(task,) for task in tasks]), network=network,
                training=training, seeds=(0,), methods=tuple(
                    MethodPlan(label=label, method=label, settings=memory if facts(label).needs_memory else {},
                               network=network, tune="head", training=training) for label in labels)).resolved()


class Sequence:
    """Learning and scoring of the stages of all labels."""

    def __init__(self, plan: Plan, stores: dict[str, dict[str, PixelStore]], place: Path) -> None:
        self.plan, self.stores, self.place, self.runtime = plan, stores, place, Runtime()
        self.last: dict[str, Checkpoint | None] = {}

    def extract(self, tasks: list[str], folder: Path) -> None:
        """Compute the features of all splits of `tasks`."""
        network = self.plan.network
        detector = self.runtime.place(plugin.create("networks", network.name, network.settings, 0))
        for task in tasks:
            cache = FeatureCache(folder=folder / task, detector=detector, crop=self.plan.training.crop,
                                 runtime=self.runtime, progress=False)
            for split in SPLITS:
                cache.read(self.stores[split][task])

    def stage(self, label: str, stage: Stage) -> None:
        """Learn a stage of `label`, and score it."""
        found = learn_stage(plan=self.plan, method=label, seed=0, stage=stage, parent=self.last.get(label),
                            train=self.stores["train"], validation=self.stores["val"], folder=None,
                            runtime=self.runtime, features=self.place.joinpath)
        for split, tasks in (("test", self.plan.tasks), ("val", stage.seen)):
            score_checkpoint(found, {task: self.stores[split][task] for task in tasks}, runtime=self.runtime,
                             features=self.place.joinpath)
        self.last[label] = found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tasks", type=int, default=12)
    parser.add_argument("--pictures", type=int, default=1000)
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--taps", default="both")
    parser.add_argument("--labels", default=",".join(LABELS))
    given = parser.parse_args()
    tasks, labels = [f"task{number}" for number in range(given.tasks + 1)], given.labels.split(",")
    stores: dict[str, dict[str, PixelStore]] = {
        split: {task: Striped(task, split, round(share * given.pictures), given.crop, seed)
                for seed, task in enumerate(tasks)} for split, share in SHARES.items()}
    settings = {"crop": given.crop, "pictures": given.pictures, "taps": given.taps}
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        plan = make_plan(labels, tasks[:-1], **settings)
        sequence = Sequence(plan, stores, place)
        extracted = seconds(lambda: sequence.extract(tasks[:-1], place))
        print(f"features of {given.tasks} tasks: {extracted:.1f} s", flush=True)
        used = {}
        for label in labels:
            used[label] = seconds(lambda label=label: [sequence.stage(label, stage) for stage in plan.learned(label)])
            print(f"{label:<12}{used[label]:>8.1f} s, {len(plan.learned(label))} stages", flush=True)
        print(f"all labels and features over features alone: {1 + sum(used.values()) / extracted:.2f}")

        sequence.plan = make_plan(labels, tasks, **settings)
        more = seconds(lambda: sequence.extract(tasks[-1:], place))
        heads = {label: seconds(lambda label=label: sequence.stage(label, sequence.plan.stages[-1]))
                 for label in labels}
        print(f"one more task: features {more:.1f} s, heads "
              + ", ".join(f"{label} {value:.1f}" for label, value in heads.items()) + f": {sum(heads.values()):.1f} s")


if __name__ == "__main__":
    main()
