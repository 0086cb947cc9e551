"""Blended regions: the picture's own content, warped and resampled, blended back under an elliptic mask.

The self-blended images of Shiohara and Yamasaki 2022, after Face X-ray (Li et al. 2020): a face swap leaves a region
whose resolution, colour and geometry differ from its surroundings, and a blending boundary.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fakemedia.forge.filters import BICUBIC, Float, resize, sharpen, shrink, to_uint8


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the pasted region."""

    factor: float = 2.0
    """The pasted region is enlarged by this factor."""
    amount: float = 1.5
    """Sharpening of the region after enlarging, as a share of its detail (unsharp mask)."""
    softness: float = 0.1
    """Width of the mask's edge, as a share of its radius."""
    shift: int = 3
    """Largest displacement of the pasted region, pixels."""
    gain: float = 0.1
    """Largest change of the region's contrast, either way."""

    def __post_init__(self) -> None:
        if self.factor < 1 or not 0 < self.softness <= 1 or self.shift < 0:
            raise ValueError("factor of at least 1, softness in (0, 1], shift of at least 0")


def elliptic_mask(size: tuple[int, int], softness: float, rng: np.random.Generator) -> Float:
    """Return a mask (H, W, 1) in 0..1: a random ellipse around the centre, with a linear edge of `softness` radii."""
    height, width = size
    rows, columns = np.mgrid[:height, :width].astype(np.float32)
    centre_y, centre_x = rng.uniform(0.47, 0.53, 2) * (height, width)
    radius_y, radius_x = rng.uniform(0.32, 0.42, 2) * (height, width)
    radius = np.hypot((rows - centre_y) / radius_y, (columns - centre_x) / radius_x)
    return np.clip((1 - radius) / softness + 0.5, 0, 1)[..., None].astype(np.float32)


def build(config: Config) -> Callable[..., tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return the forging function: crop -> (the crop, the crop with a region of itself blended in)."""

    def make(crop: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        image = crop.astype(np.float32)
        size = image.shape[0], image.shape[1]
        offsets = rng.integers(-config.shift, config.shift, 2, endpoint=True)
        region = sharpen(resize(shrink(image, config.factor), size, BICUBIC), config.amount)
        patch = np.roll(region, offsets, axis=(0, 1))
        mask = elliptic_mask(size, config.softness, rng)
        mean = (patch * mask).sum((0, 1)) / mask.sum()
        patch = mean + (1 + rng.uniform(-config.gain, config.gain)) * (patch - mean)
        return crop, to_uint8(image + mask * (patch - image))

    return make
