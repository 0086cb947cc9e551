"""`kedro step`: learn one more task by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fakemedia.cli.plain_errors import plain_errors
from fakemedia.context.loading import load_context
from fakemedia.core import plugin
from fakemedia.core.errors import UserError

OPTIONS = {"training.batch_size": "--batch-size", "training.crop": "--crop", "training.epochs": "--epochs",
           "training.lr": "the learning rate (training.lr of a sequence; kedro step has no option for it)"}


def _with_options(error: UserError) -> UserError:
    """Return `error` with the options of this command for the keys of a sequence's training."""
    text = str(error)
    for key, option in OPTIONS.items():
        text = text.replace(key, option)
    return UserError(text)


@click.command()
@click.option("--network", required=True, type=click.Choice(plugin.names("networks")), help="Network of the detector.")
@click.option("--input-model", type=click.Path(path_type=Path),
              help="Checkpoint folder that the step starts from; without it the target is learned as the first task.")
@click.option("--output-dir", required=True, type=click.Path(path_type=Path), help="Folder of the new checkpoint.")
@click.option("--source-datasets", multiple=True, type=click.Path(path_type=Path),
              help="Folder of a task that the input model has learned; repeat it for several.")
@click.option("--target-dataset", required=True, type=click.Path(path_type=Path), help="Folder of the task to learn.")
@click.option("--method", default="kd", show_default=True, type=click.Choice(plugin.names("methods")),
              help="Continual-learning method.")
@click.option("--pretrained", show_default="the network's own", help="Weights that a first task starts from: imagenet, "
              "none, or a file.")
@click.option("--preset", type=click.Choice(["paper"]), help="Settings of training and method as published.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the target's training images, at most.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images per training step.")
@click.option("--crop", type=click.IntRange(min=8), help="Side of the crop that the network sees, pixels.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Fixes all that is random.")
@plain_errors
def step(**options: Any) -> None:
    """Learn one more task by hand, on plain folders, without a sequence in the configuration.

    A task's folder is {train,val,test}/{0_real,1_fake}/ with image files; its name is the task's name. The result is
    a checkpoint folder, and a table of accuracies before and after.
    """
    from fakemedia.learning.one_step import learn_step

    context = load_context()
    try:
        table = learn_step(**options, cache=context.path("step_stores"), runtime=context.runtime,
                           calibration=context.calibration)
    except UserError as error:
        raise _with_options(error) from error
    click.echo(table.to_string(index=False, float_format="{:.3f}".format, na_rep="-"))
    click.echo(f"Checkpoint: {options['output_dir']}")
