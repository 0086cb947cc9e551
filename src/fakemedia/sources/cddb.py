"""CDDB (Li et al., WACV 2023) as its authors ship it: archives or unpacked folders, `train` and `val` only.

Some tasks have content classes, as in `cyclegan/train/horse/0_real`. The shipped `val` becomes the test split, and a
quarter of `train` becomes val, which gives the counts of the paper; see `fakemedia.sources.splits`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fakemedia.sources.data_folders import root_of
from fakemedia.sources.file_tree import Tree
from fakemedia.sources.tree_source import Placement, TreeSource, by_task

TASKS = ("biggan", "crn", "cyclegan", "faceforensics", "gaugan", "glow", "imle", "san", "stargan", "stylegan",
         "whichfaceisreal", "wild")
ARCHIVE_NAMES = {"deepfake": "faceforensics", "stargan_gf": "stargan"}
"""The tasks that have another name in the archives, by that name."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Location of the data set."""

    root: str
    """An archive of it, or a folder with its archives or its unpacked folders; or the address of unpacked folders."""


def _task(folders: tuple[str, ...]) -> int | None:
    """Return the index of the innermost folder that is a task: an archive may have the name of a task too."""
    return next((index for index in reversed(range(len(folders))) if folders[index] in (*TASKS, *ARCHIVE_NAMES)), None)


def _placement(path: str) -> Placement | None:
    """Return the placement of a file: the authors' val is the test split."""
    placement = by_task(path, _task)
    return placement and replace(placement, task=ARCHIVE_NAMES.get(placement.task, placement.task),
                                 split="test" if placement.split == "val" else placement.split)


def build(config: Config) -> TreeSource:
    """Return the source; nothing is read yet."""
    return TreeSource(Tree(root_of(config.root)), _placement, exact=True)
