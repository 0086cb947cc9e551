"""Commands of the project: `run` with errors told in one message, and `step`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run

from fakemedia import project
from fakemedia.core import plugin
from fakemedia.core.errors import UserError


def _user_error(error: BaseException | None) -> UserError | None:
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def plain_errors(command: Callable) -> Callable:
    """Return `command` ending with the message alone where the user's input was at fault."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            return command(*args, **kwargs)
        except Exception as error:
            told = _user_error(error)
            if told is None:
                raise
            raise click.ClickException(str(told)) from error

    return wrapped


run = copy.copy(kedro_run)
run.callback = plain_errors(kedro_run.callback)  # type: ignore[arg-type]


@click.group(name="fakemedia")
def cli() -> None:
    """Commands of the fakemedia project."""


cli.add_command(run)


@cli.command()
@click.option("--network", required=True, type=click.Choice(plugin.names("networks")), help="Network of the detector.")
@click.option("--input-model", type=click.Path(path_type=Path),
              help="Checkpoint folder that the step starts from; without it the target is learned as a first task.")
@click.option("--output-dir", required=True, type=click.Path(path_type=Path), help="Where the new checkpoint goes.")
@click.option("--source-datasets", multiple=True, type=click.Path(path_type=Path),
              help="Folder of a task that the input model has learned; repeat it for several.")
@click.option("--target-dataset", required=True, type=click.Path(path_type=Path), help="Folder of the task to learn.")
@click.option("--method", default="kd", show_default=True, type=click.Choice(plugin.names("strategies")),
              help="Continual-learning method.")
@click.option("--pretrained", default="imagenet", show_default=True,
              help="Weights that a first task starts from: imagenet, none, or a file.")
@click.option("--preset", type=click.Choice(["paper"]), help="Settings of training and method as published.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the target's training images, at most.")
@click.option("--crop", type=click.IntRange(min=8), help="Side of the crop that the network sees, pixels.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Fixes all that is random.")
@plain_errors
def step(**options: Any) -> None:
    """Learn one more task by hand, on plain folders, without a sequence in the configuration.

    A task's folder is {train,val,test}/{0_real,1_fake}/ with image files; its name is the task's name. The result is
    a checkpoint folder, and a table of what was learned and what was kept.
    """
    from fakemedia.training.runtime import Runtime
    from fakemedia.training.step import learn_step

    runtime = plugin.configure(Runtime, project.parameters().get("runtime") or {}, where="runtime")
    table = learn_step(**options, cache=project.root() / "data" / "03_primary" / "step", runtime=runtime)
    click.echo(table.to_string(index=False, float_format="{:.3f}".format, na_rep="-"))
    click.echo(f"Checkpoint: {options['output_dir']}")
