"""Continual-learning methods on a folder of tasks in the reference layout: what each keeps and what it costs.

    python benchmarks/methods.py --data FOLDER [--order given reversed task2,task1,...] [--seeds 3] [--leave-out]
    python benchmarks/methods.py --data FOLDER --tune all --labels finetune,replay_12,joint --epochs 6 --lr 3e-4

A frozen network and its head (`--tune head`, the default) on features that are computed once; any other `--tune` trains
the network itself. `replay_5` keeps 5 % of the training pictures, `replay_12` 12 %; `kd_paper` has the preset `paper`;
any other label has its settings in `--settings`, as JSON: '{"ewc_strong": {"weight": 1e5}}'. `--terms` adds the loss
terms of the second stage in its first and last epoch. `given` is the order of the tasks' names. Test pictures choose
nothing.

The table gives means over seeds, with 95 % intervals over source groups and seeds: AA (mean over tasks of the accuracy
at the end), pooled (over pictures), F (forgetting), LA (accuracy just after learning) and gap (the share of the
distance from `finetune` to `joint` that is closed) in percent; AUC (mean over tasks at the end), next (AUC on each task
just before it is learned), unknown (AUC on tasks not learned yet, mean over all stages; with `--leave-out` of detectors
that have learned all other tasks); MiB carried to the next stage and MiB of the validation pictures that the last one
uses; seconds of processor time for all stages, without features and scoring. `route` is the share of pictures that the
router of `experts` sends to their own task's expert.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from features import task_stores

from fakemedia.core.plan import MethodPlan, Plan, Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import SPLITS, make_stages
from fakemedia.evaluation.continual import (
    RANGES,
    average_accuracy,
    forgetting,
    forward_auc,
    learning_accuracy,
    peak_stage,
    zero_shot,
)
from fakemedia.evaluation.intervals import FRACTION, PERCENT, Bounds
from fakemedia.evaluation.metrics import auc
from fakemedia.learning.head_trainer import HeadTrainer
from fakemedia.learning.sequence import learn_stage, restore_network, score_checkpoint
from fakemedia.memory.budget import MIB
from fakemedia.methods.experts import ExpertsHead
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.reporting.estimates import Bootstrap, Quantity, estimate, gap_closed, measure
from fakemedia.reporting.results import gather
from fakemedia.runtime.device import Runtime
from fakemedia.store.pixels import PixelStore

Stores = dict[str, dict[str, PixelStore]]
FRACTIONS, WIDE = ("AUC", "next", "unknown"), ("AA", "F", "AUC", "gap")
LABELS = ("finetune", "replay_5", "replay_12", "ridge", "slda", "experts", "joint")


def make_plan(given: argparse.Namespace, order: list[str], stores: Stores) -> Plan:
    """Return the plan of all labels on the tasks in `order`."""
    pictures = sum(map(len, stores["train"].values()))
    settings = {"taps": given.taps} | ({} if given.head == "linear" else {"head": given.head})
    network = Plugin(name=given.network, settings=settings)
    training = TrainingConfig(epochs=given.epochs, batch_size=given.batch_size, lr=given.lr, crop=given.crop,
                              views=tuple(given.views.split(",")), weight_decay=given.weight_decay,
                              select_on=given.select_on, norm_statistics=given.norm_statistics,
                              correction=given.correction)

    own = json.loads(given.settings)

    def settings_of(label: str, kind: str) -> dict[str, Any]:
        if label in own:
            return own[label]
        if not kind.isdecimal():
            return {"preset": kind} if kind else {}
        return {"pictures": round(int(kind) / 100 * pictures), "selection": given.selection}

    def method(label: str) -> MethodPlan:
        name, _, kind = label.partition("_")
        return MethodPlan(label=label, method=name, settings=settings_of(label, kind), network=network, tune=given.tune,
                          training=training)

    return Plan(sequence="benchmark", collection="benchmark", stages=make_stages([(task,) for task in order]),
                network=network, training=training, seeds=tuple(range(given.seeds)),
                methods=tuple(map(method, given.labels.split(",")))).resolved()


@dataclass(frozen=True, kw_only=True)
class Bench:
    """What all runs share."""

    stores: Stores
    """By split and task."""
    runtime: Runtime
    place: Path
    """Folder of the features."""
    split: str
    """The split that is scored."""

    def learned(self, plan: Plan, label: str, seed: int) -> Iterator[Checkpoint]:
        """Yield the checkpoints of a run, by stage."""
        parent = None
        for stage in plan.learned(label):
            parent = learn_stage(plan=plan, method=label, seed=seed, stage=stage, parent=parent,
                                 train=self.stores["train"], validation=self.stores["val"], folder=None,
                                 runtime=self.runtime, features=self.place.joinpath)
            yield parent

    def scores(self, checkpoint: Checkpoint, tasks: Iterable[str]) -> pd.DataFrame:
        """Return the scores of a checkpoint on the pictures of `tasks`."""
        return score_checkpoint(checkpoint, {task: self.stores[self.split][task] for task in tasks},
                                runtime=self.runtime, features=self.place.joinpath)

    def run(self, plan: Plan, label: str, seed: int) -> tuple[pd.DataFrame, dict[str, Any]]:
        """Return the scores of all checkpoints of a run, and what it costs."""
        tables, terms, used, begun, last = [], [], 0.0, time.process_time(), None
        before: dict[str, float] = {}
        for last in self.learned(plan, label, seed):
            used += time.process_time() - begun
            stage, history = last.meta["stage"]["index"], last.meta["history"]
            if stage == 1 and plan.method(label).method == "ewc":
                before = {"fisher": sum(float(tensor.sum()) for tensor in last.method_state.values())}
            if stage == 2 and history:
                terms = [{**before, **history[epoch]["loss"]} for epoch in (0, -1)]
            tables.append(self.scores(last, plan.tasks).assign(method=label, seed=seed, stage=stage))
            begun = time.process_time()
        assert last is not None
        carried = sum(tensor.numel() * tensor.element_size() for tensor in last.method_state.values())
        shown = sum(int(3 * (store.heights * store.widths).sum()) for task, store in self.stores["val"].items()
                    if task in plan.validated_tasks(label, plan.stages[-1]))
        return pd.concat(tables), {"label": label, "MiB": carried / MIB, "val": shown / MIB, "seconds": used,
                                   "route": self.routed(last, plan), "terms": terms}

    def routed(self, checkpoint: Checkpoint, plan: Plan) -> float:
        """Return the percentage of pictures that a router sends to their own task's expert; NaN without a router."""
        network = restore_network(checkpoint)
        if not isinstance(network.head, ExpertsHead):
            return float("nan")
        trainer = HeadTrainer(config=plan.training, runtime=self.runtime, seed=0, network=network,
                              feature_folder=self.place.joinpath)
        right = [network.head.route(torch.from_numpy(trainer.features(self.stores[self.split][task]).values[0]))
                 == number for number, task in enumerate(plan.tasks)]
        return 100 * float(np.mean([each.float().mean() for each in right]))

    def unknown(self, plan: Plan, label: str, seed: int) -> float:
        """Return the mean over tasks of the AUC on each of a detector that has learned all the others."""
        areas = []
        for task in plan.tasks:
            others = make_stages([(each,) for each in plan.tasks if each != task])
            *_, last = self.learned(replace(plan, stages=others), label, seed)
            scores = self.scores(last, [task])
            areas.append(float(auc(scores["label"].to_numpy(), scores["logit"].to_numpy())))
        return float(np.mean(areas))


def table(plan: Plan, scores: pd.DataFrame, costs: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the lines of the table."""
    labels = [method.label for method in plan.methods]
    measured = measure(gather(scores, sequence=plan.sequence, network=plan.network.name, stages=plan.stages,
                              methods=labels, seeds=plan.seeds))
    found = {name: estimate(measured, quantity, bounds) for name, (quantity, bounds) in quantities(measured).items()}
    if {"finetune", "joint"} <= {*labels}:
        found["gap"] = gap_closed(measured, labels.index("finetune"), labels.index("joint"))
    of_label: Any = pd.DataFrame(costs).drop(columns="terms").groupby("label", sort=False).mean()
    nothing = np.full(len(labels), np.nan)
    for name in of_label.columns:  # `unknown` by leaving tasks out replaces that of earlier stages
        found[name] = (of_label[name].to_numpy(), nothing, nothing)
    yield f"{'':<12}" + "".join(f"{name:>{_width(name)}}" for name in found) + f"   {' '.join(plan.tasks)}"
    tasks = measured.accuracy[:, :, -1].mean(0)
    for number, label in enumerate(labels):
        cells = "".join(_cell(name, *(float(each[number]) for each in values)) for name, values in found.items())
        yield f"{label:<12}{cells}   {' '.join(f'{value:.1f}' for value in tasks[number])}"


def quantities(measured: Bootstrap) -> dict[str, tuple[Quantity, Bounds]]:
    """Return what is estimated from the matrices of accuracy and AUC, and the ends of its range, by name."""
    learned, share = measured.learned, measured.images / measured.images.sum()
    peak = peak_stage(measured.accuracy, learned)
    return {
        "AA": (lambda accuracy, _: average_accuracy(accuracy), PERCENT),
        "pooled": (lambda accuracy, _: accuracy[..., -1, :] @ share, PERCENT),
        "F": (lambda accuracy, _: forgetting(accuracy, learned, peak), RANGES["forgetting"]),
        "LA": (lambda accuracy, _: learning_accuracy(accuracy, learned).mean(-1), PERCENT),
        "AUC": (lambda _, area: area[..., -1, :].mean(-1), FRACTION),
        "next": (lambda _, area: zero_shot(area, learned)[..., learned > 0].mean(-1), FRACTION),
        "unknown": (lambda _, area: forward_auc(area, learned), FRACTION),
    }


def _width(name: str) -> int:
    return 22 if name in WIDE else 9


def _cell(name: str, mean: float, low: float, high: float) -> str:
    digits = 3 if name in FRACTIONS else 1
    text = "-" if np.isnan(mean) else f"{mean:.{digits}f}"
    if name in WIDE and not np.isnan(low):
        text += f" [{low:.{digits}f}, {high:.{digits}f}]"
    return f"{text:>{_width(name)}}"


def term_lines(costs: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the loss terms of the second stage in its first and last epoch: means over seeds.

    For `ewc` with the sum of the Fisher information of the first stage.
    """
    for label, runs in pd.DataFrame(costs).groupby("label", sort=False):
        for epoch, records in zip(("first", "last"), zip(*runs["terms"], strict=True), strict=False):
            means = pd.DataFrame(list(records)).mean()
            yield f"{label:<12} {epoch:<5} epoch: " + ", ".join(f"{name} {value:.4g}" for name, value in means.items())


def read_orders(given: list[str], tasks: list[str]) -> list[list[str]]:
    """Return the orders of the tasks that `given` stands for: `given`, `reversed`, or names with commas."""
    known = {"given": tasks, "reversed": tasks[::-1]}
    return [known.get(order) or order.split(",") for order in given]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--order", nargs="+", default=["given"], help="given: tasks by name; reversed; or tasks in "
                        "turn, with commas")
    parser.add_argument("--leave-out", action="store_true", help="measure `unknown` by leaving each task out")
    parser.add_argument("--labels", default=",".join(LABELS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--network", default="efficientnet_lite0")
    parser.add_argument("--taps", default="both", choices=["head", "blocks", "both"])
    parser.add_argument("--head", default="linear", choices=["linear", "mlp"])
    parser.add_argument("--tune", default="head")
    parser.add_argument("--views", default="centre")
    parser.add_argument("--selection", default="reservoir")
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--weight-decay", type=float, default=0.01)
    parser.add_argument("--select-on", default="seen", choices=["seen", "current", "none"])
    parser.add_argument("--norm-statistics", default="running",
                        choices=["running", "frozen_after_first", "reestimated"])
    parser.add_argument("--correction", default="none", choices=["none", "affine"])
    parser.add_argument("--split", default="test", choices=SPLITS, help="what is scored; val to choose a setting")
    parser.add_argument("--settings", default="{}")
    parser.add_argument("--terms", action="store_true")
    parser.add_argument("--keep", type=Path, help="folder that keeps pixel stores and features for the next time")
    given = parser.parse_args()
    tasks = sorted(path.name for path in given.data.iterdir() if path.is_dir())
    runtime = Runtime()
    with tempfile.TemporaryDirectory() as scratch:
        place = given.keep or Path(scratch)
        found = {task: task_stores(given.data, task, place / "stores") for task in tasks}
        stores = {split: {task: splits[split] for task, splits in found.items()} for split in SPLITS}
        bench = Bench(stores=stores, runtime=runtime, place=place / "features", split=given.split)
        for order in read_orders(given.order, tasks):
            plan, begun = make_plan(given, order, stores), time.perf_counter()
            if given.tune == "head":
                warm = replace(plan, methods=(replace(plan.methods[0], label="warm", method="ridge", settings={}),))
                bench.run(warm.resolved(), "warm", 0)
            print(f"{', '.join(order)}: features and one pass {time.perf_counter() - begun:.1f} s")
            scores, costs = [], []
            for label, seed in product([method.label for method in plan.methods], plan.seeds):
                scored, cost = bench.run(plan, label, seed)
                scores.append(scored)
                costs.append({**cost, **({"unknown": bench.unknown(plan, label, seed)} if given.leave_out else {})})
            lines = [*table(plan, pd.concat(scores), costs), *(term_lines(costs) if given.terms else [])]
            print(*lines, sep="\n", flush=True)


if __name__ == "__main__":
    main()
