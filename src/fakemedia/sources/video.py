"""Frames of video files in the reference layout, `<task>/{train,val,test}/{0_real,1_fake}/*.mp4`; needs the extra
`video`.

The frames of one video are one source group. Missing splits are made by rule, video by video.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from fakemedia.sources.data_folders import root_of
from fakemedia.sources.excerpts import excerpt
from fakemedia.sources.file_tree import Tree
from fakemedia.sources.frames import frames_at
from fakemedia.sources.pictures import PICTURES, Media
from fakemedia.sources.source import Item, Note
from fakemedia.sources.splits import complete
from fakemedia.sources.tree_source import TreeSource, by_task, task_above_split

VERSION = 2
"""Version of the frames: raised when other frames, or other pixels of them, are read."""
SUFFIXES = (".avi", ".flv", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".webm", ".wmv")
"""Files with these endings are accepted as videos; others by their first bytes."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Location of the videos, and frames taken of each."""

    root: str
    """The folder that holds one folder for each task, or its address, such as s3://bucket/data."""
    frames: int = 8
    """Frames per video, evenly spaced."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError("at least one frame")


@dataclass(frozen=True)
class VideoSource:
    """The frames of all videos under `root`; see `fakemedia.sources.source.Source`."""

    videos: TreeSource
    frames: int

    def tasks(self) -> list[str]:
        """Return the names of the tasks, sorted; UserError without `root`."""
        return self.videos.tasks()

    def items(self, task: str) -> list[Item]:
        """Return an item for each frame, `<path of the video>#<number>-<of how many>`: a path stands for one
        picture. UserError if there is no such task."""
        frames = [replace(video, path=f"{video.path}#{frame:04d}-{self.frames}", source=video.source or video.path)
                  for video in self.videos.files(task) for frame in range(self.frames)]
        return complete(frames, where=self.videos.location_of(task))

    def listing(self, task: str) -> tuple[list[Item], list[Note]]:
        """Return the items of `task`, and what is in its folders or belongs to no task; UserError as `items`."""
        return self.items(task), self.videos.notes(task)

    def reader(self, path: str) -> Callable[[], bytes]:
        """Return a function that reads a frame as PNG; OSError if the video cannot be decoded there."""
        video, _, frame = path.rpartition("#")
        number = int(frame.partition("-")[0])
        return partial(_frame, self.videos.tree.reader(video), (number + 0.5) / self.frames)


def _frame(read: Callable[[], bytes], share: float) -> bytes:
    """Return the frame of a video after `share` of its length as PNG."""
    frame = next(frames_at(io.BytesIO(read()), [share]))
    return excerpt(frame.image, codec=frame.codec, mode=frame.mode)


def starts_like_video(head: bytes) -> bool:
    """Return whether a file that starts with `head` is a video: MP4, QuickTime, Matroska, WebM, AVI, MPEG, FLV, WMV."""
    return (head.startswith((b"\x1a\x45\xdf\xa3", b"\0\0\x01\xba", b"\0\0\x01\xb3", b"FLV\x01", b"\x30\x26\xb2\x75"))
            or (head[:4] == b"RIFF" and head[8:12] == b"AVI ")
            or (head[4:8] in (b"ftyp", b"moov", b"mdat") and not PICTURES.starts(head)))


VIDEOS = Media("videos", SUFFIXES, starts_like_video)


def build(config: Config) -> VideoSource:
    """Return the source; nothing is read yet."""
    placement_of = partial(by_task, task_of=task_above_split)
    return VideoSource(TreeSource(Tree(root_of(config.root)), placement_of, VIDEOS), config.frames)
