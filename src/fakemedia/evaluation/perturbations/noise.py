"""Gaussian noise."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fakemedia.core.rng import generator
from fakemedia.evaluation.perturbations.perturbation import Perturb, Pixels, check_strength

UNIT = "standard deviation, grey levels"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Strength."""

    strength: float
    """Standard deviation, grey levels of 255; 0 changes nothing."""

    def __post_init__(self) -> None:
        check_strength(self.strength, 0, 255, "a standard deviation")


def build(config: Config) -> Perturb:
    """Return independent noise in every pixel and channel; the pattern of a picture scales with the strength."""

    def noise(pixels: Pixels, seed: int) -> Pixels:
        pattern = generator(seed, "noise").standard_normal(pixels.shape, dtype=np.float32)
        return (pixels + config.strength * pattern).round().clip(0, 255).astype(np.uint8)

    return noise
