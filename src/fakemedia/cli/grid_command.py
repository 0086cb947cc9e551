"""`kedro grid`: sequences x networks x labels x seeds in one run, and one table of all of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from fakemedia.catalog.names import KEPT_RUNS
from fakemedia.cli.params_option import params_option
from fakemedia.cli.plain_errors import plain_errors
from fakemedia.cli.run_command import defaults, run_pipelines
from fakemedia.context.context import Context
from fakemedia.context.loading import load_context
from fakemedia.core import plugin
from fakemedia.core.errors import UserError, unknown_name
from fakemedia.runtime import launch

if TYPE_CHECKING:
    import pandas as pd

TABLE_COLUMNS = ("aa", "forgetting", "bwt", "c_auc")
"""Columns of the table at the end, beside those that identify a run."""


def _list(_: click.Context, __: click.Parameter, text: str | None) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name.strip() for name in (text or "").split(",") if name.strip()))


@click.command()
@click.argument("sequences", nargs=-1, required=True, metavar="SEQUENCE...")
@click.option("--labels", callback=_list, help="Labels that run, with commas between; all of each sequence by default.")
@click.option("--seeds", type=click.IntRange(min=1), help="Number of seeds of every label.")
@click.option("--networks", callback=_list, help="Networks, with commas between; each sequence runs with each of them.")
@click.option("--env", help="Another set of parameters, in conf/<name>/.")
@params_option
@plain_errors
def grid(sequences: tuple[str, ...], labels: tuple[str, ...], seeds: int | None, networks: tuple[str, ...],
         env: str | None, params: dict[str, Any]) -> None:
    """Run a whole grid, SEQUENCE x network x label x seed, and print one table of all runs.

    What is current is skipped, so the same command resumes. Runs share one process, or, with the parameters `cluster`,
    the workers of a cluster. Another network than the sequence's own makes a sequence of its own name, such as
    demo_resnet50.
    """
    launch.silence_other_ranks()
    base = load_context(env=env, params=params)
    grid_params = {**params, "sequences": _merged(params.get("sequences") or {}, {
        name: cell for sequence in dict.fromkeys(sequences)
        for name, cell in cells(base, sequence, labels, seeds, networks).items()})}
    names = [name for sequence in dict.fromkeys(sequences) for name in cells(base, sequence, labels, seeds, networks)]
    context = load_context(env=env, params=grid_params)
    plans = [context.plan(name) for name in names]
    count = sum(len(plan.seeds_of(method.label)) for plan in plans for method in plan.methods)
    click.echo(f"Grid: {', '.join(names)}: {count} runs")
    try:
        run_pipelines(**{**defaults(), "pipelines": names, "params": grid_params, "env": env,
                         "only_missing_outputs": True})
    except launch.RestartRequired as error:
        launch.restart(error.devices)
    if launch.number() == 0:
        click.echo(f"\n{table(context, names).to_string(index=False, float_format='{:.3f}'.format, na_rep='-')}")
        click.echo(f"Table of all runs: {_table_path(context)}")


def cells(context: Context, sequence: str, labels: Iterable[str], seeds: int | None,
          networks: Sequence[str]) -> dict[str, dict[str, Any]]:
    """Return the changed parameters of `sequence` by the name of the sequence that runs; one for each network.

    UserError for an unknown sequence, label or network.
    """
    plan, entry = context.plan(sequence), dict(context.parameters["sequences"][sequence])
    plan_labels = [method.label for method in plan.methods]
    for label in labels:
        if label not in plan_labels:
            raise unknown_name("label", label, plan_labels, where=f"sequences.{sequence}.methods")
    for network in networks:
        if network not in plugin.names("networks"):
            raise unknown_name("network", network, plugin.names("networks"), where="--networks")
    overrides: dict[str, Any] = {"labels": list(labels)} if labels else {}
    overrides |= {"n_seeds": seeds} if seeds else {}
    by_name: dict[str, dict[str, Any]] = {}
    for network in networks or (plan.network.name,):
        if network == plan.network.name:
            by_name[sequence] = overrides
        else:
            by_name[f"{sequence}_{network}"] = {**entry, **overrides, "network": {"name": network}, "against": []}
    return by_name


def table(context: Context, names: Iterable[str]) -> pd.DataFrame:
    """Return the metrics of the newest kept runs of the sequences `names`: one row for each label and seed.

    UserError if a sequence has no kept run with its present configuration.
    """
    import pandas as pd

    from fakemedia.reporting.kept_runs import kept_runs

    runs, run_ids = kept_runs(context.path(KEPT_RUNS))[0], []
    for name in names:
        configuration = json.loads(json.dumps(asdict(context.plan(name).resolved()), default=str))
        matching = [run.id for run in runs if run.facts["configuration"] == configuration]
        if not matching:
            raise UserError("The results of the sequence are not kept", where=name, do="the same command, once more")
        run_ids.append(matching[-1])
    rows = pd.read_csv(_table_path(context)).set_index("run")
    return rows.loc[run_ids, ["sequence", "network", "method", "seed", *TABLE_COLUMNS]]


def _table_path(context: Context) -> Any:
    from fakemedia.reporting.kept_runs import TABLE

    return context.path(KEPT_RUNS).with_name(TABLE)


def _merged(old: Mapping[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """Return `old` with the keys of `new`; mappings under both are merged one level down."""
    return {**old, **{name: {**old.get(name, {}), **cell} for name, cell in new.items()}}
