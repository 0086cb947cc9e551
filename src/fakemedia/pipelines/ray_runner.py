"""The runner for clusters: nodes that write files are computed by workers, several at once."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from kedro.framework.hooks.manager import _NullPluginManager
from kedro.io import AbstractDataset, MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner.task import Task

from fakemedia.catalog.artefact import Currency
from fakemedia.catalog.lineage import Lineage
from fakemedia.catalog.project_catalog import ProjectCatalog
from fakemedia.context.context import Context
from fakemedia.core.errors import UserError
from fakemedia.pipelines.run_progress import ParallelProgress, RunProgress
from fakemedia.pipelines.runner import ProjectRunner
from fakemedia.runtime import launch
from fakemedia.runtime.cluster import LOCAL, NONE, Cluster, connected
from fakemedia.runtime.threads import use_cores

if TYPE_CHECKING:
    from pluggy import PluginManager

LOGGERS = ("fakemedia", "kedro")
WITH_NETWORK = ("train_", "score_", "perturb_", "measure_")
"""Beginnings of the names of nodes that compute with a network."""


class RayRunner(ProjectRunner):
    """Runs the nodes of a pipeline by the workers of a Ray cluster (the parameters `cluster`), as soon as they can.

    A node that writes files is computed by a worker, which writes them itself, with their manifests: all machines share
    the project's folder. Inputs in memory are handed to it by value. Nodes whose results stay in memory, such as
    gathering stores and tables, run in this process.
    """

    def _run(self, pipeline: Pipeline, catalog: ProjectCatalog, hook_manager: PluginManager | None = None,
             run_id: str | None = None) -> None:
        assert catalog.lineage is not None
        context, hooks = catalog.lineage.context, hook_manager or _NullPluginManager()
        if launch.count() > 1 or context.runtime.devices > 1:
            raise UserError("A cluster runs one process for each node of a run", where="runtime.devices", expected="1",
                            do="run without a cluster to train on several devices at once: cluster.address=none")
        config = context.cluster
        if config.address == NONE:
            config = replace(config, address=LOCAL)
        with connected(config, compute) as cluster:
            cluster.check(context.root)
            if hook_manager is not None:
                self._follow(pipeline, context, hook_manager)
            _Schedule(self, pipeline, catalog, cluster, hooks, run_id, config.cores).run()

    def _progress(self, *args: Any) -> RunProgress:
        return ParallelProgress(*args)


class _Schedule:
    """The nodes of one run: which wait, run and are done."""

    def __init__(self, runner: RayRunner, pipeline: Pipeline, catalog: ProjectCatalog, cluster: Cluster, hooks: Any,
                 run_id: str | None, cores: int) -> None:
        self._runner, self._pipeline, self._catalog, self._cluster = runner, pipeline, catalog, cluster
        self._hooks, self._run_id, self._cores = hooks, run_id, cores
        self._readers = Counter(chain.from_iterable(node.inputs for node in pipeline.nodes))
        self._running: dict[Any, Node] = {}
        self._in_memory: dict[str, Any] = {}

    def run(self) -> None:
        dependencies = {node: set(nodes) for node, nodes in self._pipeline.node_dependencies.items()}
        waiting, done = list(self._pipeline.nodes), set[Node]()
        while waiting or self._running:
            ready = [node for node in waiting if dependencies[node] <= done]
            remote = [node for node in ready if self._writes(node)]
            for node in remote:
                self._submit(node)
            local = [node for node in ready if node not in remote][:1]
            waiting = [node for node in waiting if node not in remote and node not in local]
            done |= {self._compute(node) for node in local} or {self._finish()}

    def _writes(self, node: Node) -> bool:
        return any(self._is_stored(name) for name in node.outputs)

    def _is_stored(self, name: str) -> bool:
        return not isinstance(self._catalog.get(name), MemoryDataset)

    def _compute(self, node: Node) -> Node:
        """Compute a node in this process."""
        Task(node=node, catalog=self._catalog, is_async=False, hook_manager=self._hooks, run_id=self._run_id).execute()
        self._release(node)
        return node

    def _submit(self, node: Node) -> None:
        lineage = self._catalog.lineage
        assert lineage is not None
        self._hook("before_node_run", node)
        for name in filter(self._is_stored, node.outputs):
            if (artefact := lineage.artefact(name)) is not None:
                lineage.currency.recipe(artefact)  # So that no worker checks it again.
        in_memory = tuple(dict.fromkeys(name for name in node.inputs if not self._is_stored(name)))
        for name in in_memory:
            if name not in self._in_memory:
                self._in_memory[name] = self._cluster.put(self._catalog.load(name))
        stored = {name: self._catalog[name] for name in (*node.inputs, *node.outputs) if self._is_stored(name)}
        job = Job(node=node, context=lineage.context, currency=lineage.currency, stored=stored, in_memory=in_memory,
                  cores=self._cores)
        gpu = node.name.rpartition(".")[2].startswith(WITH_NETWORK)
        self._running[self._cluster.submit(job, *(self._in_memory[name] for name in in_memory), gpu=gpu)] = node

    def _finish(self) -> Node:
        """Wait for one of the running nodes, save its results, and return it."""
        reference = self._cluster.first_done(list(self._running))
        node, lineage = self._running.pop(reference), self._catalog.lineage
        assert lineage is not None
        answer: Answer = self._cluster.result(reference, node.name)
        for logger, level, message in answer.logged:
            logging.getLogger(logger).log(level, "%s", message)
        if answer.error is not None:
            self._hook("on_node_error", node, error=answer.error)
            raise answer.error
        for name in node.outputs:
            if not self._is_stored(name):
                self._catalog.save(name, answer.in_memory[name])
            elif (artefact := lineage.artefact(name)) is not None:
                lineage.currency.saved(artefact)
        self._hook("after_node_run", node, outputs={})
        self._release(node)
        return node

    def _release(self, node: Node) -> None:
        self._runner._release_datasets(node, self._catalog, self._readers, self._pipeline)
        self._in_memory = {name: value for name, value in self._in_memory.items() if self._readers[name] > 0}

    def _hook(self, name: str, node: Node, **arguments: Any) -> None:
        getattr(self._hooks.hook, name)(node=node, catalog=self._catalog, inputs={}, is_async=False,
                                        run_id=self._run_id, **arguments)


@dataclass(frozen=True, kw_only=True)
class Job:
    """What a worker needs to compute a node, beside its inputs in memory."""

    node: Node
    context: Context
    currency: Currency
    """What the command has found to be current."""
    stored: dict[str, AbstractDataset]
    """The files and folders that it reads and writes."""
    in_memory: tuple[str, ...]
    """The names of its inputs that are passed by value."""
    cores: int


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a worker returns of a node."""

    in_memory: dict[str, Any]
    """Its outputs in memory."""
    logged: list[tuple[str, int, str]]
    """Logger, level and text of its warnings."""
    error: UserError | None = None


def compute(job: Job, *values: Any) -> Answer:
    """Compute a node on a worker; `values` are its inputs in memory."""
    use_cores(job.cores)
    inputs = {name: MemoryDataset(value, copy_mode="assign") for name, value in zip(job.in_memory, values, strict=True)}
    outputs = {name: MemoryDataset(copy_mode="assign") for name in job.node.outputs if name not in job.stored}
    catalog = ProjectCatalog(datasets={**job.stored, **inputs, **outputs})
    catalog.lineage = Lineage(job.context)
    catalog.lineage.currency = job.currency
    catalog.fetch_outputs(job.node.outputs)
    no_hooks: Any = _NullPluginManager()
    with _warnings() as logged:
        try:
            Task(node=job.node, catalog=catalog, is_async=False, hook_manager=no_hooks).execute()
        except UserError as error:
            return Answer(in_memory={}, logged=logged, error=error)
    return Answer(in_memory={name: catalog.load(name) for name in outputs}, logged=logged)


class _WarningHandler(logging.Handler):
    """Keeps the text of warnings."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.logged: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.logged.append((record.name, record.levelno, record.getMessage()))


@contextmanager
def _warnings() -> Iterator[list[tuple[str, int, str]]]:
    """Yield the list of the warnings that are logged in the block."""
    handler = _WarningHandler()
    for name in LOGGERS:
        logging.getLogger(name).addHandler(handler)
    try:
        yield handler.logged
    finally:
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(handler)
