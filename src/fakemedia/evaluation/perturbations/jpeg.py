"""JPEG compression."""

from __future__ import annotations

from dataclasses import dataclass

from fakemedia.evaluation.perturbations.perturbation import Perturb, check_strength, compression

UNIT = "quality"


@dataclass(frozen=True, kw_only=True)
class Config:
    """Strength."""

    strength: float
    """libjpeg's quality, with halved chroma (Tassone et al. 2024: 10 to 90)."""

    def __post_init__(self) -> None:
        check_strength(self.strength, 1, 100, "a quality", whole=True)


def build(config: Config) -> Perturb:
    """Return one compression, as by the policy `jpeg:<q>`."""
    return compression("JPEG", config.strength)
