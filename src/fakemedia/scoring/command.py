"""Score picture files: from paths to the table, the CSV file and the overlays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fakemedia.artefacts.files import check_writable, write_file
from fakemedia.core.errors import UserError
from fakemedia.scoring.open_model import open_model
from fakemedia.scoring.paths import check_file, find_pictures
from fakemedia.scoring.scores import score_files
from fakemedia.scoring.summary import csv_table, describe, reasons, shortened, summarise

if TYPE_CHECKING:
    from fakemedia.runtime.device import Runtime


def score_pictures(paths: Sequence[str], *, checkpoint: Path, saliency: Path | None, out: Path | None,
                   batch_size: int, crops: int, runtime: Callable[[], Runtime], tell: Callable[[str], None]) -> None:
    """Score the pictures at `paths` (see `find_pictures`) by `checkpoint` (see `open_model`); print with `tell`.

    At most `crops` crops of each picture are used. With `out` the scores are written as a CSV file (see
    `csv_table`); with `saliency` an overlay of each picture into that folder. UserError, before anything is scored, if
    an input does not exist or a result cannot be written; and at the end, if no picture could be read.
    """
    found = find_pictures(paths, without=saliency)
    if saliency is not None:
        check_writable(saliency)
    if out is not None:
        if out.suffix != ".csv":
            raise UserError("The file's name has another ending", where=out, expected="a name that ends in .csv")
        check_file(out)
    model = open_model(checkpoint, runtime)
    on_batch = None
    if saliency is not None:
        from fakemedia.scoring.overlays import Overlays

        on_batch = Overlays(model, saliency, found.files).write
    tell(describe(model.facts, checkpoint, crops))
    scores = score_files(model, found.files, batch_size=batch_size, crops=crops, on_batch=on_batch)
    if all(scores["error"]):
        raise UserError("No picture could be scored", where="; ".join(shortened(reasons(scores, found))),
                        expected="picture files")
    tell("")
    tell(summarise(scores, found))
    if out is not None:
        text = csv_table(scores, model.facts, out.parent).to_csv(index=False)
        write_file(out, text.encode(errors="surrogateescape"))
        tell(f"Scores: {out}")
    if saliency is not None:
        tell(f"Overlays: {saliency}")
