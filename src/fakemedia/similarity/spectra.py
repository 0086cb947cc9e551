"""Local spectra of noise residuals, which `fingerprint` and `transfer` read.

Small tiles distinguish a trace in a part of the picture from one everywhere; the spectrum of the full picture does not.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from scipy.fft import rfft2
from scipy.ndimage import gaussian_filter

TILE = 16
"""Side of a tile, pixels: frequencies are resolved to 1 / 16 cycles a pixel."""
FLOOR = 0.3
"""Standard deviation of white noise, grey levels, under which spectra do not differ: that of rounding to integers."""
DENOISE_SIGMA = 3.0
"""Pixels; the residual is the image minus itself blurred by a Gaussian of this width."""
BATCH = 32
Float32 = NDArray[np.float32]


def spectral_statistics(images: NDArray[np.uint8]) -> tuple[Float32, Float32]:
    """Return the level and the spread of the residuals' log power over the tiles of each image.

    `images` (N, H, W, 3), H and W >= 16, grey = mean of the channels; tiles of 16 pixels a side overlap by half, under
    a Hann window. Level = mean, spread = standard deviation over an image's tiles of ln(|FFT|^2 + floor), the floor
    being the power of white noise of 0.3 grey levels; both float32 (N, 16, 9), in nats of power, zero frequency first.
    """
    window = np.outer(np.hanning(TILE + 2)[1:-1], np.hanning(TILE + 2)[1:-1]).astype(np.float32)
    floor = np.float32(FLOOR**2 * np.square(window).sum())
    levels, spreads = zip(*((power.mean(axis=1), power.std(axis=1))
                            for power in _log_power(images, window, floor)), strict=True)
    return np.concatenate(levels), np.concatenate(spreads)


def _log_power(images: NDArray[np.uint8], window: Float32, floor: np.float32) -> Iterator[Float32]:
    for start in range(0, len(images), BATCH):
        grey = images[start:start + BATCH].mean(axis=3, dtype=np.float32)
        residual = grey - gaussian_filter(grey, (0, DENOISE_SIGMA, DENOISE_SIGMA))
        tiles = sliding_window_view(residual, (TILE, TILE), axis=(1, 2))[:, ::TILE // 2, ::TILE // 2]
        spectrum = np.asarray(rfft2(tiles.reshape(len(grey), -1, TILE, TILE) * window))
        yield np.log(np.square(np.abs(spectrum)) + floor)
