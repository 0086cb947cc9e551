"""`kedro watch`: the loop from a new folder to a promoted detector, unattended."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from fakemedia.cli.params_option import params_option
from fakemedia.cli.plain_errors import plain_errors
from fakemedia.cli.typed import as_typed
from fakemedia.context.loading import load_context
from fakemedia.core.errors import UserError

if TYPE_CHECKING:
    from fakemedia.registry.update_record import Outcome


@click.command()
@click.argument("incoming", type=click.Path(path_type=Path))
@click.option("--once", is_flag=True, help="Process what is there and exit, with the status 3 if a folder was refused "
              "or did not pass, 4 if there were too few pictures to tell, else 0.")
@click.option("--by", default="kedro watch", show_default=True, help="Who promotes: a name for the record.")
@click.option("--every", default=30.0, show_default=True, type=click.FloatRange(min=0.1), metavar="SECONDS",
              help="How often INCOMING is checked. A folder is processed once it has not changed since the last check.")
@params_option
@plain_errors
def watch(incoming: Path, once: bool, by: str, every: float, params: dict[str, Any]) -> None:
    """Learn each new folder in INCOMING, named after its task, and let the result serve if it passes the gate.

    As kedro update, kedro gate and kedro promote by hand. What becomes of each folder is recorded, and it is not taken
    again until its files change. It may be killed at any time: the next start resumes.
    """
    from fakemedia.pipelines.update.watch import watch_once

    context = load_context(params=params)
    if once:
        outcomes = []
        for outcome in watch_once(context, incoming, by, _announced):
            outcomes.append(outcome)
            _print(outcome)
        raise click.exceptions.Exit(_status(outcomes))
    last_files: dict[str, str] = {}

    def unchanged(task: str, files: str) -> bool:
        previous, last_files[task] = last_files.get(task), files
        return previous == files and _announced(task, files)

    click.echo(as_typed(f"Watching {incoming}, every {every:g} seconds"))
    while True:
        try:
            for outcome in watch_once(context, incoming, by, unchanged):
                _print(outcome)
        except UserError as error:
            click.echo(as_typed(f"Error: {error}"), err=True)
        time.sleep(every)


def _announced(task: str, files: str) -> bool:
    """Print that `task` is being learned, because no line follows for minutes; return True: its folder is ready."""
    click.echo(as_typed(f"{task}: learning it, then comparing with the champion"))
    return True


def _print(outcome: Outcome) -> None:
    version = f", version {outcome.version}" if outcome.version else ""
    click.echo(as_typed(f"{outcome.task}: {outcome.outcome}{version}"
                        + (f"\n  {outcome.reason}" if outcome.reason else "")))


def _status(outcomes: list[Outcome]) -> int:
    kinds = {outcome.outcome for outcome in outcomes}
    return 3 if kinds & {"refused", "fail"} else 4 if "too few to tell" in kinds else 0
