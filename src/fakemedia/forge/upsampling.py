"""Transposed-convolution upsampling: the checkerboard of convolutional GAN decoders.

A decoder's last transposed convolution spreads every pixel of a small grid through its kernel. Where the kernel's taps
do not add up to the same gain on every phase of the grid - kernel size no multiple of the stride, or learned
weights - a pattern of the stride's period remains (Odena, Dumoulin and Olah 2016), and the copies of the spectrum
around multiples of 1/stride survive (Zhang, Karaman and Chang 2019; Durall, Keuper and Keuper 2020).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import convolve

from fakemedia.core.rng import generator
from fakemedia.forge.filters import Float, blur, shrink, to_uint8


@dataclass(frozen=True, kw_only=True)
class Config:
    """Settings of the decoder; its kernel is the same in all pictures."""

    stride: int = 2
    """Upsampling factor of the last layer, pixels: the period of the pattern."""
    kernel: int = 3
    """Side of the kernel, pixels."""
    spread: float = 0.04
    """Standard deviation of the learned taps around bilinear interpolation, as a share of a tap."""
    detail: float = 0.5
    """Share of the photograph's fine detail that layers after the upsampling restore, 0 to 1."""
    weights: int = 0
    """Seed of the learned taps: another seed is another generator of the same architecture."""

    def __post_init__(self) -> None:
        if self.stride < 2 or self.kernel < self.stride:
            raise ValueError("stride of at least 2, kernel of at least stride")


def taps(config: Config) -> NDArray[np.float64]:
    """Return the decoder's kernel (kernel, kernel), float64, with a mean gain of 1 over the phases of the grid."""
    centre = (config.kernel - 1) / 2
    ramp = np.clip(1 - np.abs(np.arange(config.kernel) - centre) / config.stride, 0, None)
    noise = generator(config.weights, "upsampling", config.stride, config.kernel).standard_normal((config.kernel,) * 2)
    kernel = np.outer(ramp, ramp) * (1 + config.spread * noise)
    return kernel * config.stride**2 / kernel.sum()


def transposed_convolution(grid: Float, kernel: NDArray[np.float64], stride: int, size: tuple[int, int]) -> Float:
    """Return `grid` (h, w, 3) spread by `stride` through `kernel`: float32, cut to `size` = (height, width)."""
    height, width = grid.shape[:2]
    spread = np.zeros((height * stride, width * stride, 3), np.float32)
    spread[::stride, ::stride] = grid
    return convolve(spread, kernel[..., None].astype(np.float32), mode="wrap")[: size[0], : size[1]]


def build(config: Config) -> Callable[..., tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return the forging function: crop -> (the crop, the crop as the decoder renders it)."""
    kernel = taps(config)

    def make(crop: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        image = crop.astype(np.float32)
        height, width = image.shape[:2]
        padded = np.pad(image, ((0, -height % config.stride), (0, -width % config.stride), (0, 0)), mode="edge")
        rendered = transposed_convolution(shrink(padded, config.stride), kernel, config.stride, (height, width))
        detail = image - blur(image, config.stride / 2)
        return crop, to_uint8(rendered + config.detail * detail)

    return make
