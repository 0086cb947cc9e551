"""Square crops of a picture, the input of networks."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def cropped(image: NDArray[np.uint8], top: int, left: int, size: int) -> NDArray[np.uint8]:
    """Return the crop of `size` x `size` pixels at (`top`, `left`) of an image, uint8 (H, W, 3).

    An image smaller than `size` is first padded to it, centred, by reflection without repeating the edge (a side of one
    pixel repeats it).
    """
    height, width, _ = image.shape
    if min(height, width) >= size:
        return image[top:top + size, left:left + size]
    return image.take(_reflected(width, left, size), 1).take(_reflected(height, top, size), 0)


def centre(height: Any, width: Any, size: int) -> tuple[Any, Any]:
    """Return top and left of the centre crop of `size` in images of that height and width (integers or arrays)."""
    return np.maximum(height - size, 0) // 2, np.maximum(width - size, 0) // 2


def centre_crop(image: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Return the centre crop of an image, uint8 (size, size, 3), padded as in `cropped`."""
    height, width, _ = image.shape
    return cropped(image, *centre(height, width, size), size)


def _reflected(length: int, start: int, size: int) -> NDArray[np.int64]:
    """Return the positions in a line of `length` pixels that a crop of `size` at `start` of the padded line shows."""
    if length == 1:
        return np.zeros(size, np.int64)
    period = 2 * (length - 1)
    positions = (np.arange(size) + start - max(size - length, 0) // 2) % period
    return np.minimum(positions, period - positions)
