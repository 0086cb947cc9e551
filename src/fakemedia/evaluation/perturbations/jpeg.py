"""JPEG compression."""

from __future__ import annotations

from dataclasses import dataclass

from fakemedia.data.policies import recompressed
from fakemedia.evaluation.perturbations.base import Perturb, Pixels, check_strength


@dataclass(frozen=True, kw_only=True)
class Config:
    """How strongly."""

    strength: float
    """libjpeg's quality, with halved chroma (Tassone et al. 2024: 10 to 90)."""

    def __post_init__(self) -> None:
        check_strength(self.strength, 1, 100, "a quality", whole=True)


def build(config: Config) -> Perturb:
    """Return one compression, as by the policy `jpeg:<q>`."""

    def jpeg(pixels: Pixels, seed: int) -> Pixels:
        return recompressed(pixels, "JPEG", int(config.strength))

    return jpeg
