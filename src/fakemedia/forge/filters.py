"""Filters that the families share, on float images (H, W, C) in grey levels 0..255."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy.ndimage import gaussian_filter

Float = NDArray[np.floating]
AREA, BILINEAR, BICUBIC, NEAREST = (
    Image.Resampling.BOX, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.NEAREST,
)


def resize(image: Float, size: tuple[int, int], method: Image.Resampling) -> Float:
    """Return the image resampled to `size` = (height, width), without rounding."""
    height, width = size
    channels = np.moveaxis(image, 2, 0).astype(np.float32)
    return np.stack([np.asarray(Image.fromarray(channel).resize((width, height), method))
                     for channel in channels], axis=2)


def shrink(image: Float, factor: float) -> Float:
    """Return the image made smaller by `factor`, each pixel the mean of the area that it covers."""
    height, width = image.shape[:2]
    return resize(image, (max(1, round(height / factor)), max(1, round(width / factor))), AREA)


def blur(image: Float, sigma: float) -> Float:
    """Return the image blurred by a Gaussian of `sigma` pixels, mirrored at the border."""
    return gaussian_filter(image, (sigma, sigma, 0), mode="reflect")


def sharpen(image: Float, amount: float, sigma: float = 1.0) -> Float:
    """Return the image plus `amount` times the detail that a Gaussian of `sigma` pixels removes (unsharp mask)."""
    return image + amount * (image - blur(image, sigma))


def to_uint8(image: Float) -> NDArray[np.uint8]:
    """Return the image rounded and clipped to 0..255."""
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def as_grey_as(picture: NDArray[np.uint8], image: Float) -> Float:
    """Return `image`, without colour if `picture` has none: a network adds traces of colour to grey photographs."""
    grey = (picture == picture[..., :1]).all()
    return np.broadcast_to(image.mean(axis=2, keepdims=True), image.shape) if grey else image


def repainted(picture: NDArray[np.uint8], image: Float, strength: float) -> Float:
    """Return `picture` with `strength` parts of the structure of `image`, and its own colours, brightness and contrast.

    The mean of the channels of `image` gets the mean and standard deviation of that of `picture`; the
    difference of the two is added to all channels.
    """
    original, structure = picture.astype(np.float32).mean(axis=2), image.mean(axis=2)
    matched = (structure - structure.mean()) * (original.std() / max(float(structure.std()), 1e-6)) + original.mean()
    return picture + strength * (matched - original)[..., None]
