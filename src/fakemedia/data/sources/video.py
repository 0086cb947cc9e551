"""Frames of video files in the reference layout, `<task>/{train,val,test}/{0_real,1_fake}/*.mp4`; needs the extra
`video`.

The frames of one video are one source group. Splits that are not there are cut by rule, video by video.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.data.sources.base import Item
from fakemedia.data.splits import complete
from fakemedia.data.trees import Tree

SUFFIXES = (".avi", ".mkv", ".mov", ".mp4", ".webm")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Where the videos are, and how many frames each gives."""

    root: str
    """The folder that holds one folder a task."""
    frames: int = 8
    """Frames a video, evenly spaced."""

    def __post_init__(self) -> None:
        if self.frames < 1:
            raise ValueError("at least one frame")


@dataclass(frozen=True)
class VideoSource:
    """The frames of all videos under `root`; see `fakemedia.data.sources.base.Source`."""

    tree: Tree
    frames: int

    def tasks(self) -> list[str]:
        """Return the names of the tasks, sorted; UserError without `root`."""
        return sorted({_parts(path)[0] for path in self.tree.entries if _parts(path)[0]})

    def items(self, task: str) -> list[Item]:
        """Return an item for each frame, `<path of the video>#<number>`. UserError if there is no such task."""
        videos = {path: entry for path, entry in self.tree.entries.items() if _parts(path)[0] == task}
        if not videos:
            raise UserError(f"There are no videos of the task {task}", where=self.tree.root,
                            expected=f"files that end in {', '.join(SUFFIXES)}", do="see docs/how-to/own-data.md")
        return complete([
            Item(path=f"{path}#{frame:04d}", split=_parts(path)[1], label=_parts(path)[2], class_name="", source=path,
                 bytes=entry.bytes, mtime_ns=entry.mtime_ns)
            for path, entry in videos.items() for frame in range(self.frames)])

    def reader(self, path: str) -> Callable[[], bytes]:
        """Return a function that reads a frame as PNG; OSError if the video cannot be decoded there."""
        video, _, frame = path.rpartition("#")
        return partial(_frame, self.tree.reader(video), (int(frame) + 0.5) / self.frames)


def _frame(read: Callable[[], bytes], share: float) -> bytes:
    """Return the frame of a video after `share` of its length."""
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
            buffer = io.BytesIO()
            image.to_image().save(buffer, "PNG", compress_level=1)
            return buffer.getvalue()
    except (av.FFmpegError, IndexError) as error:
        raise OSError(f"{type(error).__name__}: {error}") from None


def _parts(path: str) -> tuple[str, str, int]:
    """Return task, split and label of a video; empty strings and 0 for another file."""
    *folders, name = PurePosixPath(path).parts
    if not name.lower().endswith(SUFFIXES) or not folders or folders[-1] not in CLASS_FOLDERS:
        return "", "", 0
    *above, label = folders
    split = above.pop() if above and above[-1] in SPLITS else ""
    return (above[-1] if above else ""), split, CLASS_FOLDERS.index(label)


def build(config: Config) -> VideoSource:
    """Return the source; nothing is read yet."""
    return VideoSource(Tree(Path(config.root)), config.frames)
