"""Super-resolution by cascaded refinement: a small picture is enlarged step by step and sharpened after each step.

Such generators (Chen and Koltun 2017, cascaded refinement networks; Ledig et al. 2017, SRGAN) cannot restore the
band above the small picture's limit and add overshoot at edges instead: the spectrum falls too fast, then too
little noise is left at the highest frequencies (Dzanic, Shah and Witherden 2020; Durall, Keuper and Keuper 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fakemedia.forge.filters import BICUBIC, resize, sharpen, shrink, to_uint8


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the generator."""

    factor: float = 2.0
    """The generator enlarges by this factor."""
    steps: int = 1
    """Enlargements in cascade, each by factor ** (1 / steps)."""
    amount: float = 1.2
    """Detail added after each enlargement, as a share of the existing detail (unsharp mask)."""

    def __post_init__(self) -> None:
        if self.factor <= 1 or self.steps < 1:
            raise ValueError("factor above 1 and at least one step")


def build(config: Config) -> Callable[..., tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return the forging function: crop -> (the crop, the crop shrunk and super-resolved)."""

    def make(crop: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        height, width = crop.shape[:2]
        image = shrink(crop.astype(np.float32), config.factor)
        for step in range(config.steps - 1, -1, -1):
            remaining = config.factor ** (step / config.steps)
            image = resize(image, (round(height / remaining), round(width / remaining)), BICUBIC)
            image = sharpen(image, config.amount)
        return crop, to_uint8(image)

    return make
