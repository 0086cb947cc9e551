"""Blur and JPEG compression, each at random (Wang et al. 2020, Section 4.1).

Gaussian blur with a standard deviation of 0 to 3 pixels and JPEG of quality 30 to 100, both uniform. The compression
sees the crop at a random offset of its grid of 8 x 8 blocks, as pictures that are compressed before they are cropped.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter

from fakemedia.core.rng import generator
from fakemedia.store.augmentations.augmentation import Augment, Crops, check_probability
from fakemedia.store.policies import recompressed

ALIASES = {"blur_jpeg_01": {"probability": 0.1}}
MAX_SIGMA, QUALITIES, BLOCK = 3.0, (30, 100), 8


@dataclass(frozen=True, kw_only=True)
class Config:
    """How often a crop is changed."""

    probability: float = 0.5
    """Probability of the blur, and, independently of it, of the compression (Wang et al. 2020: 0.5 or 0.1)."""

    def __post_init__(self) -> None:
        check_probability(self.probability)


def build(config: Config) -> Augment:
    """Return the augmentation."""

    def blur_jpeg(crop: Crops, seed: int) -> Crops:
        rng = generator(seed, "blur_jpeg")
        blurred, compressed = rng.random(2) < config.probability
        sigma, quality = rng.uniform(0, MAX_SIGMA), int(rng.integers(QUALITIES[0], QUALITIES[1] + 1))
        top, left = rng.integers(0, BLOCK, 2)
        if blurred:
            crop = gaussian_filter(crop.astype(np.float32), (sigma, sigma, 0)).round().astype(np.uint8)
        if compressed:
            padded = np.pad(crop, ((top, 0), (left, 0), (0, 0)), mode="edge")
            crop = recompressed(padded, "JPEG", quality)[top:, left:]
        return crop

    return blur_jpeg
