"""Gaussian blur."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from fakemedia.evaluation.perturbations.perturbation import Perturb, Pixels, check_strength

UNIT = "standard deviation, px"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Strength."""

    strength: float
    """Standard deviation, pixels; 0 changes nothing."""

    def __post_init__(self) -> None:
        check_strength(self.strength, 0, 50, "a standard deviation")


def build(config: Config) -> Perturb:
    """Return SciPy's filter, truncated at four standard deviations, with the picture reflected at its borders."""

    def blur(pixels: Pixels, seed: int) -> Pixels:
        sigmas = (config.strength, config.strength, 0)
        return gaussian_filter(pixels.astype(np.float32), sigmas).round().astype(np.uint8)

    return blur
