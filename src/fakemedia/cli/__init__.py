"""Commands of the project: `run` with errors in one message, `step`, `score`, `export`, `plan` and `compare`."""

import click

from fakemedia.cli.compare_command import compare
from fakemedia.cli.export_command import export
from fakemedia.cli.plan_command import plan
from fakemedia.cli.run_command import run
from fakemedia.cli.score_command import score
from fakemedia.cli.step_command import step


@click.group(name="fakemedia")
def cli() -> None:
    """Commands of the fakemedia project."""


for command in (run, step, score, export, plan, compare):
    cli.add_command(command)
