"""From the bytes of a request to crops of pictures, within bounds; nothing is written to the disk."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass

from PIL import Image

from fakemedia.scoring.crop_layout import View, view
from fakemedia.scoring.model import Facts
from fakemedia.scoring.scores import picture_function
from fakemedia.serving.refusal import Refused
from fakemedia.store.decode import CODECS, DecodeError, read_picture


@dataclass(frozen=True, kw_only=True)
class Received:
    """A picture of a request that was decoded."""

    name: str
    """The name that the client gave, at most 200 characters."""
    view: View
    sha256: str
    """SHA-256 of the file."""
    bytes: int
    codec: str
    mode: str
    """Colour mode of the file."""
    quality: int
    """Estimated quality of a JPEG, 1 to 100; 0 for other codecs."""


def receive(name: str, data: bytes, facts: Facts, *, crops: int, max_pixels: int) -> Received:
    """Return a picture file with its crops for the detector of `facts`, `crops` at most.

    Refused with 413 for more than `max_pixels` pixels, 415 for data that are no picture, 422 for a damaged picture.
    """
    _check_size(data, max_pixels)
    try:
        picture = read_picture(data)
        picture_view = view(picture_function(facts.policy, facts.faces)(picture.pixels), facts.crop, crops)
    except DecodeError as error:
        raise Refused(422, f"The picture cannot be decoded: {error}. Send a complete, undamaged file.") from None
    return Received(name=name[:200], view=picture_view, sha256=hashlib.sha256(data).hexdigest(), bytes=len(data),
                    codec=picture.codec, mode=picture.mode, quality=picture.quality)


def _check_size(data: bytes, max_pixels: int) -> None:
    """Read only the header; formats for which Pillow needs another package are left to `read_picture`."""
    if not data:
        raise Refused(422, "The file is empty. Send a picture.")
    try:
        with Image.open(io.BytesIO(data), formats=CODECS) as image:
            width, height = image.size
    except Image.DecompressionBombError:
        raise Refused(413, f"The picture has more than {max_pixels} pixels. Send a smaller one.") from None
    except Exception:  # Hostile bytes make the codecs raise nearly anything.
        try:
            picture = read_picture(data).pixels
        except DecodeError as error:
            raise Refused(415, f"This is no picture that can be read: {error}. Send JPEG, PNG, WebP, AVIF, GIF, BMP, "
                               "TIFF, PNM or JPEG 2000.") from None
        height, width = picture.shape[:2]
    if width * height > max_pixels:
        raise Refused(413, f"The picture has {width} x {height} pixels, more than {max_pixels} in all. "
                           "Send a smaller one.")
