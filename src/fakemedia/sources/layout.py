"""The reference layout of image folders, and its check before a run starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, FAKE, REAL, SPLITS, check_name
from fakemedia.sources.data_folders import DataFolder, data_folder
from fakemedia.sources.pictures import HEAD, PICTURES, SUFFIXES
from fakemedia.sources.split_names import label_named, split_named

LAYOUT = f"<task>/{{{','.join(SPLITS)}}}/{{{','.join(CLASS_FOLDERS)}}}/ with image files ({', '.join(SUFFIXES)})"
LAYOUT_ADVICE = "arrange the data in this layout; see docs/how-to/own-data.md"
Root = str | Path | DataFolder
MAX_LISTED = 5
"""Names that an error message lists."""


@dataclass(frozen=True, kw_only=True)
class ClassFolder:
    """A folder with the images of one class in one split: `path` is POSIX, relative to the root."""

    split: str
    label: int
    path: str


def split_folders(root: Root, task: str) -> dict[str, str]:
    """Return the split of each folder in the folder of `task` that is for one, by name, as spelled on the disk."""
    return {name: split for name in data_folder(root).subfolders(task) if (split := split_named(name))}


def class_folders(root: Root, task: str) -> list[ClassFolder]:
    """Return the existing class folders of `task`, in the order of splits and labels."""
    data = data_folder(root)
    folders = [ClassFolder(split=split, label=label, path=f"{task}/{name}/{name_below}")
               for name, split in split_folders(data, task).items()
               for name_below in data.subfolders(f"{task}/{name}") if (label := label_named(name_below)) is not None]
    return sorted(folders, key=lambda folder: (SPLITS.index(folder.split), folder.label, folder.path))


def _missing(data: DataFolder, tasks: Iterable[str], fakes_only: bool) -> list[str]:
    """Return the missing folders of `tasks`, in order; of nested ones only the topmost."""
    missing: dict[str, None] = {}
    for task in tasks:
        if not data.is_folder("") or not data.is_folder(task):
            missing[task if data.is_folder("") else ""] = None
            continue
        present = {(folder.split, folder.label) for folder in class_folders(data, task)}
        names = {split: name for name, split in split_folders(data, task).items()}
        only_fakes = fakes_only and {label for _, label in present} == {FAKE}
        for split in SPLITS:
            for label, folder in enumerate(CLASS_FOLDERS):
                if split not in names:
                    missing[f"{task}/{split}"] = None
                elif (split, label) not in present and not (only_fakes and label == REAL):
                    missing[f"{task}/{names[split]}/{folder}"] = None
    return list(missing)


def check_layout(root: Root, tasks: Iterable[str], *, fakes_only: bool = False) -> None:
    """Raise UserError unless every class of every split of `tasks` has a folder with an image file; decodes none.

    With `fakes_only` a task may have no folder of real images at all.
    """
    tasks = [check_name(task) for task in tasks]
    data = data_folder(root)
    missing = _missing(data, tasks, fakes_only)
    if missing:
        rest = f" ({len(missing) - 1} more are missing)" if len(missing) > 1 else ""
        raise UserError(f"The folder {data.full(missing[0])} does not exist{rest}{_beside(data, missing[0])}",
                        where=data.full(""), expected=LAYOUT, do=LAYOUT_ADVICE)
    for task in tasks:
        for folder in class_folders(data, task):
            if next(_pictures(data, folder.path), None) is None:
                raise UserError("A class folder holds no image file", where=data.full(folder.path), expected=LAYOUT,
                                do=LAYOUT_ADVICE)


def _beside(data: DataFolder, missing: str) -> str:
    """Return the names beside the missing folder `missing`, as a phrase for the error message."""
    folder = missing.rpartition("/")[0]
    names = data.names(folder) if missing and data.is_folder(folder) else []
    ellipsis = ", ..." if len(names) > MAX_LISTED else ""
    name = str(data.full(folder)).rpartition("/")[2]
    return f"; {name} holds {', '.join(names[:MAX_LISTED])}{ellipsis}" if names else ""


def _pictures(data: DataFolder, folder: str) -> Iterator[str]:
    return (path for path in data.walk(folder)
            if PICTURES.includes(os.path.basename(path), lambda path=path: data.reader(path, HEAD)()))
