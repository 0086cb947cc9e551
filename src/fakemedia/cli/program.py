"""The command `fakemedia`: the project's commands without Kedro's, inside a project and, where they can, outside."""

import click

from fakemedia.cli import cli
from fakemedia.cli.init_command import init


@click.group(name="fakemedia", commands={**cli.commands, "init": init})
@click.version_option(package_name="fakemedia")
def program() -> None:
    """Continual deepfake detection.

    Run a sequence of fake-media tasks, see what is forgotten, score pictures, and keep a detector current. Outside a
    project: `init` makes one, `score` and `export` take a detector by its path.
    """
