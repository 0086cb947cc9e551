"""Brightness and contrast, each changed at random (`ColorJitter(0.5, 0.5)` of torchvision, with a probability).

The factors are uniform from 0.5 to 1.5. Brightness multiplies the grey levels, contrast the distance to the mean grey.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageEnhance

from fakemedia.core.rng import generator
from fakemedia.store.augmentations.augmentation import Augment, Crops, check_probability

FACTORS = (0.5, 1.5)


@dataclass(frozen=True, kw_only=True)
class Config:
    """How often a crop is changed."""

    probability: float = 0.5
    """Probability of another brightness, and, independently of it, of another contrast."""

    def __post_init__(self) -> None:
        check_probability(self.probability)


def build(config: Config) -> Augment:
    """Return the augmentation."""

    def tone(crop: Crops, seed: int) -> Crops:
        rng = generator(seed, "tone")
        changed = rng.random(2) < config.probability
        factors = rng.uniform(*FACTORS, 2)
        image = Image.fromarray(crop)
        for enhance, factor, applied in zip((ImageEnhance.Brightness, ImageEnhance.Contrast), factors, changed,
                                           strict=True):
            if applied:
                image = enhance(image).enhance(float(factor))
        return np.array(image)

    return tone
