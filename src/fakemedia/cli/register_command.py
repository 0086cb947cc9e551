"""`kedro register`: a checkpoint as the next version of the detector."""

from __future__ import annotations

import click

from fakemedia.cli.plain_errors import plain_errors
from fakemedia.cli.typed import as_typed
from fakemedia.context.loading import load_context


@click.command()
@click.argument("checkpoint")
@click.option("--seed", type=click.IntRange(min=0), help="Seed of the run, instead of the first one.")
@click.option("--parent", type=click.IntRange(min=1), help="The version that it was learned from, if it does not name "
              "one itself.")
@plain_errors
def register(checkpoint: str, seed: int | None, parent: int | None) -> None:
    """Make a checkpoint the next version of the detector, and the candidate.

    CHECKPOINT is sequence/label[/seed][/stage], such as demo/kd, or a folder. The version holds all that serving and
    the next update need: weights, the method's state and memory, calibration, ONNX file and model card, each with its
    SHA-256.
    """
    from fakemedia.catalog.handles import card_info, find_checkpoint
    from fakemedia.registry.versions import register_checkpoint

    context = load_context()
    registry = context.open_registry()
    folder = find_checkpoint(checkpoint if seed is None else f"{checkpoint}/{seed}", context)
    version = register_checkpoint(registry, folder, card_info(folder, context, "unknown"), parent=parent)
    click.echo(f"Version {version.number}: {version.facts.origin}, {version.facts.network}, "
               f"{'calibrated' if version.facts.calibration else 'not calibrated: it gives no verdicts'}")
    click.echo(f"  knows {', '.join(version.facts.tasks)}")
    click.echo(as_typed(f"  {', '.join(version.aliases) or 'no alias'}; to let it serve: "
                        f"kedro promote {version.number} --by YOU"))
