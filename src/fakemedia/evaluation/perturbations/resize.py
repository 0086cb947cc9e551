"""Resizing: down, and up again to the original size."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from fakemedia.evaluation.perturbations.perturbation import Perturb, Pixels, check_strength

UNIT = "share of the sides"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Strength."""

    strength: float
    """Sides of the smaller picture, as a share of the original ones; 1 changes nothing."""

    def __post_init__(self) -> None:
        check_strength(self.strength, 0.01, 1, "a share")


def build(config: Config) -> Perturb:
    """Return Pillow's bicubic resampling, which smooths on the way down, done twice."""

    def resize(pixels: Pixels, seed: int) -> Pixels:
        picture = Image.fromarray(pixels)
        width, height = (max(1, round(side * config.strength)) for side in picture.size)
        smaller = picture.resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(smaller.resize(picture.size, Image.Resampling.BICUBIC))

    return resize
