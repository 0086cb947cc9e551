"""Frames of video files in the reference layout, `<task>/{train,val,test}/{0_real,1_fake}/*.mp4`; needs the extra
`video`.

The frames of one video are one source group. Missing splits are made by rule, video by video. Faces are found
by the local binary pattern cascade that comes with scikit-image (Liao et al., ICB 2007): frontal ones, upright.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from fakemedia.core.errors import UserError
from fakemedia.sources.file_tree import Tree
from fakemedia.sources.source import Item
from fakemedia.sources.splits import complete
from fakemedia.sources.tree_source import by_task, task_above_split

if TYPE_CHECKING:
    from skimage.feature import Cascade

MARGIN = 1.3
SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".webm")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Location of the videos, and frames taken of each."""

    root: str
    """The folder that holds one folder for each task."""
    frames: int = 8
    """Frames per video, evenly spaced."""
    faces: bool = False
    """Crop each frame to its largest face, a square of MARGIN times its side; without a face it is unreadable."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError("at least one frame")


@dataclass(frozen=True)
class VideoSource:
    """The frames of all videos under `root`; see `fakemedia.sources.source.Source`."""

    tree: Tree
    frames: int
    faces: bool

    def tasks(self) -> list[str]:
        """Return the names of the tasks, sorted; UserError without `root`."""
        return sorted({_parts(path)[0] for path in self.tree.entries if _parts(path)[0]})

    def items(self, task: str) -> list[Item]:
        """Return an item for each frame, `<path of the video>#<number>-<of how many>`, and `-face` if it is cropped: a
        path stands for one picture. UserError if there is no such task."""
        videos = {path: entry for path, entry in self.tree.entries.items() if _parts(path)[0] == task}
        if not videos:
            raise UserError(f"There are no videos of the task {task}", where=self.tree.root,
                            expected=f"files that end in {', '.join(SUFFIXES)}", do="see docs/how-to/own-data.md")
        ending = f"-{self.frames}{'-face' if self.faces else ''}"
        return complete([
            Item(path=f"{path}#{frame:04d}{ending}", split=_parts(path)[1], label=_parts(path)[2], class_name="",
                 source=path, bytes=entry.bytes, mtime_ns=entry.mtime_ns)
            for path, entry in videos.items() for frame in range(self.frames)], where=f"{self.tree.root}, task {task}")

    def reader(self, path: str) -> Callable[[], bytes]:
        """Return a function that reads a frame as PNG; OSError if the video cannot be decoded there."""
        video, _, frame = path.rpartition("#")
        number = int(frame.partition("-")[0])
        return partial(_frame, self.tree.reader(video), (number + 0.5) / self.frames, self.faces)


def _frame(read: Callable[[], bytes], share: float, faces: bool) -> bytes:
    """Return the frame of a video after `share` of its length, or the largest face in it, as PNG."""
    try:
        import av  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("Reading videos needs a package that is not installed", where="source video",
                        do="pip install 'fakemedia[video]'") from None
    try:
        with av.open(io.BytesIO(read())) as container:
            stream = container.streams.video[0]
            target = int(share * (stream.duration or 0)) + (stream.start_time or 0)
            container.seek(target, stream=stream)
            image = None
            for decoded in container.decode(stream):
                image = decoded
                if decoded.pts is None or decoded.pts >= target:
                    break
            if image is None:
                raise OSError("the video has no frame there")
            picture = image.to_image()
    except (av.FFmpegError, IndexError) as error:
        raise OSError(f"{type(error).__name__}: {error}") from None
    buffer = io.BytesIO()
    (crop_face(picture) if faces else picture).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def crop_face(picture: Image.Image) -> Image.Image:
    """Return the surroundings of the largest face in an RGB picture, in the picture's own pixels.

    They are a square of MARGIN times the face's side, as far as it lies inside. OSError: no face was found.
    """
    step = max(1, min(picture.size) // 320)
    small = np.asarray(picture.reduce(step))
    sides = [min(small.shape[:2]) // part for part in (10, 1)]
    found = _detector().detect_multi_scale(img=small, scale_factor=1.2, step_ratio=1, min_size=(sides[0], sides[0]),
                                           max_size=(sides[1], sides[1]))
    if not found:
        raise OSError("no face was found in the frame")
    face = max(found, key=lambda box: box["width"])
    centre = [step * (face[at] + face[length] / 2) for at, length in (("c", "width"), ("r", "height"))]
    half = step * MARGIN * face["width"] / 2
    box = [round(min(max(edge, 0), limit)) for sign in (-1, 1)
           for edge, limit in zip((middle + sign * half for middle in centre), picture.size, strict=True)]
    return picture.crop((box[0], box[1], box[2], box[3]))


@cache
def _detector() -> Cascade:
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())


def _parts(path: str) -> tuple[str, str, int]:
    """Return task, split and label of a video; empty strings and 0 for another file."""
    place = by_task(path, task_above_split) if path.lower().endswith(SUFFIXES) else None
    return ("", "", 0) if place is None else (place.task, place.split, place.label)


def build(config: Config) -> VideoSource:
    """Return the source; nothing is read yet."""
    return VideoSource(Tree(Path(config.root)), config.frames, config.faces)
