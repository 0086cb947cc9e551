"""`kedro score`: are these pictures and videos fake?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from fakemedia.cli.plain_errors import plain_errors
from fakemedia.context.loading import load_context, project_folder
from fakemedia.core.errors import UserError


@click.command()
@click.argument("paths", nargs=-1, metavar="PATH...")
@click.option("--checkpoint", required=True, metavar="CHECKPOINT", help="Checkpoint folder, .onnx file, or, inside the "
              "project, sequence/label[/seed][/stage] such as demo/kd: the last stage of the first seed.")
@click.option("--saliency", type=click.Path(path_type=Path), is_flag=False, flag_value="saliency", metavar="[DIR]",
              help="Draw what speaks for fake over every picture, as PNG files in DIR (default: saliency).")
@click.option("--out", type=click.Path(path_type=Path), help="CSV file for the scores; a name that "
              "ends in .parquet is a folder of parts for millions of files: the same command resumes.")
@click.option("--crops", type=click.IntRange(min=1), help="Crops of a picture at most, spread evenly over it; "
              "their mean logit counts. 4 and 1, the centre, are calibrated.  [default: whichever was right more often "
              "in validation]")
@click.option("--frames", default=16, show_default=True, type=click.IntRange(min=1), help="Frames of a video, at even "
              "distances; their mean logit counts.")
@click.option("--faces", type=click.Choice(["frontal", "mtcnn", "none"]), is_flag=False, flag_value="frontal",
              help="Score the largest face of each picture and frame; files without one are skipped. mtcnn (extra "
              "faces) finds faces from the side, too.  [default: as its training pictures were cropped]")
@click.option("--batch-size", default=64, show_default=True, type=click.IntRange(min=1), help="Crops at once.")
@click.option("--cluster", metavar="ADDRESS", help="Score by the workers of a Ray cluster: local, auto, host:port or "
              "ray://host:port; with --out NAME.parquet.")
@plain_errors
def score(paths: tuple[str, ...], checkpoint: str, cluster: str | None, **options: Any) -> None:
    """Score pictures and videos: files, folders (with all below them) and globs.

    Each gets P(fake) and a verdict: fake, not flagged, unsure, or unknown where it is like nothing that the detector
    has learned. Files that cannot be read are listed and skipped.
    """
    from dataclasses import replace

    from fakemedia.catalog.handles import find_checkpoint
    from fakemedia.runtime.cluster import ClusterConfig
    from fakemedia.runtime.device import Runtime
    from fakemedia.scoring.command import score_pictures

    if not paths:
        raise UserError("There is nothing to score", where="kedro score",
                        expected="files, folders or globs before the options")
    context = load_context() if project_folder() else None
    cluster_config = replace(context.cluster if context else ClusterConfig(), address=cluster) if cluster else None
    score_pictures(paths, checkpoint=find_checkpoint(checkpoint, context), echo=click.echo, cluster=cluster_config,
                   runtime=lambda: context.runtime if context else Runtime(), **options)
