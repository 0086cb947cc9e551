"""Two JPEG compressions, as if a picture is saved, cropped and saved again."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from fakemedia.evaluation.perturbations.perturbation import Perturb, Pixels, check_strength, compression

UNIT = "quality"
SHIFT = 4
"""Pixels by which the second grid of 8 x 8 blocks is shifted against the first."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Strength."""

    strength: float
    """libjpeg's quality, with halved chroma, of both compressions."""

    def __post_init__(self) -> None:
        check_strength(self.strength, 1, 100, "a quality", whole=True)


def build(config: Config) -> Perturb:
    """Return two compressions whose block grids are not aligned."""
    compress = compression("JPEG", config.strength)

    def double_jpeg(pixels: Pixels, seed: int) -> Pixels:
        shifted = np.pad(compress(pixels, seed), ((SHIFT, 0), (SHIFT, 0), (0, 0)), mode="edge")
        return compress(shifted, seed)[SHIFT:, SHIFT:]

    return double_jpeg
