"""The interface of a source of pictures."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, kw_only=True, slots=True)
class Item:
    """One image file, as a source lists it without opening it."""

    path: str
    """POSIX path inside the source; unique."""
    split: str
    """`train`, `val` or `test`."""
    label: int
    """0 real, 1 fake."""
    class_name: str
    """Content class, such as `horse`; empty: none given."""
    source: str
    """Id of the photograph that the image was made from; empty: unknown, the image is its own source group."""
    bytes: int
    """Size of the file."""
    mtime_ns: int
    """Time of its last change, nanoseconds since the epoch."""
    cut: str = ""
    """`rule` if the split was not given but made by rule; see `fakemedia.sources.splits`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Note:
    """A note for the audit on other files or folders of a task."""

    kind: str
    """The finding: `skipped` (files that are no pictures), `unplaced` (pictures that belong to no class, split or
    task) or `spelling` (a folder of another name than usual)."""
    path: str
    """POSIX path of the folder or file, inside the source."""
    detail: str
    warns: bool
    """Whether it is a warning; else a note."""


class Source(Protocol):
    """Lists the images of tasks and reads their bytes.

    It may have a method `listing(task)`, too, which returns the items, in any order and one after another if they are
    many, and a list of `Note`; see `listed`.
    """

    def tasks(self) -> list[str]:
        """Return the names of the tasks that the source holds, sorted."""
        ...

    def items(self, task: str) -> list[Item]:
        """Return the images of `task`, in any order; UserError if the task is missing or incomplete."""
        ...

    def reader(self, path: str) -> Callable[[], bytes]:
        """Return a function that reads the image file `path`; small when pickled, as other processes call it.

        OSError, now or then, if the file cannot be read.
        """
        ...


def listing_of(source: Source, task: str) -> tuple[Iterable[Item], list[Note]]:
    """Return the images of `task`, in any order, and the source's notes on other files; UserError as `items`."""
    listing = getattr(source, "listing", None)
    return (source.items(task), []) if listing is None else listing(task)


def listed(source: Source, task: str) -> tuple[list[Item], list[Note]]:
    """Return the same as `listing_of`, with the images as a list, sorted by path."""
    items, notes = listing_of(source, task)
    return sorted(items, key=lambda item: item.path), notes
