"""The reference layout of image folders, and the check for it that a run makes before it starts."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, SPLITS, check_name

SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp")
LAYOUT = f"<task>/{{{','.join(SPLITS)}}}/{{{','.join(CLASS_FOLDERS)}}}/ with image files ({', '.join(SUFFIXES)})"
ADVICE = "bring the data into this layout; see docs/how-to/own-data.md"


def class_folders(task: str) -> Iterator[tuple[str, int, str]]:
    """Yield (split, label, POSIX path relative to the root) for the six class folders of `task`."""
    for split in SPLITS:
        for label, name in enumerate(CLASS_FOLDERS):
            yield split, label, f"{task}/{split}/{name}"


def image_names(folder: Path) -> Iterator[str]:
    """Yield the names in `folder` that end like an image file and are not hidden, in no particular order."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.lower().endswith(SUFFIXES) and not entry.name.startswith("."):
                yield entry.name


def missing_folders(root: str | Path, tasks: Iterable[str]) -> list[Path]:
    """Return the folders that `tasks` lack under `root`, in order; of a missing folder only the topmost is named."""
    missing: dict[Path, None] = {}
    for task in tasks:
        for _, _, relative in class_folders(task):
            folder = Path(root, relative)
            chain = (Path(root), folder.parent.parent, folder.parent, folder)
            first = next((path for path in chain if not path.is_dir()), None)
            if first is not None:
                missing[first] = None
    return list(missing)


def check_layout(root: str | Path, tasks: Iterable[str]) -> None:
    """Raise UserError unless every class folder of `tasks` is there and holds an image file; opens no image."""
    tasks = [check_name(task) for task in tasks]
    missing = missing_folders(root, tasks)
    if missing:
        more = f" ({len(missing) - 1} more are missing)" if len(missing) > 1 else ""
        raise UserError(f"The folder {missing[0]} does not exist{more}", where=root, expected=LAYOUT, do=ADVICE)
    for task in tasks:
        for _, _, relative in class_folders(task):
            if next(image_names(Path(root, relative)), None) is None:
                raise UserError("A class folder holds no image file", where=Path(root, relative), expected=LAYOUT,
                                do=ADVICE)
