"""Score the user's own pictures: from paths to the table, the file and the overlays."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fakemedia.artefacts.files import check_writable, write_file
from fakemedia.core.errors import UserError
from fakemedia.scoring.open_model import open_model
from fakemedia.scoring.paths import check_file, find_pictures
from fakemedia.scoring.scores import score_files
from fakemedia.scoring.summary import describe, reasons, shortened, summarise

if TYPE_CHECKING:
    from fakemedia.runtime.device import Runtime


def score_pictures(paths: Sequence[str], *, checkpoint: Path, saliency: Path | None, out: Path | None,
                   batch_size: int, runtime: Callable[[], Runtime], tell: Callable[[str], None]) -> None:
    """Score the pictures at `paths` (see `find_pictures`) by `checkpoint` (see `open_model`) and `tell` the results.

    With `out` they are written as a CSV file, a row a file, skipped ones too; with `saliency` an overlay of each
    picture into that folder. UserError, before anything is scored, if an input is not there or a result could not be
    written; and at the end, if no picture could be read.
    """
    found = find_pictures(paths, without=saliency)
    if saliency is not None:
        check_writable(saliency)
    if out is not None:
        if out.suffix != ".csv":
            raise UserError("The file's name says another format", where=out, expected="a name that ends in .csv")
        check_file(out)
    model = open_model(checkpoint, runtime)
    on_batch = None
    if saliency is not None:
        from fakemedia.scoring.overlays import Overlays

        on_batch = Overlays(model, saliency, found.files).write
    tell(describe(model.facts, checkpoint))
    scores = score_files(model, found.files, batch_size=batch_size, on_batch=on_batch)
    if all(scores["error"]):
        raise UserError("No picture could be scored", where="; ".join(shortened(reasons(scores, found))),
                        expected="picture files")
    tell("")
    tell(summarise(scores, found))
    if out is not None:
        write_file(out, scores.to_csv(index=False).encode(errors="surrogateescape"))
        tell(f"Scores: {out}")
    if saliency is not None:
        tell(f"Overlays: {saliency}")
