"""`kedro update`: the champion learns one more task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fakemedia.cli.params_option import params_option
from fakemedia.cli.plain_errors import plain_errors
from fakemedia.cli.typed import as_typed
from fakemedia.context.loading import load_context


@click.command()
@click.option("--task", required=True, help="Name of the new task.")
@click.option("--data", required=True, type=click.Path(path_type=Path), help="Folder with its pictures in 1_fake/ and, "
              "if there are any, 0_real/; in train/, val/ and test/, or not split yet.")
@click.option("--label", help="Label of the champion's sequence whose method learns the task, instead of the "
              "champion's own.")
@params_option
@plain_errors
def update(task: str, data: Path, label: str | None, params: dict[str, Any]) -> None:
    """Learn one more task on top of the champion, and register the result as the candidate.

    The pictures are audited and stored; the champion's method continues from its state and memory. The new version is
    calibrated, and knows what it does not know. The champion stays as it is: next, kedro gate.
    """
    from fakemedia.pipelines.update.nodes import run_update
    from fakemedia.registry.update_config import UpdateConfig

    version = run_update(load_context(params=params), UpdateConfig(task=task, data=str(data.resolve()), label=label))
    click.echo(f"Version {version.number}: {version.facts.origin}, from version {version.facts.parent}")
    click.echo(f"  knows {', '.join(version.facts.tasks)}")
    click.echo(as_typed("  To compare it with the champion: kedro gate"))
