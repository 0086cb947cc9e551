"""Square crops of a photograph."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

MIN_CONTRAST = 12.0
"""Smallest standard deviation of a crop's grey values (0 to 255); flatter or darker regions show no trace."""
MAX_DRAWS = 20


def random_crop(photograph: Image.Image, size: int, scale: tuple[float, float],
                rng: np.random.Generator) -> NDArray[np.uint8]:
    """Return a crop of the RGB `photograph`, shrunk by a factor drawn from `scale`: uint8 (size, size, 3).

    The window is redrawn while its contrast is below `MIN_CONTRAST`; after `MAX_DRAWS` draws the one of the highest
    contrast is taken. Shrinking (Lanczos, the factor raised where the photograph is too small for it) hides the
    traces of the camera and of the JPEG grid, which would differ between photographs.
    """
    best, best_contrast = None, -1.0
    for _ in range(MAX_DRAWS):
        side = min(size / rng.uniform(*scale), *photograph.size)
        left, top = rng.uniform(0, photograph.width - side), rng.uniform(0, photograph.height - side)
        if side == size:
            left, top = round(left), round(top)
        window = photograph.resize((size, size), Image.Resampling.LANCZOS, box=(left, top, left + side, top + side))
        crop = np.asarray(window)
        contrast = float(crop.mean(axis=2).std())
        if contrast >= MIN_CONTRAST:
            return crop
        if contrast > best_contrast:
            best, best_contrast = crop, contrast
    assert best is not None
    return best
