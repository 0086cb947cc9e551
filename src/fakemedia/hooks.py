"""Checks before a run, and the headline after it."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import click
from kedro.framework.hooks import hook_impl
from kedro.pipeline import Pipeline
from kedro.pipeline.node import Node

from fakemedia.catalog.lineage import Lineage
from fakemedia.catalog.names import AUDIT_PAGE, CHECKPOINT, COMPARISON, HEADLINE, KEPT_RUNS, REPORT, SPLIT, VERDICT
from fakemedia.catalog.project_catalog import ProjectCatalog, ProjectContext
from fakemedia.cli.grouped_run import check_groups
from fakemedia.cli.typed import as_typed
from fakemedia.context.checks import check_trainable
from fakemedia.context.context import Context
from fakemedia.core.errors import UserError
from fakemedia.core.hashing import fingerprint
from fakemedia.core.plan import RESERVED, SEPARATOR, Plan
from fakemedia.pipelines.runner import is_shared
from fakemedia.runtime import launch


class ProjectHooks:
    """Checks the input before any node runs, and prints the results at the end."""

    @hook_impl
    def after_context_created(self, context: ProjectContext) -> None:
        """Keep the context of this session."""
        self._context = context.project
        self._checked: set[str | None] = set()

    @hook_impl
    def before_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline, catalog: ProjectCatalog) -> None:
        """Check the settings of every plugin, that the data exist, and that the report and the storage can be written.

        The storage gets what it lacks of the results that are current.
        """
        context, tags = self._context, _tags(pipeline)
        if context.storage is not None:
            context.storage.check()
            context.storage.read_all_manifests()
        self._tracked = context.tracking.enabled
        for plan in _plans(context, run_params):
            if "ingestion" in tags:
                _check_layout(context, plan)
            if "reporting" in tags:
                from fakemedia.artefacts.files import check_writable

                check_writable(context.path(REPORT, sequence=plan.sequence).parent)
            if "grouping" in tags:
                context.measures(plan.sequence)
            if "training" in tags or ("grouping" not in tags and not plan.stages):
                check_groups(Lineage(context), plan, ingests="ingestion" in tags)
                check_trainable(context, plan)
                runtime = context.runtime
                runtime.check()
                if runtime.devices > launch.count():
                    raise launch.RestartRequired(runtime.devices)
                if launch.count() > 1:
                    runtime.check_same({"parameters": fingerprint(context.parameters)})
        if context.storage is not None and launch.number() == 0:
            catalog.upload(sorted(pipeline.datasets()))

    @hook_impl
    def before_node_run(self, node: Node, catalog: ProjectCatalog) -> None:
        """Fetch results that need not be made; check all stages of a method before its first one, if the data exist."""
        catalog.fetch_outputs(node.outputs)
        if is_shared(node) and node.namespace not in self._checked:
            sequence, label = str(node.namespace).split("-")
            _check_stages(self._context, sequence, label)
            self._checked.add(node.namespace)

    @hook_impl
    def after_pipeline_run(self, run_params: dict[str, Any], pipeline: Pipeline) -> None:
        """Print the headline numbers and where the report is; after ingestion alone, where the audit is."""
        if launch.number() > 0:
            return
        context, tags = self._context, _tags(pipeline)
        for sequence in _sequences(context, run_params):
            if tags and tags <= {"ingestion"}:
                page = context.path(AUDIT_PAGE, collection=context.plan(sequence).collection, sequence=sequence)
                click.echo(f"\nAudit: {page}")
            if "reporting" not in tags:
                continue
            for headline, entry, name in ((HEADLINE, REPORT, "Report"), (VERDICT, COMPARISON, "Comparison")):
                text = context.path(headline, sequence=sequence)
                if text.exists():
                    click.echo("\n" + text.read_text(encoding="utf-8"))
                    click.echo(f"{name}: {context.path(entry, sequence=sequence)}")
            if REPORT.format(sequence=sequence) in pipeline.all_outputs():
                kept = _keep(context, sequence)
                click.echo(as_typed(f"Run: {kept} (kedro compare shows it beside others)"))
                if self._tracked:
                    _track(context, sequence, kept)


def _keep(context: Context, sequence: str) -> str:
    """Keep the results of a finished run and return its id."""
    from fakemedia.reporting.kept_runs import keep_run
    from fakemedia.reporting.provenance import run_facts

    plan, runs, storage = context.plan(sequence), context.path(KEPT_RUNS), context.storage
    if storage is not None:
        storage.fetch_tree(runs)
    run_id = keep_run(context.path(REPORT, sequence=sequence).parent, runs, sequence=sequence,
                      configuration=asdict(plan.resolved()), facts=run_facts())
    if storage is not None:
        storage.upload_tree(runs / run_id)
    return run_id


def _track(context: Context, sequence: str, run_id: str) -> None:
    """Log a kept run to MLflow; a server that does not answer is named, and stops nothing."""
    from fakemedia.registry.tracking import track_run
    from fakemedia.reporting.kept_runs import choose_runs, kept_runs

    plan, folder = context.plan(sequence), context.path(KEPT_RUNS)
    run, = choose_runs(kept_runs(folder)[0], [run_id], where=folder)
    checkpoints = {method.label: context.path(CHECKPOINT, sequence=sequence, label=method.label, seed=plan.seeds[0],
                                              stage=plan.learned(method.label)[-1].key) for method in plan.methods}
    figures = context.path(REPORT, sequence=sequence).parent / "figures"
    try:
        registry = context.open_registry(context.tracking.uri)
        track_run(registry, run, figures, checkpoints)
    except UserError as error:
        click.echo(f"The run is not logged to MLflow: {error}", err=True)
    else:
        click.echo(f"Logged to MLflow: {registry.where}")


def _tags(pipeline: Pipeline) -> set[str]:
    """Return the tags of what a pipeline does; gathering splits carries the tags of all readers and is ignored."""
    return {tag for node in pipeline.nodes for tag in node.tags
            if tag == "ingestion" or not str(node.namespace).endswith("-data")}


def _check_layout(context: Context, plan: Plan) -> None:
    settings = context.collection(plan.collection)
    if settings.forge is None and settings.source["name"] == "folder":
        from fakemedia.sources.layout import check_layout

        check_layout(settings.source["root"], plan.tasks, fakes_only=plan.real == "stored")


def _check_stages(context: Context, sequence: str, label: str) -> None:
    from fakemedia.learning.sequence import check_stages
    from fakemedia.store.pixels import PixelStore

    plan = context.plan(sequence)
    folders = {task: context.path(SPLIT, collection=plan.collection, task=task, split="train") for task in plan.tasks}
    check_stages(plan, label, {task: PixelStore.open(folder) for task, folder in folders.items() if folder.is_dir()})


def _sequences(context: Context, run_params: dict[str, Any]) -> list[str]:
    pipeline_names = run_params.get("pipeline_names") or ["__default__"]
    names = dict.fromkeys(name for name_list in pipeline_names for name in name_list.split(SEPARATOR))
    return [context.default_sequence if name == "__default__" else name for name in names if name not in RESERVED]


def _plans(context: Context, run_params: dict[str, Any]) -> list[Plan]:
    """Return the plans of the sequences that run, and of those that they are compared with."""
    plans = {plan.sequence: plan for name in _sequences(context, run_params) for plan in context.compared(name)}
    return list(plans.values())
