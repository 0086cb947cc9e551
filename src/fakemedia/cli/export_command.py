"""`kedro export`: a checkpoint as one ONNX file."""

from __future__ import annotations

from pathlib import Path

import click

from fakemedia.cli.plain_errors import plain_errors
from fakemedia.context.loading import load_context, project_folder


@click.command()
@click.argument("checkpoint")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="The file to write, such as model.onnx.")
@plain_errors
def export(checkpoint: str, out: Path) -> None:
    """Write a checkpoint as one ONNX file: uint8 pictures in, logits out, normalisation inside.

    CHECKPOINT is a folder, or sequence/label[/seed][/stage] inside the project. `kedro score --checkpoint` reads the
    file.
    """
    from fakemedia.catalog.handles import find_checkpoint
    from fakemedia.scoring.onnx_export import export as write

    facts = write(find_checkpoint(checkpoint, load_context() if project_folder() else None), out)
    click.echo(f"{out}: {facts.network}, {facts.crop} x {facts.crop} pixels, "
               f"{'calibrated' if facts.calibration else 'not calibrated'}")
