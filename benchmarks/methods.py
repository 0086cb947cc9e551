"""Continual-learning methods on a folder of tasks in the reference layout: what each keeps and what it costs.

    python benchmarks/methods.py --data FOLDER [--order task1,task2,...]... [--seeds 3] [--labels ridge,replay_5,...]
    python benchmarks/methods.py --data FOLDER --tune all --labels finetune,replay_12,joint --epochs 6 --lr 3e-4

A frozen network and its head (`--tune head`, the default) on features that are computed once; any other `--tune` trains
the network itself. `replay_5` keeps 5 % of the training pictures, `replay_12` 12 %; `kd_paper` has the preset `paper`;
any other label has its settings in `--settings`, as JSON: '{"ewc_strong": {"weight": 1e5}}'. `--terms` adds the loss
terms of the second stage in its first and last epoch. The table gives the mean over seeds
with the standard deviation: AA (mean over tasks of the accuracy at the end), pooled (over pictures), F (forgetting) and
LA (accuracy just after learning) in percent, AUC (mean over tasks at the end), next (AUC on each task just before it is
learned), MiB carried to the next stage, and seconds of processor time without features and scoring. `route` is the
share of test pictures that the router of `experts` sends to their own task's expert. Test pictures choose nothing.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from features import task_stores

from fakemedia.core.plan import MethodPlan, Named, Plan
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import SPLITS, make_stages
from fakemedia.evaluation.continual import summary
from fakemedia.evaluation.metrics import auc
from fakemedia.evaluation.predict import margins, predict
from fakemedia.learning.head_trainer import Head, HeadTrainer
from fakemedia.learning.sequence import learn_stage, restore_network
from fakemedia.methods.experts import ExpertsHead
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.runtime.device import Runtime
from fakemedia.store.pixels import PixelStore

Stores = dict[str, dict[str, PixelStore]]
LABELS = ("finetune", "replay_5", "replay_12", "ridge", "slda", "experts", "joint")


def make_plan(given: argparse.Namespace, order: list[str], stores: Stores) -> Plan:
    """Return the plan of all labels on the tasks in `order`."""
    pictures = sum(map(len, stores["train"].values()))
    settings = {"taps": given.taps} | ({} if given.head == "linear" else {"head": given.head})
    network = Named(name=given.network, settings=settings)
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


class Scorer:
    """Scores of checkpoints on one split, from stored features where the head alone was trained."""

    def __init__(self, plan: Plan, runtime: Runtime, place: Path) -> None:
        self.plan, self.runtime, self.place = plan, runtime, place
        self._trainer: HeadTrainer | None = None

    def logits(self, checkpoint: Checkpoint, stores: dict[str, PixelStore]) -> tuple[list[np.ndarray], float | None]:
        """Return the margins (N,) on each of `stores`, and the share that a router sends to its own task."""
        network = restore_network(checkpoint)
        if checkpoint.meta["tune"] != "head":
            network = self.runtime.place(network)
            return [predict(network, store, batch_size=64, crop=checkpoint.crop, autocast=self.runtime.autocast)
                    for store in stores.values()], None
        if self._trainer is None:
            self._trainer = HeadTrainer(config=self.plan.training, runtime=self.runtime, seed=0, network=network,
                                        place=self.place.joinpath)
        features = [torch.from_numpy(self._trainer.features(store).values[0]) for store in stores.values()]
        with torch.inference_mode():
            found = [margins(Head(network).eval()(values)) for values in features]
            head = network.head
            routed = [float((head.route(values) == number).float().mean()) for number, values in enumerate(features)
                      if isinstance(head, ExpertsHead) and number < len(head.weight)]
        return found, float(np.mean(routed)) if routed else None


def run(plan: Plan, label: str, seed: int, stores: Stores, scorer: Scorer, runtime: Runtime,
        place: Path, split: str) -> dict[str, Any]:
    """Return the row of the table for one run."""
    stages, parent, used, route = plan.learned(label), None, 0.0, None
    terms: list[dict[str, float]] = []
    tasks = list(plan.tasks)
    accuracy, areas = np.full((2, len(plan.stages), len(tasks)), np.nan)
    pooled, carried = np.nan, 0
    for stage in stages:
        begun = time.process_time()
        parent = learn_stage(plan=plan, method=label, seed=seed, stage=stage, parent=parent, train=stores["train"],
                             validation=stores["val"], folder=None, runtime=runtime, features=place.joinpath)
        used += time.process_time() - begun
        if stage.index == 2 and parent.meta["history"]:
            terms = [parent.meta["history"][epoch]["loss"] for epoch in (0, -1)]
        found, route = scorer.logits(parent, {task: stores[split][task] for task in tasks})
        labels = [stores[split][task].labels for task in tasks]
        right = [(logits > 0) == of_task for logits, of_task in zip(found, labels, strict=True)]
        accuracy[stage.index - 1] = [100 * each.mean() for each in right]
        areas[stage.index - 1] = [float(auc(of_task, logits)) for logits, of_task in zip(found, labels, strict=True)]
        pooled = 100 * float(np.concatenate(right).mean())
        carried = sum(tensor.numel() * tensor.element_size() for tensor in parent.method_state.values())
    learned = np.arange(len(tasks))
    made = summary(accuracy, areas, learned)
    return {"label": label, "AA": made["aa"], "pooled": pooled, "F": made["forgetting"],
            "LA": made["learning_accuracy"], "AUC": areas[-1].mean(), "next": np.diag(areas, 1).mean(),
            "MiB": carried / 2**20, "seconds": used, "route": None if route is None else 100 * route,
            "tasks": accuracy[-1], "terms": terms}


def table(rows: list[dict[str, Any]], tasks: list[str]) -> Iterator[str]:
    """Yield the lines of the table: means over seeds."""
    frame = pd.DataFrame(rows)
    yield (f"{'':<12}{'AA':>13}{'pooled':>8}{'F':>13}{'LA':>7}{'AUC':>7}{'next':>7}{'MiB':>7}{'seconds':>9}{'route':>7}"
           f"   {' '.join(tasks)}")
    for label, runs in frame.groupby("label", sort=False):
        mean = runs.drop(columns=["label", "tasks", "terms"]).astype(float).mean()
        spread = runs[["AA", "F"]].astype(float).std(ddof=1).fillna(0.0)
        each = " ".join(f"{value:.1f}" for value in np.mean(runs["tasks"].tolist(), axis=0))
        yield (f"{label:<12}{mean['AA']:>7.1f} ({spread['AA']:.1f}){mean['pooled']:>8.1f}{mean['F']:>7.1f} "
               f"({spread['F']:.1f}){mean['LA']:>7.1f}{mean['AUC']:>7.3f}{mean['next']:>7.3f}{mean['MiB']:>7.1f}"
               f"{mean['seconds']:>9.1f}{mean['route']:>7.1f}   {each}")


def term_lines(rows: list[dict[str, Any]]) -> Iterator[str]:
    """Yield the loss terms of the second stage in its first and last epoch: means over seeds."""
    for label, runs in pd.DataFrame(rows).groupby("label", sort=False):
        for epoch, records in zip(("first", "last"), zip(*runs["terms"], strict=True), strict=False):
            means = pd.DataFrame(list(records)).mean()
            yield f"{label:<12} {epoch:<5} epoch: " + ", ".join(f"{name} {value:.4g}" for name, value in means.items())


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--order", action="append", help="tasks in turn, with commas; may be given several times; all "
                        "by name unless given")
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
    orders = [order.split(",") for order in given.order] if given.order else [tasks]
    runtime = Runtime()
    with tempfile.TemporaryDirectory() as scratch:
        place = given.keep or Path(scratch)
        found = {task: task_stores(given.data, task, place / "stores") for task in tasks}
        stores = {split: {task: splits[split] for task, splits in found.items()} for split in SPLITS}
        for order in orders:
            plan = make_plan(given, order, stores)
            scorer, rows = Scorer(plan, runtime, place / "features"), []
            begun = time.perf_counter()
            warm = replace(plan, methods=(replace(plan.methods[0], label="warm", method="ridge", settings={}),))
            if given.tune == "head":
                run(warm.resolved(), "warm", 0, stores, scorer, runtime, place / "features", given.split)
            print(f"{', '.join(order)}: features and one pass {time.perf_counter() - begun:.1f} s")
            for method in plan.methods:
                rows += [run(plan, method.label, seed, stores, scorer, runtime, place / "features", given.split)
                         for seed in plan.seeds]
            print(*table(rows, order), *(term_lines(rows) if given.terms else []), sep="\n", flush=True)


if __name__ == "__main__":
    main()
