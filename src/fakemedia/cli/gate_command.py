"""`kedro gate`: may a candidate replace the champion?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fakemedia.cli.params_option import params_option
from fakemedia.cli.plain_errors import plain_errors
from fakemedia.cli.typed import as_typed
from fakemedia.context.loading import load_context


@click.command()
@click.argument("version", default="candidate")
@click.option("--data", "folders", multiple=True, type=click.Path(path_type=Path), help="Folder of a task whose test "
              "pictures are used instead of the project's; its name is the task's. Repeat it for several.")
@params_option
@plain_errors
def gate(version: str, folders: tuple[Path, ...], params: dict[str, Any]) -> None:
    """Compare VERSION (a number or an alias; by default the candidate) with the champion on the same test pictures.

    It passes if it is not worse on any task that the champion knows, better on a new one, does not call too many real
    pictures fake, and has no regression case. Writes a page, and the report that `kedro promote --gate` reads.
    Exit status: 0 pass, 3 fail, 4 too few pictures to tell.
    """
    from fakemedia.pipelines.promotion.nodes import run_gate
    from fakemedia.registry.gate import STATUS, describe

    report, path = run_gate(load_context(params=params), version, folders)
    click.echo(describe(report))
    click.echo(f"Report: {path}\nPage: {path.with_suffix('.html')}")
    if report["outcome"] == "pass":
        click.echo(as_typed(f"To promote: kedro promote {report['versions']['candidate']} --by YOU --gate {path}"))
    raise click.exceptions.Exit(STATUS[report["outcome"]])
