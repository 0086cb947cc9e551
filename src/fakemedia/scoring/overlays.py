"""Saliency maps as pictures: what the network saw, and beside it what spoke for fake."""

from __future__ import annotations

import io
import os
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from fakemedia.artefacts.files import write_file
from fakemedia.core.errors import UserError
from fakemedia.scoring.checkpoint_model import CheckpointModel, as_images
from fakemedia.scoring.model import Model
from fakemedia.scoring.saliency import method_of, saliency

SIDE = 256
"""Least side of either half of an overlay, pixels; smaller crops are enlarged by a whole factor."""
COLOURS = "inferno"
"""Rises evenly in lightness, so it reads in grey and without colour vision."""
OPACITY = 0.75
GAP, LINE = 8, 22


class Overlays:
    """Writes an overlay of each scored file into a folder, in which the files lie as below their common folder."""

    def __init__(self, model: Model, folder: Path, files: Sequence[Path]) -> None:
        """Prepare overlays of `files`; UserError if the model is an ONNX file, which has no gradients."""
        if not isinstance(model, CheckpointModel):
            raise UserError("An ONNX file has no gradients for saliency maps", where="--saliency",
                            expected="a checkpoint folder")
        self._model, self._folder = model, folder
        self._common = os.path.commonpath([os.path.abspath(path.parent) for path in files])

    def place(self, path: str) -> Path:
        """Return where the overlay of the file `path` lies."""
        return self._folder / (os.path.relpath(os.path.abspath(path), self._common) + ".png")

    def write(self, rows: pd.DataFrame, crops: NDArray[np.uint8]) -> None:
        """Write the overlays of the scored `rows`, whose crops are uint8 (N, S, S, 3); see `score_files`."""
        with self._model.runtime.reproducible():
            maps = saliency(self._model.network, as_images(crops), method_of(self._model.facts.network))
        columns = (rows[name] for name in ("path", "p_fake", "verdict"))
        for path, p_fake, verdict, crop, evidence in zip(*columns, crops, maps, strict=True):
            buffer = io.BytesIO()
            overlay(crop, evidence, p_fake=p_fake, verdict=verdict).save(buffer, "PNG")
            write_file(self.place(path), buffer.getbuffer())


def overlay(crop: NDArray[np.uint8], evidence: NDArray[np.float32], *, p_fake: float, verdict: str) -> Image.Image:
    """Return a crop, uint8 (S, S, 3), beside the same under its map (S, S) from 0 to 1, with score and key below.

    The colours are laid on as densely as `p_fake` says: in a picture that is hardly fake, little is to be seen.
    """
    side = len(crop) * -(-SIDE // len(crop))
    plain = Image.fromarray(crop).resize((side, side), Image.Resampling.NEAREST)
    smooth = Image.fromarray(evidence).resize((side, side), Image.Resampling.BICUBIC)
    values = np.asarray(smooth).clip(0, 1)
    density = (OPACITY * p_fake * values)[..., None]
    marked = Image.fromarray((density * _colours(values) + (1 - density) * np.asarray(plain)).astype(np.uint8))

    picture = Image.new("RGB", (2 * side + GAP, side + LINE), "white")
    picture.paste(plain, (0, 0))
    picture.paste(marked, (side + GAP, 0))
    draw, font = ImageDraw.Draw(picture), ImageFont.load_default(13)
    middle = side + LINE // 2 + 1
    draw.text((4, middle), f"P(fake) {p_fake:.3f}: {verdict}", "black", font, anchor="lm")
    key = Image.fromarray(_colours(np.tile(np.linspace(0, 1, 60), (10, 1))))
    right = 2 * side + GAP - 4
    draw.text((right, middle), "much", "black", font, anchor="rm")
    picture.paste(key, (right - 100, middle - 5))
    draw.text((right - 106, middle), "speaks for fake: little", "black", font, anchor="rm")
    return picture


def _colours(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return matplotlib.colormaps[COLOURS](values, bytes=True)[..., :3]
