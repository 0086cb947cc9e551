"""Sequences that learn groups of tasks: the groups are found first, then their stages are registered.

Kedro's pipelines are made before a run starts, but groups are known only after ingestion. So if groups are missing or
stale, `kedro run` becomes two runs: ingestion and grouping, then the command as given.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kedro.framework.project import pipelines

from fakemedia.catalog.lineage import Lineage
from fakemedia.context.context import Context
from fakemedia.context.loading import load_context
from fakemedia.core.errors import UserError
from fakemedia.core.plan import RESERVED, SEPARATOR, Plan

REGISTRY = "fakemedia.pipeline_registry"
FIRST = ("ingestion", "grouping")
SELECTIONS = ("node_names", "from_nodes", "to_nodes", "from_inputs", "to_outputs", "namespaces")


def measure_first(options: dict[str, Any], run: Callable[..., Any]) -> None:
    """Find the missing or stale groups that `kedro run` with `options` needs; `run` is that command.

    Only for commands that include grouping: `--tags training` uses the groups found last.
    """
    if options["tags"] and "grouping" not in options["tags"]:
        return
    context = load_context(env=options["env"], conf_source=options["conf_source"], params=options["params"])
    ungrouped = _needing_groups(context, requested_sequences(context, options))
    if ungrouped:
        grouping_options = {**options, "pipeline": None, "pipelines": [SEPARATOR.join(ungrouped)], "tags": FIRST,
                            "only_missing_outputs": False}
        run(**{**grouping_options, **dict.fromkeys(SELECTIONS, ())})
        pipelines.configure(REGISTRY)


def requested_sequences(context: Context, options: dict[str, Any]) -> list[str]:
    """Return the sequences that `kedro run` with `options` runs."""
    names = {name for pipeline in _requested_pipelines(options) or ["__default__"]
             for name in pipeline.split(SEPARATOR)}
    return sorted(context.default_sequence if name == "__default__" else name for name in names - {*RESERVED})


def merge_sequences(options: dict[str, Any]) -> dict[str, Any]:
    """Return `options` with all sequences that they name as one pipeline, in which they share their data."""
    names = _requested_pipelines(options)
    sequences = [name for name in names if name not in (*RESERVED, "__default__")]
    if len(sequences) < 2:
        return options
    others = [name for name in names if name not in sequences]
    return {**options, "pipeline": None, "pipelines": [*others, SEPARATOR.join(sequences)]}


def _requested_pipelines(options: dict[str, Any]) -> list[str]:
    """Return the names of the pipelines that `kedro run` with `options` runs, without duplicates."""
    return [name for name in dict.fromkeys([*(options["pipelines"] or ()), options["pipeline"]]) if name is not None]


def _needing_groups(context: Context, names: list[str]) -> list[str]:
    """Return the sequences of `names` without current groups, their own or of a sequence they are compared with."""
    lineage = Lineage(context)
    return [name for name in names if name in context.sequences and any(
        plan.grouping is not None and not _are_current(lineage, plan) for plan in context.compared(name))]


def _are_current(lineage: Lineage, plan: Plan) -> bool:
    return bool(plan.stages) and lineage.content(lineage.groups(sequence=plan.sequence)) is not None


def check_groups(lineage: Lineage, plan: Plan, *, ingests: bool) -> None:
    """Raise UserError unless the stages of `plan` are known, and stay known if the run ingests the data again."""
    if plan.grouping is None or (plan.stages and (not ingests or _are_current(lineage, plan))):
        return
    raise UserError("The groups of tasks that the sequence learns are unknown, or not those of the current data",
                    where=f"sequences.{plan.sequence}.stages", expected="groups made by the grouping pipeline",
                    do=f"kedro run --pipelines {plan.sequence} --tags {','.join(FIRST)}, then your command again")
