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
MIN_INTERVAL = 10.0
"""Seconds between two lines of a phase, at least."""


class RunProgress:
    """A hook that counts the finished nodes of a run, and prints.

    The remaining time is that of the trainings. A training costs its number of tasks times the time that its label has
    taken per task so far, or the mean of the other labels where none of its stages is finished.
    """

    def __init__(self, nodes: Iterable[Node], plans: Iterable[Plan]) -> None:
        """Follow the run of `nodes`, which train the stages of `plans`."""
        nodes = list(nodes)
        self._remaining = Counter(phase for node in nodes if (phase := _phase(node)))
        self._total = Counter(self._remaining)
        costs = stage_costs(plans)
        self._costs = {node.name: costs[node.name] for node in nodes if node.name in costs}
        self._stages = len(self._costs)
        self._phase_seconds: dict[str, float] = defaultdict(float)
        self._rates: dict[str, float] = {}
        self._last_print = time.monotonic()
        self._started: dict[str, float] = {}

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Record the start time of the node."""
        self._started[node.name] = time.monotonic()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Count the node; print a line if its phase ends, or if MIN_INTERVAL has passed since the last line."""
        now, phase = time.monotonic(), _phase(node)
        if phase is None:
            return
        self._remaining[phase] -= 1
        seconds = now - self._started.pop(node.name)
        self._phase_seconds[phase] += seconds
        if node.name in self._costs:
            label = str(node.namespace)
            rate = seconds / self._costs.pop(node.name)
            self._rates[label] = max(rate, self._rates.get(label, 0.0))
        if self._remaining[phase] == 0:
            self._print(f"{PHASES[phase]}: {self._done(phase)}, {_time(self._duration(phase))}", now)
        elif phase == "training" and self._costs and now - self._last_print > MIN_INTERVAL:
            self._print(f"Training: {self._stages - len(self._costs)} of {self._stages} stages, about "
                       f"{_time(self.seconds_left())} left", now)

    def seconds_left(self) -> float:
        """Return how long the trainings that are left will take, seconds."""
        mean_rate = sum(self._rates.values()) / max(1, len(self._rates))
        return sum(cost * self._rates.get(name.partition(".")[0], mean_rate) for name, cost in self._costs.items())

    def _duration(self, phase: str) -> float:
        """Return the seconds that a phase took."""
        return self._phase_seconds[phase]

    def _done(self, phase: str) -> str:
        count, unit = (self._stages, "stage") if phase == "training" else (self._total[phase], "step")
        return f"{count} {unit}" + "s" * (count != 1)

    def _print(self, line: str, now: float) -> None:
        click.echo(line)
        self._last_print = now


class ParallelProgress(RunProgress):
    """Progress of nodes that are computed several at once: one line for each run, a label with a seed.

    The remaining time is extrapolated from the time since the first node began, in proportion to the tasks learned.
    """

    def __init__(self, nodes: Iterable[Node], plans: Iterable[Plan]) -> None:
        """Follow the run of `nodes`, which train the stages of `plans`."""
        nodes = list(nodes)
        super().__init__(nodes, plans)
        self._runs = Counter(run for node in nodes if (run := _run(node)))
        self._count, self._finished = len(self._runs), 0
        self._total_cost = sum(self._costs.values())
        self._start = time.monotonic()
        self._phase_starts: dict[str | None, float] = {}

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Record the start times of the node and its phase."""
        super().before_node_run(node)
        self._phase_starts.setdefault(_phase(node), time.monotonic())

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Count the node; print a line if its run or its phase ends."""
        super().after_node_run(node)
        run = _run(node)
        if run is None:
            return
        self._runs[run] -= 1
        if self._runs[run] == 0:
            self._finished += 1
            remaining = self.seconds_left()
            self._print(f"Run {run}: done; {self._finished} of {self._count} runs"
                       + (f", about {_time(remaining)} left" if remaining else ""), time.monotonic())

    def seconds_left(self) -> float:
        """Return how long the trainings that are left will take, seconds."""
        remaining = sum(self._costs.values())
        if not remaining:
            return 0.0
        return (time.monotonic() - self._start) * remaining / max(self._total_cost - remaining, 1.0)

    def _duration(self, phase: str) -> float:
        return time.monotonic() - self._phase_starts[phase]


def _run(node: Node) -> str | None:
    """Return the run that a node of the training belongs to, such as `demo/kd seed 0`; None for other nodes."""
    _, separator, seed = node.name.rpartition("_seed")
    if "training" not in node.tags or not separator:
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
