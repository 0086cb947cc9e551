"""How far a run is: one line for each finished phase, and during training how long the rest will take."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta

import click
from kedro.framework.hooks import hook_impl
from kedro.pipeline.node import Node

from fakemedia.core.plan import Plan
from fakemedia.pipelines.training.pipeline import node_name

PHASES = {"ingestion": "Ingestion", "grouping": "Similarity", "training": "Training", "reporting": "Report"}
QUIET = 10.0
"""Seconds between two lines of a phase, at least."""


class RunProgress:
    """A hook that counts the finished nodes of a run, and prints.

    The time left is that of the trainings, each costed by the tasks that it learns: what a label took per task so far,
    or the mean of the others where none of its stages is finished.
    """

    def __init__(self, nodes: Iterable[Node], plans: Iterable[Plan]) -> None:
        """Follow the run of `nodes`, which train the stages of `plans`."""
        nodes = list(nodes)
        self._left = Counter(phase for node in nodes if (phase := _phase(node)))
        self._total = Counter(self._left)
        costs = stage_costs(plans)
        self._costs = {node.name: costs[node.name] for node in nodes if node.name in costs}
        self._stages = len(self._costs)
        self._spent: dict[str, float] = defaultdict(float)
        self._rates: dict[str, float] = {}
        self._printed = time.monotonic()
        self._started: dict[str, float] = {}

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Note when the node began."""
        self._started[node.name] = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Count the node; print where its phase ends, or some time has passed since the last line."""
        now, phase = time.monotonic(), _phase(node)
        if phase is None:
            return
        self._left[phase] -= 1
        taken = now - self._started.pop(node.name)
        self._spent[phase] += taken
        if node.name in self._costs:
            label = str(node.namespace)
            rate = taken / self._costs.pop(node.name)
            self._rates[label] = max(rate, self._rates.get(label, 0.0))
        if self._left[phase] == 0:
            self._print(f"{PHASES[phase]}: {self._done(phase)}, {_time(self._taken(phase))}", now)
        elif phase == "training" and self._costs and now - self._printed > QUIET:
            self._print(f"Training: {self._stages - len(self._costs)} of {self._stages} stages, about "
                       f"{_time(self.seconds_left())} left", now)

    def seconds_left(self) -> float:
        """Return how long the trainings that are left will take, seconds."""
        usual = sum(self._rates.values()) / max(1, len(self._rates))
        return sum(cost * self._rates.get(name.partition(".")[0], usual) for name, cost in self._costs.items())

    def _taken(self, phase: str) -> float:
        """Return the seconds that a phase took."""
        return self._spent[phase]

    def _done(self, phase: str) -> str:
        count, unit = (self._stages, "stage") if phase == "training" else (self._total[phase], "step")
        return f"{count} {unit}" + "s" * (count != 1)

    def _print(self, line: str, now: float) -> None:
        click.echo(line)
        self._printed = now


class ParallelProgress(RunProgress):
    """The same for nodes that are computed several at once: one line for each run, a label with a seed.

    The time left is that since the first node began, in proportion to the tasks that are learned and left.
    """

    def __init__(self, nodes: Iterable[Node], plans: Iterable[Plan]) -> None:
        """Follow the run of `nodes`, which train the stages of `plans`."""
        nodes = list(nodes)
        super().__init__(nodes, plans)
        self._runs = Counter(run for node in nodes if (run := _run(node)))
        self._count, self._finished = len(self._runs), 0
        self._whole = sum(self._costs.values())
        self._first = time.monotonic()
        self._begun: dict[str | None, float] = {}

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Note when the node and its phase began."""
        super().before_node_run(node)
        self._begun.setdefault(_phase(node), time.monotonic())

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Count the node; print where its run or its phase ends."""
        super().after_node_run(node)
        run = _run(node)
        if run is None:
            return
        self._runs[run] -= 1
        if self._runs[run] == 0:
            self._finished += 1
            left = self.seconds_left()
            self._print(f"Run {run}: done; {self._finished} of {self._count} runs"
                       + (f", about {_time(left)} left" if left else ""), time.monotonic())

    def seconds_left(self) -> float:
        """Return how long the trainings that are left will take, seconds."""
        left = sum(self._costs.values())
        if not left:
            return 0.0
        return (time.monotonic() - self._first) * left / max(self._whole - left, 1.0)

    def _taken(self, phase: str) -> float:
        return time.monotonic() - self._begun[phase]


def _run(node: Node) -> str | None:
    """Return the run that a node of the training belongs to, such as `demo/kd seed 0`; None for other nodes."""
    _, found, seed = node.name.rpartition("_seed")
    if "training" not in node.tags or not found:
        return None
    return f"{str(node.namespace).replace('-', '/')} seed {seed}"


def stage_costs(plans: Iterable[Plan]) -> Mapping[str, float]:
    """Return the number of tasks that each training of `plans` learns, by the name of its node."""
    return {f"{plan.sequence}-{method.label}.{node_name('train', method.label, seed, stage)}":
            float(len(plan.trained_tasks(method.label, stage)))
            for plan in plans for method in plan.methods for seed in plan.seeds_of(method.label)
            for stage in plan.learned(method.label)}


def _phase(node: Node) -> str | None:
    """Return the phase that a node belongs to; one that gathers data also has the tags of all its readers."""
    if str(node.namespace).endswith("-data"):
        return "ingestion"
    return next((phase for phase in PHASES if phase in node.tags), None)


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
