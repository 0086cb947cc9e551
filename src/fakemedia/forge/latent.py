"""Re-generation through a latent: the picture is encoded on a smaller grid, noise is added there, and it is decoded.

Latent diffusion (Rombach et al. 2022) ends with noise that the sampler has not removed, on a grid smaller than the
picture; decoding correlates it over the cells of the grid. Corvi et al. 2023 show the resulting periodic
autocorrelation in the noise residuals of such models.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fakemedia.forge.filters import NEAREST, blur, resize, to_uint8


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the latent model."""

    factor: int = 2
    """Side of a latent cell, pixels."""
    noise: float = 8.0
    """Standard deviation of the noise left in the latent, grey levels (0 to 255)."""
    smoothing: float = 0.6
    """Sigma of the Gaussian that models the encoder's loss, pixels."""

    def __post_init__(self) -> None:
        if self.factor < 1 or self.noise < 0 or self.smoothing < 0:
            raise ValueError("factor of at least 1, noise and smoothing of at least 0")


def build(config: Config) -> Callable[..., tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return the forging function: crop -> (the crop, the crop encoded, disturbed and decoded)."""

    def make(crop: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        height, width = crop.shape[:2]
        grid = -(-height // config.factor), -(-width // config.factor), 1
        noise = (config.noise * rng.standard_normal(grid)).astype(np.float32)
        noise = resize(noise, (grid[0] * config.factor, grid[1] * config.factor), NEAREST)[:height, :width]
        return crop, to_uint8(blur(crop.astype(np.float32), config.smoothing) + noise)

    return make
