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

MIN_SIDE, MAX_SIDE = 256, 768
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

    def output_path(self, path: str) -> Path:
        """Return the path of the overlay of the file `path`."""
        return self._folder / (os.path.relpath(os.path.abspath(path), self._common) + ".png")

    def write(self, rows: pd.DataFrame, pictures: Sequence[LoadedPicture]) -> None:
        """Write the overlays of the scored `rows`, one for each of `pictures`; see `score_files`."""
        for path, p_fake, verdict, picture in zip(rows["path"], rows["p_fake"], rows["verdict"], pictures, strict=True):
            assert picture.picture is not None
            buffer = io.BytesIO()
            overlay(picture.picture, self._maps(picture.view.crops), picture.view.positions, p_fake=p_fake,
                    verdict=verdict).save(buffer, "PNG")
            write_file(self.output_path(path), buffer.getbuffer())

    def _maps(self, crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return the map of each crop, (K, S, S), times the P(fake) of the crop."""
        if not len(crops):
            return np.zeros(crops.shape[:3], np.float32)
        logits, calibration = self._model.logits(crops), self._model.facts.calibration
        p_fake = expit(logits) if calibration is None else calibration.probability(logits)
        with self._model.runtime.reproducible():
            maps = saliency(self._model.network, as_images(crops), method_of(self._model.facts.network))
        return maps * p_fake.astype(np.float32)[:, None, None]


def overlay(picture: NDArray[np.uint8], maps: NDArray[np.float32], positions: NDArray[np.int64], *, p_fake: float,
            verdict: str) -> Image.Image:
    """Return a picture, uint8 (H, W, 3), beside the same under its maps, with score and key below.

    `maps` (K, S, S), from 0 to 1, are those of the crops, which are outlined; `positions` (K, 2) are their top and left
    in the picture. The opacity of the colours grows with the maps, which are low in crops with a low P(fake).
    """
    image = _sized(picture)
    values = np.asarray(Image.fromarray(_merged_maps(picture.shape[:2], maps, positions)).resize(
        image.size, Image.Resampling.BICUBIC)).clip(0, 1)
    density = (OPACITY * values)[..., None]
    overlaid = Image.fromarray((density * _colours(values) + (1 - density) * np.asarray(image)).astype(np.uint8))
    _outline(image, positions, maps.shape[1], image.width / picture.shape[1])

    width = 2 * image.width + GAP
    page = Image.new("RGB", (width, image.height + LINE), "white")
    page.paste(image, (0, 0))
    page.paste(overlaid, (image.width + GAP, 0))
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(13)
    middle = image.height + LINE // 2 + 1
    score = "no score" if np.isnan(p_fake) else f"P(fake) {p_fake:.3f}"
    draw.text((4, middle), f"{score}: {verdict}", "black", font, anchor="lm")
    if width >= KEY_FROM:
        draw.text((width - 4, middle), "much", "black", font, anchor="rm")
        page.paste(Image.fromarray(_colours(np.tile(np.linspace(0, 1, 60), (10, 1)))), (width - 104, middle - 5))
        draw.text((width - 110, middle), "evidence of fake: little", "black", font, anchor="rm")
    return page


def _sized(picture: NDArray[np.uint8]) -> Image.Image:
    """Return the picture enlarged by an integer factor to MIN_SIDE, or reduced to MAX_SIDE, on its longer side."""
    image = Image.fromarray(picture)
    longest = max(image.size)
    if longest > MAX_SIDE:
        size = tuple(max(1, round(side * MAX_SIDE / longest)) for side in image.size)
        return image.resize(size, Image.Resampling.LANCZOS)  # pyright: ignore[reportArgumentType]
    factor = -(-MIN_SIDE // longest)
    return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)


def _merged_maps(shape: tuple[int, ...], maps: NDArray[np.float32],
                 positions: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the maps of the crops at their positions in the picture, (H, W), the maximum where they overlap."""
    height, width = shape
    merged = np.zeros((height, width), np.float32)
    for values, (top, left) in zip(maps, positions.tolist(), strict=True):
        visible = values[max(-top, 0):height - top, max(-left, 0):width - left]
        part = merged[max(top, 0):, max(left, 0):][:visible.shape[0], :visible.shape[1]]
        np.maximum(part, visible, out=part)
    return merged


def _outline(image: Image.Image, positions: NDArray[np.int64], size: int, scale: float) -> None:
    draw = ImageDraw.Draw(image)
    for top, left in positions.tolist():
        box = [left * scale, top * scale, (left + size) * scale - 1, (top + size) * scale - 1]
        box = [max(box[0], 0), max(box[1], 0), min(box[2], image.width - 1), min(box[3], image.height - 1)]
        if box != [0, 0, image.width - 1, image.height - 1]:
            draw.rectangle(box, outline=OUTLINE)


def _colours(values: NDArray[np.floating]) -> NDArray[np.uint8]:
    return matplotlib.colormaps[COLOURS](values, bytes=True)[..., :3]
