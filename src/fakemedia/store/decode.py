"""Image files to 8-bit RGB pixels, the same way everywhere."""

from __future__ import annotations

import hashlib
import io
import logging
import warnings
import zlib
from contextlib import suppress
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from fakemedia.core.extras import install
from fakemedia.sources.excerpts import origin

CODECS = ("AVIF", "BMP", "GIF", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
EXTRAS = {"HEIF": "heic", "JXL": "jxl"}
"""Formats that an additional package adds to Pillow, and the extra of this project that installs it."""
HEIC = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
"""Kinds of ISO media files that are HEIC, unless they are AVIF, too."""
VERSION = 1
"""Of the rules by which a file becomes pixels; raised when its results change."""
MAX_PIXELS = 2**26
"""Largest picture that is decoded, pixels: a bound against decompression bombs (201 MB decoded)."""
MATTE = (255, 255, 255, 255)
"""The background of transparent pictures: white."""

warnings.filterwarnings("ignore", module=r"PIL\.")  # Of odd metadata, on the terminal, without the file's name.
logging.getLogger("PIL").setLevel(logging.CRITICAL)  # The same; what cannot be decoded is a DecodeError.
_LUMINANCE_SUM = 3688
"""Sum of the luminance table of the JPEG standard (ITU-T T.81, Table K.1), which libjpeg uses at quality 50."""


class DecodeError(ValueError):
    """The bytes cannot be used as a picture; the message gives the reason."""


@dataclass(frozen=True)
class Picture:
    """A decoded image file: `pixels` uint8 (H, W, 3), read-only; `codec` (lower case) and colour `mode` of the file, or
    of the one that it was taken from (see `sources.excerpts`); `quality` of a JPEG, 1 to 100, or 0."""

    pixels: NDArray[np.uint8]
    codec: str
    mode: str
    quality: int


def content_id(data: bytes) -> str:
    """Return the first 32 hex digits of the SHA-256 of an image file."""
    return hashlib.sha256(data).hexdigest()[:32]


def checksum(data: bytes | memoryview) -> str:
    """Return the CRC-32 of `data`, 8 hex digits: it finds damage, at a third of the cost of a cryptographic hash."""
    return f"{zlib.crc32(data):08x}"


def decode(data: bytes) -> NDArray[np.uint8]:
    """Return the pixels of an image file, uint8 (H, W, 3) RGB; see `read_picture` for the rules."""
    return read_picture(data).pixels


def read_picture(data: bytes) -> Picture:
    """Decode an image file; the format is recognised by its content.

    Formats: AVIF, BMP, GIF, JPEG, JPEG 2000, PNG, PNM, TIFF, WebP; with the extras `heic` and `jxl` HEIC and JPEG XL.

    First frame; turned upright by its EXIF orientation (left as stored where the EXIF block cannot be read); palettes
    and grey become RGB; of 16-bit samples the upper byte is kept; CMYK and YCCK are converted without a colour
    profile; transparency is composited over white.

    Raises DecodeError for anything else: damaged or truncated data, more than MAX_PIXELS, floating-point samples.
    """
    try:
        with Image.open(io.BytesIO(data), formats=_formats(data)) as image:
            width, height = image.size
            if width * height > MAX_PIXELS:
                raise DecodeError(f"{width} x {height} pixels are more than {MAX_PIXELS} in all")
            codec, mode = str(image.format).lower(), image.mode
            image.load()
            facts = origin(image.info) or (codec, mode, _quality(getattr(image, "quantization", None)))
            return Picture(upright_rgb(image), *facts)
    except DecodeError:
        raise
    except UnidentifiedImageError:  # Its text names an object in memory.
        raise DecodeError("no image format is recognised" if data else "the file is empty") from None
    except Exception as error:  # Hostile bytes make the codecs raise nearly anything.
        raise DecodeError(f"{type(error).__name__}: {error}") from error


def upright_rgb(image: Image.Image) -> NDArray[np.uint8]:
    """Return the pixels of an opened picture, uint8 (H, W, 3) RGB, by the rules of `read_picture`.

    It is turned in place. DecodeError for samples whose range is not known.
    """
    _turn_upright(image)
    return np.asarray(_to_rgb(image))


def _formats(data: bytes) -> tuple[str, ...]:
    """Return the formats that `data` may have; DecodeError for one whose package is not installed."""
    if data[4:8] == b"ftyp" and data[8:12] in HEIC and b"avif" not in data[8:64]:
        return (_registered_format("HEIF"),)
    return (_registered_format("JXL"),) if data.startswith((b"\xff\x0a", b"\0\0\0\x0cJXL ")) else CODECS


@cache
def _registered_format(kind: str) -> str:
    """Return a format of EXTRAS after its package has added it to Pillow."""
    try:
        if kind == "HEIF":
            import pillow_heif  # pyright: ignore[reportMissingImports]

            pillow_heif.register_heif_opener()
        else:
            import pillow_jxl  # pyright: ignore[reportMissingImports]  # noqa: F401
    except ImportError:
        raise DecodeError(f"a {EXTRAS[kind].upper()} picture; to read it: {install(EXTRAS[kind])}") from None
    return kind


def _quality(tables: dict[int, list[int]] | None) -> int:
    """Return the JPEG quality whose luminance table has the same sum; the inverse of libjpeg's `jpeg_set_quality`."""
    if not tables:
        return 0
    scale = 100 * sum(next(iter(tables.values()))) / _LUMINANCE_SUM
    return int(np.clip(round(5000 / scale if scale > 100 else (200 - scale) / 2), 1, 100))


def _turn_upright(image: Image.Image) -> None:
    """Turn the picture by its EXIF orientation, in place; it stays as stored where the EXIF block cannot be read."""
    with suppress(Exception):  # As above: an EXIF block is free-form input.
        ImageOps.exif_transpose(image, in_place=True)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB" and not image.has_transparency_data:
        return image
    if image.mode == "F":
        raise DecodeError("floating-point samples have no known range")
    if image.mode.startswith("I"):
        samples = np.asarray(image)
        if samples.min() < 0 or samples.max() > 0xFFFF:
            raise DecodeError("samples of more than 16 bits")
        return Image.fromarray((samples >> 8).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        matte = Image.new("RGBA", image.size, MATTE)
        return Image.alpha_composite(matte, image.convert("RGBA")).convert("RGB")
    return image.convert("RGB")
