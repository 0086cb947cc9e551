"""Saliency maps as pictures: the full picture with the scored crops, and what indicates fake in them."""

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
from scipy.special import expit

from fakemedia.artefacts.files import write_file
from fakemedia.core.errors import UserError
from fakemedia.scoring.checkpoint_model import CheckpointModel, as_images
from fakemedia.scoring.model import Model
from fakemedia.scoring.saliency import method_of, saliency
from fakemedia.scoring.scores import LoadedPicture

LEAST, MOST = 256, 768
"""Sides of either half of an overlay, pixels: smaller pictures are enlarged by an integer, larger ones reduced."""
COLOURS = "inferno"
"""Its lightness rises evenly, so it is readable in grey and without colour vision."""
OPACITY = 0.75
OUTLINE = (80, 160, 255)
GAP, LINE = 8, 22
KEY_FROM = 500
"""Pixels: narrower overlays have no key."""


class Overlays:
    """Writes an overlay of each scored file into a folder, with the folders of the files below their common folder."""

    def __init__(self, model: Model, folder: Path, files: Sequence[Path]) -> None:
        """Prepare overlays of `files`; UserError if the model is an ONNX file, which has no gradients."""
        if not isinstance(model, CheckpointModel):
            raise UserError("An ONNX file has no gradients for saliency maps", where="--saliency",
                            expected="a checkpoint folder")
        self._model, self._folder = model, folder
        self._common = os.path.commonpath([os.path.abspath(path.parent) for path in files])

    def place(self, path: str) -> Path:
        """Return where the overlay of the file `path` is written."""
        return self._folder / (os.path.relpath(os.path.abspath(path), self._common) + ".png")

    def write(self, rows: pd.DataFrame, pictures: Sequence[LoadedPicture]) -> None:
        """Write the overlays of the scored `rows`, one for each of `pictures`; see `score_files`."""
        for path, p_fake, verdict, each in zip(rows["path"], rows["p_fake"], rows["verdict"], pictures, strict=True):
            assert each.picture is not None
            buffer = io.BytesIO()
            overlay(each.picture, self._maps(each.view.crops), each.view.places, p_fake=p_fake,
                    verdict=verdict).save(buffer, "PNG")
            write_file(self.place(path), buffer.getbuffer())

    def _maps(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the map of each crop, (K, S, S), times the P(fake) of the crop."""
        if not len(crops):
            return np.zeros(crops.shape[:3], np.float32)
        logits, calibration = self._model.logits(crops), self._model.facts.calibration
        p_fake = expit(logits) if calibration is None else calibration.probability(logits)
        with self._model.runtime.reproducible():
            maps = saliency(self._model.network, as_images(crops), method_of(self._model.facts.network))
        return maps * p_fake.astype(np.float32)[:, None, None]


def overlay(picture: NDArray[np.uint8], maps: NDArray[np.float32], places: NDArray[np.int64], *, p_fake: float,
            verdict: str) -> Image.Image:
    """Return a picture, uint8 (H, W, 3), beside the same under its maps, with score and key below.

    `maps` (K, S, S), from 0 to 1, are those of the crops whose top and left in the picture are `places` (K, 2), which
    are outlined. The colours are as dense as the maps are high; these are low in crops that are hardly fake.
    """
    plain = _sized(picture)
    values = np.asarray(Image.fromarray(_whole(picture.shape[:2], maps, places)).resize(
        plain.size, Image.Resampling.BICUBIC)).clip(0, 1)
    density = (OPACITY * values)[..., None]
    marked = Image.fromarray((density * _colours(values) + (1 - density) * np.asarray(plain)).astype(np.uint8))
    _outline(plain, places, maps.shape[1], plain.width / picture.shape[1])

    width = 2 * plain.width + GAP
    page = Image.new("RGB", (width, plain.height + LINE), "white")
    page.paste(plain, (0, 0))
    page.paste(marked, (plain.width + GAP, 0))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    middle = plain.height + LINE // 2 + 1
    score = "no score" if np.isnan(p_fake) else f"P(fake) {p_fake:.3f}"
    draw.text((4, middle), f"{score}: {verdict}", "black", font, anchor="lm")
    if width >= KEY_FROM:
        draw.text((width - 4, middle), "much", "black", font, anchor="rm")
        page.paste(Image.fromarray(_colours(np.tile(np.linspace(0, 1, 60), (10, 1)))), (width - 104, middle - 5))
        draw.text((width - 110, middle), "evidence of fake: little", "black", font, anchor="rm")
    return page


def _sized(picture: NDArray[np.uint8]) -> Image.Image:
    """Return the picture enlarged by an integer factor to LEAST pixels, or reduced to MOST, on its longer side."""
    image = Image.fromarray(picture)
    longest = max(image.size)
    if longest > MOST:
        size = tuple(max(1, round(side * MOST / longest)) for side in image.size)
        return image.resize(size, Image.Resampling.LANCZOS)  # pyright: ignore[reportArgumentType]
    factor = -(-LEAST // longest)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _whole(shape: tuple[int, ...], maps: NDArray[np.float32], places: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the maps of the crops at their places in the picture, (H, W), the greatest where they overlap."""
    height, width = shape
    merged = np.zeros((height, width), np.float32)
    for values, (top, left) in zip(maps, places.tolist(), strict=True):
        visible = values[max(-top, 0):height - top, max(-left, 0):width - left]
        part = merged[max(top, 0):, max(left, 0):][:visible.shape[0], :visible.shape[1]]
        np.maximum(part, visible, out=part)
    return merged


def _outline(image: Image.Image, places: NDArray[np.int64], size: int, scale: float) -> None:
    draw = ImageDraw.Draw(image)
    for top, left in places.tolist():
        box = [left * scale, top * scale, (left + size) * scale - 1, (top + size) * scale - 1]
        box = [max(box[0], 0), max(box[1], 0), min(box[2], image.width - 1), min(box[3], image.height - 1)]
        if box != [0, 0, image.width - 1, image.height - 1]:
            draw.rectangle(box, outline=OUTLINE)


def _colours(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return matplotlib.colormaps[COLOURS](values, bytes=True)[..., :3]
