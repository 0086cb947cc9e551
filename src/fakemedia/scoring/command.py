"""Score pictures and videos: from paths to the table, the files of scores and the overlays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fakemedia.artefacts.files import check_writable, write_file
from fakemedia.core.errors import UserError
from fakemedia.scoring.clips import score_media
from fakemedia.scoring.open_model import open_model
from fakemedia.scoring.paths import check_file, find_media
from fakemedia.scoring.score_parts import SUFFIX, Options, parts, score_in_parts
from fakemedia.scoring.scores import resolve_faces
from fakemedia.scoring.summary import csv_table, describe, reasons, shortened, summarise, summarise_parts
from fakemedia.store.faces import FaceChoice, check_detector

if TYPE_CHECKING:
    from fakemedia.runtime.cluster import ClusterConfig
    from fakemedia.runtime.device import Runtime


def score_pictures(paths: Sequence[str], *, checkpoint: Path, saliency: Path | None, out: Path | None,
                   batch_size: int, crops: int | None, frames: int, faces: FaceChoice | None,
                   runtime: Callable[[], Runtime], echo: Callable[[str], None],
                   cluster: ClusterConfig | None = None) -> None:
    """Score pictures and videos at `paths` (see `find_media`) by `checkpoint` (see `open_model`); print with `echo`.

    At most `crops` crops of each picture (None: as many as the detector is best on in validation), and `frames` frames
    of each video, are used; each is cropped to its largest face first, if a detector of `faces` is given or, by
    default, if the training pictures were. With `out` the scores are written as a CSV file (see `csv_table`), or, by
    its ending, in parts (see `score_in_parts`), which a `cluster` may compute; with `saliency` an overlay of each
    picture, and of the loudest frame of each video, into that folder. UserError, before anything is scored, if an input
    does not exist or a result cannot be written; and at the end, if no file could be read.
    """
    if out is not None and out.suffix == SUFFIX:
        if saliency is not None:
            raise UserError("Overlays are not drawn for scores in parts", where="--saliency",
                            do="score the pictures that matter once more, without --out")
        model = open_model(checkpoint, runtime)
        if detector := resolve_faces(model.facts, faces):
            check_detector(detector)
        options = Options(batch_size=batch_size, crops=crops or model.facts.usual_crops, frames=frames,
                          faces=detector or "none")
        echo(describe(model.facts, checkpoint, options.crops, detector))
        score_in_parts(model, paths, out, options, checkpoint=checkpoint, runtime=runtime, cluster=cluster, echo=echo)
        echo(summarise_parts(parts(out), out.parent))
        echo(f"Scores: {out} ({len(parts(out))} parts)")
        return
    if cluster is not None:
        raise UserError("A cluster writes scores in parts", where="--cluster", expected=f"--out NAME{SUFFIX}")
    media = find_media(paths, without=saliency)
    if saliency is not None:
        check_writable(saliency)
    if out is not None:
        if out.suffix != ".csv":
            raise UserError("The file's name has another ending", where=out,
                            expected=f"a name that ends in .csv or {SUFFIX}")
        check_file(out)
    model = open_model(checkpoint, runtime)
    if detector := resolve_faces(model.facts, faces):
        check_detector(detector)
    on_batch = None
    if saliency is not None:
        from fakemedia.scoring.overlays import Overlays

        on_batch = Overlays(model, saliency, [*media.files, *media.clips]).write
    echo(describe(model.facts, checkpoint, crops or model.facts.usual_crops, detector))
    scores = score_media(model, media, batch_size=batch_size, crops=crops, frames=frames, faces=faces,
                         on_batch=on_batch)
    if all(scores["error"]):
        raise UserError("No picture or video could be scored", where="; ".join(shortened(reasons(scores, media))),
                        expected="picture or video files")
    echo("")
    echo(summarise(scores, media))
    if out is not None:
        text = csv_table(scores, model.facts, out.parent).to_csv(index=False)
        write_file(out, text.encode(errors="surrogateescape"))
        echo(f"Scores: {out}")
    if saliency is not None:
        echo(f"Overlays: {saliency}")
