"""The reference layout of image folders, and its check before a run starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, FAKE, REAL, SPLITS, check_name
from fakemedia.sources.pictures import PICTURES, SUFFIXES
from fakemedia.sources.split_names import label_named, split_named
from fakemedia.sources.walking import head_of, is_folder, names_in, subfolders, walk

LAYOUT = f"<task>/{{{','.join(SPLITS)}}}/{{{','.join(CLASS_FOLDERS)}}}/ with image files ({', '.join(SUFFIXES)})"
ADVICE = "arrange the data in this layout; see docs/how-to/own-data.md"
SHOWN = 5
"""Names that an error message lists."""


@dataclass(frozen=True, kw_only=True)
class ClassFolder:
    """A folder with the images of one class in one split: `path` is POSIX, relative to the root."""

    split: str
    label: int
    path: str


def split_folders(root: str | Path, task: str) -> dict[str, str]:
    """Return the split of each folder in the folder of `task` that is for one, by name, as spelled on the disk."""
    return {name: split for name in subfolders(Path(root, task)) if (split := split_named(name))}


def class_folders(root: str | Path, task: str) -> list[ClassFolder]:
    """Return the existing class folders of `task`, in the order of splits and labels."""
    found = [ClassFolder(split=split, label=label, path=f"{task}/{name}/{inner}")
             for name, split in split_folders(root, task).items()
             for inner in subfolders(Path(root, task, name)) if (label := label_named(inner)) is not None]
    return sorted(found, key=lambda folder: (SPLITS.index(folder.split), folder.label, folder.path))


def missing_folders(root: str | Path, tasks: Iterable[str], *, fakes_only: bool = False) -> list[Path]:
    """Return the folders that `tasks` lack under `root`, in order; of a missing folder only the topmost is named.

    With `fakes_only` a task without any folder of real images lacks none of them.
    """
    missing: dict[Path, None] = {}
    for task in tasks:
        if not is_folder(Path(root)) or not is_folder(Path(root, task)):
            missing[Path(root, task) if is_folder(Path(root)) else Path(root)] = None
            continue
        there = {(folder.split, folder.label) for folder in class_folders(root, task)}
        names = {split: name for name, split in split_folders(root, task).items()}
        alone = fakes_only and {label for _, label in there} == {FAKE}
        for split in SPLITS:
            for label, folder in enumerate(CLASS_FOLDERS):
                if split not in names:
                    missing[Path(root, task, split)] = None
                elif (split, label) not in there and not (alone and label == REAL):
                    missing[Path(root, task, names[split], folder)] = None
    return list(missing)


def check_layout(root: str | Path, tasks: Iterable[str], *, fakes_only: bool = False) -> None:
    """Raise UserError unless every class of every split of `tasks` has a folder with an image file; decodes none.

    With `fakes_only` a task may have no folder of real images at all.
    """
    tasks = [check_name(task) for task in tasks]
    missing = missing_folders(root, tasks, fakes_only=fakes_only)
    if missing:
        more = f" ({len(missing) - 1} more are missing)" if len(missing) > 1 else ""
        raise UserError(f"The folder {missing[0]} does not exist{more}{_beside(missing[0])}", where=root,
                        expected=LAYOUT, do=ADVICE)
    for task in tasks:
        for folder in class_folders(root, task):
            if next(_pictures(Path(root, folder.path)), None) is None:
                raise UserError("A class folder holds no image file", where=Path(root, folder.path), expected=LAYOUT,
                                do=ADVICE)


def _beside(missing: Path) -> str:
    """Return what is in the folder where `missing` should be, in words."""
    names = names_in(missing.parent) if is_folder(missing.parent) else []
    more = ", ..." if len(names) > SHOWN else ""
    return f"; {missing.parent.name} holds {', '.join(names[:SHOWN])}{more}" if names else ""


def _pictures(folder: Path) -> Iterator[str]:
    return (path for path in walk(folder) if PICTURES.includes(os.path.basename(path), lambda path=path: head_of(path)))
