"""Commands of the project, and `run` with errors in one message."""

import click

from fakemedia.cli.compare_command import compare
from fakemedia.cli.export_command import export
from fakemedia.cli.forge_command import forge
from fakemedia.cli.gate_command import gate
from fakemedia.cli.grid_command import grid
from fakemedia.cli.monitor_command import monitor
from fakemedia.cli.plan_command import plan
from fakemedia.cli.promote_command import promote
from fakemedia.cli.register_command import register
from fakemedia.cli.rollback_command import rollback
from fakemedia.cli.run_command import run
from fakemedia.cli.score_command import score
from fakemedia.cli.serve_command import serve
from fakemedia.cli.step_command import step
from fakemedia.cli.unlearn_command import unlearn
from fakemedia.cli.update_command import update
from fakemedia.cli.versions_command import versions
from fakemedia.cli.watch_command import watch


@click.group(name="fakemedia")
def cli() -> None:
    """Commands of the fakemedia project."""


for command in (run, grid, step, score, export, plan, compare, register, versions, promote, rollback, serve, monitor,
                unlearn, gate, update, watch, forge):
    cli.add_command(command)
