"""WebP compression."""

from __future__ import annotations

from dataclasses import dataclass

from fakemedia.data.policies import recompressed
from fakemedia.evaluation.perturbations.base import Perturb, Pixels, check_strength


@dataclass(frozen=True, kw_only=True)
class Config:
    """How strongly."""

    strength: float
    """libwebp's quality, lossy."""

    def __post_init__(self) -> None:
        check_strength(self.strength, 0, 100, "a quality", whole=True)


def build(config: Config) -> Perturb:
    """Return one compression."""

    def webp(pixels: Pixels, seed: int) -> Pixels:
        return recompressed(pixels, "WEBP", int(config.strength))

    return webp
