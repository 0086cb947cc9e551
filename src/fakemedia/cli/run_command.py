"""`kedro run`: Kedro's command, with errors in one message and groups found first."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import pipelines

from fakemedia.catalog.lineage import Lineage
from fakemedia.cli.grouped_run import check_groups, measure_first, merge_sequences, requested_sequences
from fakemedia.cli.plain_errors import plain_errors
from fakemedia.cli.run_log import logging_to_file
from fakemedia.context.loading import load_context, project_folder
from fakemedia.core.errors import UserError, unknown_name
from fakemedia.runtime import launch
from fakemedia.runtime.cluster import NONE

RUNNER = "fakemedia.pipelines.runner.ProjectRunner"
ON_CLUSTER = "fakemedia.pipelines.ray_runner.RayRunner"


def defaults() -> dict[str, Any]:
    """Return the options of a plain `kedro run`."""
    return kedro_run.make_context("run", []).params


def run_pipelines(**options: Any) -> Any:
    """Run pipelines with all the `options` of `kedro run`, groups found first.

    UserError for bad input, `launch.RestartRequired` if the run needs several processes.
    """
    options = {**options, "runner": options["runner"] or _runner(options)}
    try:
        with _logging():
            measure_first(options, kedro_run.callback)  # type: ignore[arg-type]
            return kedro_run.callback(**merge_sequences(options))  # type: ignore[misc]
    except ValueError as error:
        if not _is_refusal(error):
            raise
        context = load_context(env=options["env"], conf_source=options["conf_source"], params=options["params"])
        for sequence in requested_sequences(context, options):
            check_groups(Lineage(context), context.plan(sequence), ingests=False)
        _check_tags(options["tags"] or ())
        raise UserError(str(error), where="options of kedro run", do="see the names with: kedro registry describe"
                        ) from error


def _runner(options: dict[str, Any]) -> str:
    """Return the runner that the parameters ask for."""
    context = load_context(env=options["env"], conf_source=options["conf_source"], params=options["params"])
    return ON_CLUSTER if context.parameters.get("cluster") and context.cluster.address != NONE else RUNNER


@plain_errors
def _run(**options: Any) -> Any:
    launch.silence_other_ranks()
    try:
        return run_pipelines(**options)
    except launch.RestartRequired as error:
        launch.restart(error.devices)


def _logging() -> AbstractContextManager[Any]:
    """Log to the project's file, by the first of several processes."""
    project = project_folder()
    return logging_to_file(project) if project is not None and launch.number() == 0 else nullcontext()


def _is_refusal(error: ValueError) -> bool:
    """Return whether Kedro itself refuses a name of a pipeline, tag, node, namespace or dataset."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__") in ("kedro.framework.session.session", "kedro.pipeline.pipeline")


def _check_tags(tags: Iterable[str]) -> None:
    all_tags = {tag for pipeline in pipelines.values() for node in pipeline.nodes for tag in node.tags}
    for tag in tags:
        if tag not in all_tags:
            raise unknown_name("tag", tag, all_tags, where="--tags")


def _tags_option(option: click.Option) -> click.Option:
    """Return Kedro's option `--tags`, whose repetitions add tags instead of replacing them."""
    merged = copy.copy(option)
    merged.multiple, merged.default = True, ()
    merged.callback = lambda _, __, values: [tag.strip() for value in values for tag in value.split(",") if tag.strip()]
    return merged


run = copy.copy(kedro_run)
run.callback = _run
run.params = [_tags_option(option) if isinstance(option, click.Option) and option.name == "tags" else option
              for option in kedro_run.params]
