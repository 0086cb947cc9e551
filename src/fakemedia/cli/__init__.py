"""Commands of the project: `run` with errors told in one message, `step`, `score`, `export` and `plan`."""

from __future__ import annotations

import copy
import traceback
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any

import click
from kedro.framework.cli.project import run as kedro_run
from kedro.framework.project import pipelines

from fakemedia.context import project
from fakemedia.core import plugin
from fakemedia.core.errors import UserError, unknown_name
from fakemedia.runtime import launch, signals


def _user_error(error: BaseException | None) -> UserError | None:
    while error is not None and not isinstance(error, UserError):
        error = error.__cause__ or error.__context__
    return error


def plain_errors(command: Callable) -> Callable:
    """Return `command` ending with the message alone where the user's input was at fault, or where it was stopped."""

    @wraps(command)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        try:
            with signals.watched():
                return command(*args, **kwargs)
        except KeyboardInterrupt:
            if launch.number() == 0:
                click.echo(f"\n{signals.message()}", err=True)
            raise click.exceptions.Exit(signals.STATUS) from None
        except Exception as error:
            told = _user_error(error)
            if told is None:
                raise
            raise click.ClickException(str(told)) from error

    return wrapped


def _is_refusal(error: ValueError) -> bool:
    """Say whether Kedro itself refuses a name of a pipeline, tag, node, namespace or dataset."""
    *_, (frame, _) = traceback.walk_tb(error.__traceback__)
    return frame.f_globals.get("__name__") in ("kedro.framework.session.session", "kedro.pipeline.pipeline")


def _check_tags(tags: Iterable[str]) -> None:
    known = {tag for pipeline in pipelines.values() for node in pipeline.nodes for tag in node.tags}
    for tag in tags:
        if tag not in known:
            raise unknown_name("tag", tag, known, where="--tags")


@plain_errors
def _run(**options: Any) -> Any:
    from fakemedia.cli import groups

    launch.hush()
    try:
        groups.measure_first(options, kedro_run.callback)  # type: ignore[arg-type]
        return kedro_run.callback(**options)  # type: ignore[misc]
    except launch.Wanted as wanted:
        launch.restart(wanted.devices)
    except ValueError as error:
        if not _is_refusal(error):
            raise
        for sequence in groups.asked(options):
            groups.check_known(project.plan(sequence), renewed=False)
        _check_tags(options["tags"] or ())
        raise UserError(str(error), where="options of kedro run", do="see the names with: kedro registry describe"
                        ) from error


run = copy.copy(kedro_run)
run.callback = _run


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
@click.option("--method", default="kd", show_default=True, type=click.Choice(plugin.names("methods")),
              help="Continual-learning method.")
@click.option("--pretrained", show_default="the network's own", help="Weights that a first task starts from: imagenet, "
              "none, or a file.")
@click.option("--preset", type=click.Choice(["paper"]), help="Settings of training and method as published.")
@click.option("--epochs", type=click.IntRange(min=1), help="Passes over the target's training images, at most.")
@click.option("--batch-size", type=click.IntRange(min=1), help="Images a training step.")
@click.option("--crop", type=click.IntRange(min=8), help="Side of the crop that the network sees, pixels.")
@click.option("--seed", default=0, show_default=True, type=click.IntRange(min=0), help="Fixes all that is random.")
@plain_errors
def step(**options: Any) -> None:
    """Learn one more task by hand, on plain folders, without a sequence in the configuration.

    A task's folder is {train,val,test}/{0_real,1_fake}/ with image files; its name is the task's name. The result is
    a checkpoint folder, and a table of what was learned and what was kept.
    """
    from fakemedia.learning.one_step import learn_step

    table = learn_step(**options, cache=project.root() / "data" / "03_primary" / "step", runtime=project.runtime(),
                       calibration=project.calibration_config())
    click.echo(table.to_string(index=False, float_format="{:.3f}".format, na_rep="-"))
    click.echo(f"Checkpoint: {options['output_dir']}")


@cli.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--checkpoint", required=True, metavar="CHECKPOINT", help="Checkpoint folder, .onnx file, or, inside the "
              "project, sequence/method[/seed][/stage] such as demo/kd: the last stage of the first seed.")
@click.option("--saliency", type=click.Path(path_type=Path), is_flag=False, flag_value="saliency", metavar="[DIR]",
              help="Draw what speaks for fake over every picture, as PNG files in DIR (default: saliency).")
@click.option("--out", type=click.Path(path_type=Path), help="CSV file for the scores.")
@click.option("--batch-size", default=64, show_default=True, type=click.IntRange(min=1), help="Pictures at once.")
@plain_errors
def score(paths: tuple[str, ...], checkpoint: str, **options: Any) -> None:
    """Say of pictures whether they are fake: files, folders (with all below them) and globs.

    Each gets P(fake) and a verdict (real, fake, unsure) by the checkpoint's calibration; files that cannot be read are
    named and skipped.
    """
    from fakemedia.catalog.handles import find_checkpoint
    from fakemedia.scoring.command import score_pictures

    if not paths:
        raise UserError("There is nothing to score", where="kedro score",
                        expected="files, folders or globs before the options")
    score_pictures(paths, checkpoint=find_checkpoint(checkpoint), runtime=project.runtime, tell=click.echo, **options)


@cli.command()
@click.argument("checkpoint")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write, such as model.onnx.")
@plain_errors
def export(checkpoint: str, out: Path) -> None:
    """Write a checkpoint as one ONNX file: uint8 pictures in, logits out, normalisation inside.

    CHECKPOINT is a folder, or sequence/method[/seed][/stage] inside the project. `kedro score --checkpoint` takes the
    file.
    """
    from fakemedia.catalog.handles import find_checkpoint
    from fakemedia.scoring.onnx_export import export

    facts = export(find_checkpoint(checkpoint), out)
    click.echo(f"{out}: {facts.network}, {facts.crop} x {facts.crop} pixels, "
               f"{'calibrated' if facts.calibration else 'not calibrated'}")


@cli.command()
@plain_errors
def plan(pipelines: list[str], **options: Any) -> None:
    """Print what a run would train and skip, with images, steps, time and disk, before anything runs.

    The data need not be there yet.
    """
    from fakemedia.cli.forecast import described

    project.configure(**options)
    names = [project.default_sequence() if name == "__default__" else name for name in pipelines or ["__default__"]]
    click.echo("\n\n".join(described(name) for name in names))


plan.params += [option for option in kedro_run.params if option.name in ("pipelines", "env", "conf_source", "params")]
