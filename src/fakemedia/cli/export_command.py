"""`kedro export`: a checkpoint as a detector folder, or as one ONNX file."""

from __future__ import annotations

from pathlib import Path

import click

from fakemedia.cli.plain_errors import plain_errors
from fakemedia.context.loading import load_context, project_folder
from fakemedia.core.errors import UserError


@click.command()
@click.argument("checkpoint")
@click.option("--to", type=click.Path(path_type=Path), metavar="FOLDER", help="Write a detector folder: weights, "
              "calibration, model card, hashes and, if the extra onnx is installed, model.onnx.")
@click.option("--out", type=click.Path(path_type=Path), metavar="FILE", help="Write one ONNX file, such as model.onnx.")
@click.option("--state", is_flag=True, help="Add to the folder what the method needs to learn another task; "
              "a memory holds training pictures.")
@click.option("--licence", default="unknown", show_default=True, help="Licence of the weights on the model card, as "
              "the Hugging Face hub names it, such as cc-by-nc-4.0.")
@plain_errors
def export(checkpoint: str, to: Path | None, out: Path | None, state: bool, licence: str) -> None:
    """Write a checkpoint as a detector for another machine: a folder for the Hugging Face hub, or one ONNX file.

    CHECKPOINT is a folder, or sequence/label[/seed][/stage] inside the project. `kedro score --checkpoint` reads both.
    The ONNX file takes uint8 pictures and gives logits; normalisation is inside.
    """
    from fakemedia.catalog.handles import card_info, find_checkpoint
    from fakemedia.scoring.detector_folder import write_detector
    from fakemedia.scoring.onnx_export import export as write
    from fakemedia.scoring.onnx_model import lacking

    if to is None and out is None:
        raise UserError("There is nothing to write", where="kedro export", expected="--to FOLDER or --out FILE.onnx")
    context = load_context() if project_folder() else None
    folder = find_checkpoint(checkpoint, context)
    for path in (to, out):
        if path is not None:
            facts = (write(folder, path) if path is out else
                     write_detector(folder, path, card_info(folder, context, licence), state=state,
                                    onnx=not lacking("onnx", "onnxscript")))
            click.echo(f"{path}: {facts.network}, {facts.crop} x {facts.crop} pixels, "
                       f"{'calibrated' if facts.calibration else 'not calibrated'}")
