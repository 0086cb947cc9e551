"""Frames of a video file, by PyAV: the extra `video`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from PIL import Image

from fakemedia.core.errors import UserError
from fakemedia.core.extras import install

if TYPE_CHECKING:
    from types import ModuleType

FORMATS = ("3gp", "asf", "avi", "flv", "m4v", "matroska", "mov", "mp4", "mpeg", "mpegts", "mpegvideo", "webm")
"""Formats by FFmpeg's names that are read: none that names other files or addresses, such as playlists."""
WITHOUT_INDEX = ("mpeg", "mpegts", "mpegvideo")
"""Formats without an index, whose length FFmpeg estimates."""
INSTALL = install("video")
_ROTATIONS = {90: Image.Transpose.ROTATE_90, -90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180,
              -180: Image.Transpose.ROTATE_180}


@dataclass(frozen=True, kw_only=True)
class Frame:
    """One frame of a video."""

    seconds: float
    """Its time in the video."""
    image: Image.Image
    """RGB, turned upright by the video's rotation."""
    codec: str
    """FFmpeg's name of the video's codec, such as `h264`."""
    mode: str
    """FFmpeg's name of its pixel format, such as `yuv420p`."""


def frames_at(file: BinaryIO, shares: Sequence[float]) -> Iterator[Frame]:
    """Yield the frames of a video after `shares` of its length, 0 to 1, in ascending order.

    OSError if it cannot be decoded there; UserError without the extra.
    """
    av = _package()
    try:
        with av.open(file, options={"format_whitelist": ",".join(FORMATS)}) as container:
            stream = container.streams.video[0]
            start, length = stream.start_time or 0, _length(container, stream)
            for share in shares:
                yield _frame(container, stream, start, int(share * length))
    except (av.FFmpegError, IndexError, ValueError) as error:
        raise OSError(f"the video cannot be decoded: {getattr(error, 'strerror', None) or error}") from None


def _package() -> ModuleType:
    try:
        import av  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("Reading videos needs a package that is not installed", where="the extra video",
                        do=INSTALL) from None
    return av


def _length(container: Any, stream: Any) -> float:
    """Return the length of a video in units of `stream.time_base`: that of its stream or file, or of its packets."""
    is_estimated = container.format.name in WITHOUT_INDEX
    if stream.duration and not is_estimated:
        return stream.duration
    if container.duration and not is_estimated:  # Matroska and WebM give no length of a stream.
        return container.duration / 1_000_000 / stream.time_base
    ends = [packet.pts + (packet.duration or 0) for packet in container.demux(stream) if packet.pts is not None]
    return max(ends, default=0) - (stream.start_time or 0)


def _frame(container: Any, stream: Any, start: int, after: int) -> Frame:
    container.seek(start + after, stream=stream)
    frame = None
    for decoded in container.decode(stream):
        frame = decoded
        if decoded.pts is None or decoded.pts >= start + after:
            break
    if frame is None:
        raise OSError("the video has no frame there")
    transposition = _ROTATIONS.get(round(getattr(frame, "rotation", 0)))
    image = frame.to_image()
    return Frame(seconds=float(((frame.pts or 0) - start) * stream.time_base), codec=stream.codec_context.name,
                 image=image if transposition is None else image.transpose(transposition), mode=str(frame.format.name))
