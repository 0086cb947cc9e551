"""What the sources that read a tree of files share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath

from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.sources.file_tree import Tree
from fakemedia.sources.layout import SUFFIXES
from fakemedia.sources.source import Item
from fakemedia.sources.splits import complete


@dataclass(frozen=True)
class Place:
    """Where a file belongs, as its path says; `split` may be empty."""

    task: str
    split: str
    label: int
    class_name: str


def by_task(path: str, task_of: Callable[[tuple[str, ...]], int | None]) -> Place | None:
    """Return the place of the image file `path`, or None if it has none.

    `task_of` returns which of the folders above the class folder (`0_real` or `1_fake`) is the task. The first split
    below it is the image's; the other folders are its content class.
    """
    *folders, name = PurePosixPath(path).parts
    if not name.lower().endswith(SUFFIXES) or name.startswith("."):
        return None
    label = next((at for at in reversed(range(len(folders))) if folders[at] in CLASS_FOLDERS), None)
    if label is None:
        return None
    above = tuple(folders[:label])
    at = task_of(above)
    if at is None:
        return None
    inside = above[at + 1:]
    split = next((folder for folder in inside if folder in SPLITS), "")
    classes = [folder for folder in (*inside, *folders[label + 1:]) if folder != split]
    return Place(above[at], split, CLASS_FOLDERS.index(folders[label]), "/".join(classes))


@dataclass(frozen=True)
class TreeSource:
    """The images of a tree, each placed by its path; see `fakemedia.sources.source.Source`."""

    tree: Tree
    place: Callable[[str], Place | None]
    exact: bool = False
    """Whether missing splits are cut to the image; see `fakemedia.sources.splits.complete`."""

    @cached_property
    def _placed(self) -> dict[str, list[Item]]:
        found: dict[str, list[Item]] = {}
        for path, entry in self.tree.entries.items():
            place = self.place(path)
            if place is not None:
                found.setdefault(place.task, []).append(
                    Item(path=path, split=place.split, label=place.label, class_name=place.class_name, source="",
                         bytes=entry.bytes, mtime_ns=entry.mtime_ns))
        return found

    def tasks(self) -> list[str]:
        """Return the names of the tasks, sorted; UserError without `root` or for an archive that is not safe."""
        return sorted(self._placed)

    def items(self, task: str) -> list[Item]:
        """Return the images of `task`; splits that are not there are cut. UserError if there are none."""
        if task not in self._placed:
            raise UserError(f"There are no images of the task {task}", where=self.tree.root,
                            expected=f"one of {', '.join(self.tasks()) or 'no task'}",
                            do="see docs/how-to/own-data.md")
        return complete(self._placed[task], exact=self.exact, where=f"{self.tree.root}, task {task}")

    def reader(self, path: str) -> Callable[[], bytes]:
        """Return a function that reads an image file; OSError if it cannot be read."""
        return self.tree.reader(path)
