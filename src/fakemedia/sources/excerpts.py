"""Pictures that are taken from a file: a frame of a video, a face, a tile of a sheet.

They are PNG files in memory. A text chunk keeps what the audit compares of the file they are taken from, which shows
whether codec, colour mode or JPEG quality separate real from fake.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

from PIL import Image
from PIL.PngImagePlugin import PngInfo

KEY = "fakemedia"


def excerpt(image: Image.Image, *, codec: str, mode: str, quality: int = 0) -> bytes:
    """Return `image` as PNG; `codec`, `mode` and `quality` (1 to 100 of a JPEG, else 0) are those of its file."""
    info, buffer = PngInfo(), io.BytesIO()
    info.add_text(KEY, f"{codec} {mode} {quality}")
    image.save(buffer, "PNG", compress_level=1, pnginfo=info)
    return buffer.getvalue()


def origin(info: Mapping[Any, Any]) -> tuple[str, str, int] | None:
    """Return codec, mode and quality of the file that a picture was taken from, by its `info`; None: of no other."""
    parts = str(info.get(KEY, "")).split(" ")
    return (parts[0], parts[1], int(parts[2])) if len(parts) == 3 and parts[2].isdecimal() else None
