"""WebP compression."""

from __future__ import annotations

from dataclasses import dataclass

from fakemedia.evaluation.perturbations.perturbation import Perturb, check_strength, compression

UNIT = "quality"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Strength."""

    strength: float
    """libwebp's quality, lossy."""

    def __post_init__(self) -> None:
        check_strength(self.strength, 0, 100, "a quality", whole=True)


def build(config: Config) -> Perturb:
    """Return one compression."""
    return compression("WEBP", config.strength)
