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
        """Run the nodes of `pipeline` and those that make what these need in memory."""
        complete = with_memory_inputs(pipeline, catalog)
        self._asked = len(complete.nodes)
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
        """Print how many nodes are skipped, and let the run print how far it is."""
        if len(pipeline.nodes) < self._asked:
            skipped = self._asked - len(pipeline.nodes)
            click.echo(f"Skipped: {skipped} of {self._asked} steps, whose results are current")
        sequences = {str(node.namespace).partition("-")[0] for node in pipeline.nodes if is_shared(node)}
        hook_manager.register(self._progress(pipeline.nodes, [context.plan(name) for name in sorted(sequences)]))

    def _progress(self, *given: Any) -> RunProgress:
        return RunProgress(*given)

    def _suggest_resume_scenario(self, *args: Any, **kwargs: Any) -> None:
        """Suggest nothing: after a failure the same command resumes."""


def with_memory_inputs(pipeline: Pipeline, catalog: ProjectCatalog) -> Pipeline:
    """Return `pipeline` with the nodes that make its inputs in memory, and the inputs of these in turn.

    Sequences of one collection have a node of one name that opens it, each for its own tasks: that of the registered
    pipeline which shares most nodes with `pipeline` is taken.
    """
    nodes = {node.name: node for node in pipeline.nodes}
    registered = sorted(pipelines.values(), key=lambda each: len(nodes.keys() & {node.name for node in each.nodes}))
    makers = {output: node for each in registered for node in each.nodes for output in node.outputs}
    left = [name for name in pipeline.inputs() if name in makers and _is_in_memory(name, catalog)]
    while left:
        node = makers[left.pop()]
        if node.name not in nodes:
            nodes[node.name] = node
            left += [name for name in node.inputs if name in makers and _is_in_memory(name, catalog)]
    return pipeline if len(nodes) == len(pipeline.nodes) else Pipeline(nodes.values())


def _is_in_memory(name: str, catalog: ProjectCatalog) -> bool:
    dataset = catalog.get(name)
    return dataset is None or isinstance(dataset, MemoryDataset)
