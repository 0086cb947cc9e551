"""Archives (zip, tar, tar.gz, tar.zip) with the reference layout inside, read without unpacking.

`<task>/{train,val,test}/{0_real,1_fake}/`, in any folder of one archive or of several. Missing splits are
made by rule; without any, the task is the folder above `0_real` and `1_fake`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from fakemedia.sources.data_folders import root_of
from fakemedia.sources.file_tree import Tree
from fakemedia.sources.tree_source import TreeSource, by_task, task_above_split


@dataclass(frozen=True, kw_only=True)
class Config:
    """Location of the archives."""

    root: str
    """An archive, or a folder with archives; or the address of an unpacked folder, such as s3://bucket/data."""


def build(config: Config) -> TreeSource:
    """Return the source; nothing is read yet."""
    return TreeSource(Tree(root_of(config.root)), partial(by_task, task_of=task_above_split))
