"""`kedro rollback`: the version that served before serves again."""

from __future__ import annotations

import click

from fakemedia.cli.plain_errors import plain_errors
from fakemedia.context.loading import load_context


@click.command()
@click.option("--by", required=True, help="Who rolls back: a name for the record.")
@click.option("--reason", default="", help="Why, for the record.")
@plain_errors
def rollback(by: str, reason: str) -> None:
    """Make the version `previous` the champion again, with its calibration and all that belongs to it.

    The promotion stays on record, and so does the rollback.
    """
    from fakemedia.registry.promotion import roll_back

    record = roll_back(load_context().open_registry(), by=by, reason=reason)
    click.echo(f"Champion: version {record.after}; before: version {record.before}")
