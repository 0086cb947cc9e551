"""`kedro compare`: finished runs side by side."""

from __future__ import annotations

import click

from fakemedia.catalog.names import KEPT_RUNS
from fakemedia.cli.plain_errors import plain_errors
from fakemedia.context.loading import load_context


@click.command()
@click.argument("runs", nargs=-1, metavar="[RUN]...")
@plain_errors
def compare(runs: tuple[str, ...]) -> None:
    """Compare finished runs on one page and in one CSV file; without names, all of them.

    RUN is the id of a run, its first characters, or a sequence: its newest run. `kedro run` keeps the results of every
    run in data/08_reporting/kept-runs.
    """
    from fakemedia.artefacts.files import write_file
    from fakemedia.reporting.kept_runs import choose_runs, kept_runs
    from fakemedia.reporting.runs_page import runs_page, runs_table

    context = load_context()
    folder = context.path(KEPT_RUNS)
    if context.storage is not None:
        context.storage.fetch_tree(folder)
    all_runs, damaged = kept_runs(folder)
    selected = choose_runs(all_runs, runs, where=folder)
    page, table = (folder.with_name(f"compared_runs.{kind}") for kind in ("html", "csv"))
    write_file(table, runs_table(selected).to_csv(index=False).encode())
    write_file(page, runs_page(selected, damaged).encode())
    for run in selected:
        click.echo(run.id)
    for name in damaged:
        click.echo(f"{name}: cannot be read and is left out", err=True)
    click.echo(f"\nComparison: {page}\nTable: {table}")
