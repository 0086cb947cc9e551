"""Small videos for tests; they need the extra `video`."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np


def write_video(path: Path, frames: Iterable[np.ndarray], *, codec: str = "mpeg4", rate: int = 10,
                rotation: int = 0) -> Path:
    """Write `frames`, uint8 (H, W, 3) with even sides, as a video in the format of the path's suffix; return it."""
    import av

    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.pix_fmt, stream.bit_rate = "yuv420p", 4_000_000
        if rotation:
            stream.set_display_rotation(rotation)
        for number, pixels in enumerate(frames):
            if number == 0:
                stream.height, stream.width = pixels.shape[:2]
            for packet in stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")):
                container.mux(packet)
        for packet in stream.encode():
            container.mux(packet)
    return path


def shades(count: int, size: int = 32) -> list[np.ndarray]:
    """Return `count` frames of one grey level each, which grows by 12."""
    return [np.full((size, size, 3), 12 * number, np.uint8) for number in range(count)]
