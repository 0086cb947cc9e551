"""Contrast: colours moved away from, or towards, the mean grey of the picture."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import ImageEnhance

from fakemedia.evaluation.perturbations.perturbation import Perturb, check_strength, enhancement

UNIT = "factor"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Strength."""

    strength: float
    """Factor of the distance to the mean grey; 1 changes nothing (Tassone et al. 2024: 0.5 to 2)."""

    def __post_init__(self) -> None:
        check_strength(self.strength, 0, 10, "a factor")


def build(config: Config) -> Perturb:
    """Return Pillow's `ImageEnhance.Contrast`."""
    return enhancement(ImageEnhance.Contrast, config.strength)
