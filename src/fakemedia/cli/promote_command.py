"""`kedro promote`: let a version serve."""

from __future__ import annotations

from pathlib import Path

import click

from fakemedia.cli.plain_errors import plain_errors
from fakemedia.cli.typed import as_typed
from fakemedia.context.loading import load_context
from fakemedia.core.errors import UserError


@click.command()
@click.argument("version", default="candidate")
@click.option("--by", required=True, help="Who promotes: a name for the record.")
@click.option("--gate", type=click.Path(path_type=Path), metavar="REPORT", help="Report of a gate that passed.")
@click.option("--force", "forced", metavar="REASON", help="Promote without a gate, for this reason.")
@plain_errors
def promote(version: str, by: str, gate: Path | None, forced: str | None) -> None:
    """Make VERSION (a number or an alias; by default the candidate) the champion, which serves.

    The former champion becomes `previous`. Who, when, from, to and the gate's report are recorded for good.
    """
    from fakemedia.registry.promotion import promote as change
    from fakemedia.registry.versions import find_version

    if gate is not None and forced is not None:
        raise UserError("A promotion goes through the gate or is forced, not both", where="--gate, --force")
    registry = load_context().open_registry()
    record = change(registry, find_version(registry, version), by=by, gate=gate, forced=forced)
    before = f"; before: version {record.before}, to go back to it: kedro rollback --by YOU" if record.before else ""
    click.echo(as_typed(f"Champion: version {record.after}{before}"))
