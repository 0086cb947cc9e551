"""Checks before a run, and the headline after it."""

from __future__ import annotations

from typing import Any

import click
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from fakemedia.catalog.names import AUDIT_PAGE, COMPARISON, HEADLINE, REPORT, SPLIT, VERDICT
from fakemedia.cli import groups
from fakemedia.context import project
from fakemedia.core.plan import Plan
from fakemedia.runtime import launch


def _sequences(run_params: dict[str, Any]) -> list[str]:
    names = run_params.get("pipeline_names") or ["__default__"]
    return [project.default_sequence() if name == "__default__" else name for name in names]


def _plans(run_params: dict[str, Any]) -> list[Plan]:
    """Return the plans of the sequences that run, and of those that they are compared with."""
    plans = {plan.sequence: plan for name in _sequences(run_params) for plan in project.compared(name)}
    return list(plans.values())


@project.remembered
def _check_stages(sequence: str, method: str) -> None:
    from fakemedia.learning.sequence import check_stages
    from fakemedia.store.pixels import PixelStore

    plan = project.plan(sequence)
    folders = {task: project.path(SPLIT, collection=plan.collection, task=task, split="train") for task in plan.tasks}
    check_stages(plan, method, {task: PixelStore.open(folder) for task, folder in folders.items() if folder.is_dir()})


def _is_shared(node: Node) -> bool:
    """Return whether all processes work on `node` together; every other node is the work of the first one."""
    return node.name.rpartition(".")[2].startswith("train_")


class ProjectHooks:
    """Bad input ends here, before any node runs."""

    _begun = False

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        """Check the settings of every plugin, that the data are there, and that the report can be written."""
        self._begun = False
        tags = {tag for node in pipeline.nodes for tag in node.tags}
        for plan in _plans(run_params):
            settings = project.collection(plan.collection)
            if "ingestion" in tags and not settings.get("forge") and settings["source"]["name"] == "folder":
                from fakemedia.sources.layout import check_layout

                check_layout(settings["source"]["root"], plan.tasks)
            if "reporting" in tags:
                from fakemedia.artefacts.files import check_writable

                check_writable(project.path(REPORT, sequence=plan.sequence).parent)
            if "grouping" in tags:
                project.measures(plan.sequence)
            if "training" in tags or ("grouping" not in tags and not plan.stages):
                groups.check_known(plan, renewed="ingestion" in tags)
                project.resolved_plan(plan.sequence)
                project.calibration_config()
                if robustness := project.robustness(plan.sequence):
                    robustness.conditions()
                runtime = project.runtime()
                runtime.check()
                if runtime.devices > launch.count():
                    raise launch.Wanted(runtime.devices)

    @hook_impl
    def before_node_run(self, node: Node) -> None:
        """Check all stages of a method before its first one, once the data are there.

        Let the first of several processes go ahead, but in training: the others then find its work done. All must have
        seen what is missing before it writes anything.
        """
        if launch.count() > 1 and not self._begun:
            project.runtime().wait()
        self._begun = True
        if _is_shared(node):
            _check_stages(*str(node.namespace).split("-"))
        if launch.number() > 0 and not _is_shared(node):
            project.runtime().wait()

    @hook_impl
    def after_node_run(self, node: Node) -> None:
        """Let the other processes follow."""
        if launch.count() > 1 and launch.number() == 0 and not _is_shared(node):
            project.runtime().wait()

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        """Print the headline numbers and where the report lies; after ingestion alone, where the audit lies."""
        if launch.number() > 0:
            return
        tags = {tag for node in pipeline.nodes for tag in node.tags}
        for sequence in _sequences(run_params):
            if tags and tags <= {"ingestion"}:
                page = project.path(AUDIT_PAGE, collection=project.plan(sequence).collection, sequence=sequence)
                click.echo(f"\nAudit: {page}")
            if "reporting" not in tags:
                continue
            for told, entry, name in ((HEADLINE, REPORT, "Report"), (VERDICT, COMPARISON, "Comparison")):
                text = project.path(told, sequence=sequence)
                if text.exists():
                    click.echo("\n" + text.read_text(encoding="utf-8"))
                    click.echo(f"{name}: {project.path(entry, sequence=sequence)}")
