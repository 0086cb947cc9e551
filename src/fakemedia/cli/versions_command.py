"""`kedro versions`: the versions of the detector, and who let which of them serve."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from fakemedia.cli.plain_errors import plain_errors
from fakemedia.cli.typed import as_typed
from fakemedia.context.loading import load_context

if TYPE_CHECKING:
    from fakemedia.registry.promotion import Change
    from fakemedia.registry.versions import Version


@click.command()
@click.option("--history", "changes", is_flag=True, help="Every promotion and rollback instead.")
@plain_errors
def versions(changes: bool) -> None:
    """List the versions of the detector, or who let which of them serve, and when."""
    import pandas as pd

    from fakemedia.registry.promotion import history
    from fakemedia.registry.versions import list_versions

    registry = load_context().open_registry()
    rows = ([_change_row(entry) for entry in history(registry)] if changes else
            [_version_row(entry) for entry in list_versions(registry)])
    empty_message = "No promotion yet" if changes else "No version yet: kedro register SEQUENCE/LABEL"
    click.echo(pd.DataFrame(rows).to_string(index=False) if rows else as_typed(empty_message))


def _version_row(version: Version) -> dict[str, object]:
    return {"version": version.number, "alias": ", ".join(version.aliases) or "-",
            "registered": f"{version.created:%Y-%m-%d %H:%M}", "from": version.facts.origin,
            "parent": version.facts.parent or "-", "network": version.facts.network,
            "tasks": ", ".join(version.facts.tasks), "content": version.content[:12]}


def _change_row(change: Change) -> dict[str, object]:
    kind = change.kind if change.made else f"{change.kind} (interrupted, not made)"
    return {"when": f"{change.when:%Y-%m-%d %H:%M}", "what": kind, "from": change.before or "-", "to": change.after,
            "by": change.by, "gate": change.gate_sha256[:12] or "-", "reason": change.reason or "-"}
