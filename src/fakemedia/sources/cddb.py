"""CDDB (Li et al., WACV 2023) as its authors ship it: archives or unpacked folders, `train` and `val` only.

Some tasks have content classes, as in `cyclegan/train/horse/0_real`. The shipped `val` becomes the test split, and a
quarter of `train` becomes val, which gives the counts of the paper; see `fakemedia.sources.splits`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fakemedia.sources.file_tree import Tree
from fakemedia.sources.places import root_of
from fakemedia.sources.tree_source import Place, TreeSource, by_task

TASKS = ("biggan", "crn", "cyclegan", "faceforensics", "gaugan", "glow", "imle", "san", "stargan", "stylegan",
         "whichfaceisreal", "wild")
THEIRS = {"deepfake": "faceforensics", "stargan_gf": "stargan"}
"""Tasks that have another name in the archives."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Location of the data set."""

    root: str
    """An archive of it, or a folder with its archives or its unpacked folders; or the address of unpacked folders."""


def _task(folders: tuple[str, ...]) -> int | None:
    """Return the place of the innermost folder that is a task: an archive may have the name of a task too."""
    return next((index for index in reversed(range(len(folders))) if folders[index] in (*TASKS, *THEIRS)), None)


def _place(path: str) -> Place | None:
    """Return the place of a file: the authors' val is the test split."""
    place = by_task(path, _task)
    return place and replace(place, task=THEIRS.get(place.task, place.task),
                             split="test" if place.split == "val" else place.split)


def build(config: Config) -> TreeSource:
    """Return the source; nothing is read yet."""
    return TreeSource(Tree(root_of(config.root)), _place, exact=True)
