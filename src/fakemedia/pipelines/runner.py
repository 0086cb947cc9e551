"""The project's runner: nodes run one after another, in one process or in several that train together."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.project import pipelines
from kedro.io import MemoryDataset
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node
from kedro.runner import SequentialRunner
from kedro.runner.task import Task

from fakemedia.pipelines.run_progress import RunProgress
from fakemedia.runtime import launch

if TYPE_CHECKING:
    from pluggy import PluginManager

    from fakemedia.catalog.project_catalog import ProjectCatalog
    from fakemedia.context.context import Context


def is_shared(node: Node) -> bool:
    """Return whether `node` runs in all processes (a training node); other nodes run on rank 0 only."""
    return node.name.rpartition(".")[2].startswith("train_")


class ProjectRunner(SequentialRunner):
    """Kedro's sequential runner, which can run any selection of nodes, and in several processes.

    Data sets in memory that the selected nodes need are made first. With several processes, training nodes run in all
    of them. Non-training nodes run on rank 0; other ranks wait and reuse its output.
    """

    def run(self, pipeline: Pipeline, catalog: ProjectCatalog, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Run the nodes of `pipeline` and those that produce their inputs in memory."""
        complete = with_memory_inputs(pipeline, catalog)
        self._requested = len(complete.nodes)
        return super().run(complete, catalog, *args, **kwargs)

    def _run(self, pipeline: Pipeline, catalog: ProjectCatalog, hook_manager: PluginManager | None = None,
             run_id: str | None = None) -> None:
        if launch.number() == 0 and hook_manager is not None and catalog.lineage is not None:
            self._follow(pipeline, catalog.lineage.context, hook_manager)
        if launch.count() == 1:
            return super()._run(pipeline, catalog, hook_manager, run_id)
        assert catalog.lineage is not None
        runtime, rank = catalog.lineage.context.runtime, launch.number()
        needed = with_memory_inputs(pipeline.filter(node_names=shared), catalog).nodes if (
            shared := [node.name for node in pipeline.nodes if is_shared(node)]) else []
        runtime.wait()  # All processes check what is missing before rank 0 writes.
        for node in pipeline.nodes:
            if rank > 0 and not is_shared(node):
                runtime.wait()
            if rank == 0 or node in needed:
                Task(node=node, catalog=catalog, is_async=False, hook_manager=hook_manager, run_id=run_id).execute()
            if rank == 0 and not is_shared(node):
                runtime.wait()

    @property
    def _logger(self) -> logging.Logger:
        return logging.getLogger("kedro.runner")

    def _follow(self, pipeline: Pipeline, context: Context, hook_manager: PluginManager) -> None:
        """Print how many nodes are skipped, and register the hook that prints the progress of the run."""
        if len(pipeline.nodes) < self._requested:
            skipped = self._requested - len(pipeline.nodes)
            click.echo(f"Skipped: {skipped} of {self._requested} steps, whose results are current")
        sequences = {str(node.namespace).partition("-")[0] for node in pipeline.nodes if is_shared(node)}
        hook_manager.register(self._progress(pipeline.nodes, [context.plan(name) for name in sorted(sequences)]))

    def _progress(self, *args: Any) -> RunProgress:
        return RunProgress(*args)

    def _suggest_resume_scenario(self, *args: Any, **kwargs: Any) -> None:
        """Suggest nothing: after a failure the same command resumes."""


def with_memory_inputs(pipeline: Pipeline, catalog: ProjectCatalog) -> Pipeline:
    """Return `pipeline` with the nodes that produce its inputs in memory, and, in turn, the inputs of those nodes.

    All sequences of a collection have a node of the same name that opens it, each for its own tasks: the one of the
    registered pipeline that shares most nodes with `pipeline` is used.
    """
    nodes = {node.name: node for node in pipeline.nodes}
    registered = sorted(pipelines.values(), key=lambda other: len(nodes.keys() & {node.name for node in other.nodes}))
    producers = {output: node for other in registered for node in other.nodes for output in node.outputs}
    missing = [name for name in pipeline.inputs() if name in producers and _is_in_memory(name, catalog)]
    while missing:
        node = producers[missing.pop()]
        if node.name not in nodes:
            nodes[node.name] = node
            missing += [name for name in node.inputs if name in producers and _is_in_memory(name, catalog)]
    return pipeline if len(nodes) == len(pipeline.nodes) else Pipeline(nodes.values())


def _is_in_memory(name: str, catalog: ProjectCatalog) -> bool:
    dataset = catalog.get(name)
    return dataset is None or isinstance(dataset, MemoryDataset)
