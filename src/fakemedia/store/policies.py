"""How pictures are stored in a pixel store: `native`, `resize:<n>` or `jpeg:<q>`."""

from __future__ import annotations

import io
from collections.abc import Callable
from functools import cache, partial

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fakemedia.core.errors import UserError, unknown_name

VERSION = 1
"""Version of the policies: raised when their results change."""
NATIVE = "native"
POLICIES = ("native", "resize:<n>", "jpeg:<q>")
"""`native`: every picture unchanged, since resampling erases the traces that detectors rely on. `resize:<n>`: the
shorter side becomes n pixels, bicubic. `jpeg:<q>`: real and fake pictures are both recompressed, at quality q."""
MAX_SIDES = {"JPEG": 65500, "WEBP": 16383}
"""Longest side that a format, or its library, allows, pixels."""

Pixels = NDArray[np.uint8]


@cache
def policy_function(policy: str) -> Callable[[Pixels], Pixels]:
    """Return the function of `policy` on a picture, uint8 (H, W, 3); UserError for an unknown policy."""
    name, _, number = policy.partition(":")
    if name == NATIVE and not number:
        return lambda pixels: pixels
    bounds = {"resize": (1, 8192), "jpeg": (1, 100)}
    if name not in bounds:
        raise unknown_name("policy", policy, POLICIES)
    minimum, maximum = bounds[name]
    if not number.isdecimal() or not minimum <= int(number) <= maximum:
        raise UserError(f"The policy {policy!r} cannot be used",
                        expected=f"{name}:<number from {minimum} to {maximum}>")
    return _resizer(int(number)) if name == "resize" else partial(recompressed, codec="JPEG", quality=int(number))


def stored_size(policy: str, height: int, width: int) -> tuple[int, int]:
    """Return the height and width that a picture has under `policy`."""
    name, _, number = policy.partition(":")
    if name != "resize":
        return height, width
    scale = int(number) / min(height, width)
    return round(height * scale), round(width * scale)


def _resizer(side: int) -> Callable[[Pixels], Pixels]:
    def resize(pixels: Pixels) -> Pixels:
        height, width = stored_size(f"resize:{side}", *pixels.shape[:2])
        return np.asarray(Image.fromarray(pixels).resize((width, height), Image.Resampling.BICUBIC))

    return resize


def recompressed(pixels: Pixels, codec: str, quality: int) -> Pixels:
    """Return the picture after a compression by Pillow's `codec`, JPEG or WEBP, at `quality`: uint8 (H, W, 3).

    UserError for a picture that the format cannot hold.
    """
    height, width, _ = pixels.shape
    if max(height, width) > MAX_SIDES[codec]:
        raise UserError(f"A picture of {width} x {height} pixels is too large for {codec}",
                        expected=f"sides of at most {MAX_SIDES[codec]} pixels",
                        do="leave this compression out, or set the collection's policy to resize:<n>")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, codec, quality=quality)
    return np.asarray(Image.open(buffer).convert("RGB"))
