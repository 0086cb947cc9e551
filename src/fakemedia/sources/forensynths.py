"""The test sets of CNNDetection (Wang et al., CVPR 2020), ForenSynths: one folder or archive for each generator.

`<task>/0_real`, or `<task>/<class>/0_real` where there are several content classes. The data set has no splits for
learning; they are made by rule.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from fakemedia.sources.data_folders import root_of
from fakemedia.sources.file_tree import Tree
from fakemedia.sources.tree_source import Placement, TreeSource, by_task

TASKS = ("biggan", "crn", "cyclegan", "deepfake", "gaugan", "imle", "progan", "san", "seeingdark", "stargan",
         "stylegan", "stylegan2", "whichfaceisreal")


@dataclass(frozen=True, kw_only=True)
class Config:
    """Location of the test sets."""

    root: str
    """An archive of them, or a folder with their archives or unpacked folders; or the address of unpacked folders."""


def _task(folders: tuple[str, ...]) -> int | None:
    return next((index for index in reversed(range(len(folders))) if folders[index] in TASKS), None)


def _placement(path: str) -> Placement | None:
    """Return the placement of a file; all of the set is test data, in any folder."""
    placement = by_task(path, _task)
    return placement and replace(placement, split="")


def build(config: Config) -> TreeSource:
    """Return the source; nothing is read yet."""
    return TreeSource(Tree(root_of(config.root)), _placement)
