"""The common part of sources that read a tree of files."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import PurePosixPath

from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS
from fakemedia.sources.file_tree import Tree
from fakemedia.sources.groups import is_sources_table, with_sources
from fakemedia.sources.pictures import HEAD, PICTURES, Media, is_ignored, respelled, skipped, unplaced
from fakemedia.sources.source import Item, Note
from fakemedia.sources.split_names import label_named, split_named
from fakemedia.sources.splits import complete


@dataclass(frozen=True)
class Placement:
    """Where a file belongs, by the folders above it; `split` may be empty."""

    task: str
    split: str
    label: int
    class_name: str
    path: str
    """The task's folder."""
    folders: tuple[tuple[str, str], ...]
    """The folders of its class and, if it has one, its split, as paths, with the usual name of each."""


def by_task(path: str, task_of: Callable[[tuple[str, ...]], int | None]) -> Placement | None:
    """Return the placement of the file `path`, or None if it belongs to no class of a task.

    `task_of` returns which of the folders above the class folder is the task. The class folder is the innermost
    `0_real` or `1_fake`, or else one of another usual spelling, unless there are both real and fake ones. The first
    split below the task is the image's; the other folders are its content class.
    """
    folders = PurePosixPath(path).parts[:-1]
    label_at = _class_folder(folders)
    if label_at is None:
        return None
    task_at = task_of(folders[:label_at])
    if task_at is None:
        return None
    label = label_named(folders[label_at])
    assert label is not None
    between = range(task_at + 1, label_at)
    split_at = next((index for index in between if split_named(folders[index])), None)
    classes = [folders[index] for index in (*between, *range(label_at + 1, len(folders))) if index != split_at]
    split = "" if split_at is None else split_named(folders[split_at]) or ""
    usual_names = [("/".join(folders[:label_at + 1]), CLASS_FOLDERS[label])]
    if split_at is not None:
        usual_names.append(("/".join(folders[:split_at + 1]), split))
    return Placement(folders[task_at], split, label, "/".join(classes), "/".join(folders[:task_at + 1]),
                     tuple(usual_names))


def task_above_split(folders: tuple[str, ...]) -> int | None:
    """Return the index of the task among the folders above a class folder: above the split, or the last one."""
    split_at = next((index for index, folder in enumerate(folders) if split_named(folder)), len(folders))
    return split_at - 1 if split_at else None


def _class_folder(folders: tuple[str, ...]) -> int | None:
    exact = [index for index, folder in enumerate(folders) if folder in CLASS_FOLDERS]
    if exact:
        return exact[-1]
    other = [index for index, folder in enumerate(folders) if label_named(folder) is not None]
    return other[-1] if len({label_named(folders[index]) for index in other}) == 1 else None


@dataclass
class TaskFiles:
    """The files of one task."""

    items: list[Item] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)
    """Tables of sources in the task's folders."""
    other_files: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    """Files of other kinds, by class folder and ending."""
    names: dict[str, str] = field(default_factory=dict)
    """The usual name of each folder of a split or class, by its path."""


@dataclass(frozen=True)
class TreeSource:
    """The images of a tree, each placed by its path; see `fakemedia.sources.source.Source`."""

    tree: Tree
    placement_of: Callable[[str], Placement | None]
    media: Media = PICTURES
    exact: bool = False
    """Whether missing splits are made by exact counts; see `fakemedia.sources.splits.complete`."""

    @cached_property
    def _files_by_task(self) -> dict[str, TaskFiles]:
        files_by_task: dict[str, TaskFiles] = defaultdict(TaskFiles)
        for path, placement in self._placements.items():
            name, entry = PurePosixPath(path).name, self.tree.entries[path]
            task = files_by_task[placement.task]
            if self.media.includes(name, self.tree.reader(path, HEAD)):
                task.names |= placement.folders
                task.items.append(Item(path=path, split=placement.split, label=placement.label,
                                       class_name=placement.class_name, source="", bytes=entry.bytes,
                                       mtime_ns=entry.mtime_ns))
            else:
                task.other_files[placement.folders[0][0]][PurePosixPath(name).suffix.lower()] += 1
        tasks = {placement.path: placement.task for placement in self._placements.values()}
        for path in self.tree.entries:
            folder, _, name = path.rpartition("/")
            if is_sources_table(name) and folder in tasks:
                files_by_task[tasks[folder]].tables.append(path)
        return {task: files for task, files in files_by_task.items() if files.items}

    @cached_property
    def _placements(self) -> dict[str, Placement]:
        """The placements of the files that have one, by path.

        Files of a class folder without a split have none inside a task that has splits.
        """
        placements = {path: placement for path in self.tree.entries
                      if not is_ignored(PurePosixPath(path).name) and (placement := self.placement_of(path))}
        with_splits = {placement.path for placement in placements.values() if placement.split}
        return {path: placement for path, placement in placements.items()
                if placement.split
                or with_splits.isdisjoint(str(parent) for parent in PurePosixPath(placement.path).parents)}

    @cached_property
    def _unplaced(self) -> Counter[str]:
        """Number of files of the source's kind without a placement, by folder."""
        return Counter(PurePosixPath(path).parent.as_posix() for path in self.tree.entries
                       if self.media.is_named(path) and not is_ignored(PurePosixPath(path).name)
                       and path not in self._placements)

    @property
    def unread(self) -> dict[str, str]:
        """Archives of kinds that are not read, by path: what they are."""
        return self.tree.unread

    def tasks(self) -> list[str]:
        """Return the names of the tasks, sorted; UserError without `root`, for an archive that is not safe, and where
        there is no task, but archives of kinds that are not read."""
        if not self._files_by_task and self.tree.unread:
            path, kind = next(iter(self.tree.unread.items()))
            raise UserError(f"There are no tasks, and {path} is {kind}, which is not read", where=self.tree.root,
                            do="unpack it, and point root to the folder")
        return sorted(self._files_by_task)

    def items(self, task: str) -> list[Item]:
        """Return the images of `task`; missing splits are made by rule. UserError if there are none."""
        return complete(self.files(task), exact=self.exact, where=self.location_of(task))

    def files(self, task: str) -> list[Item]:
        """Return the files of `task` as items, with the splits that are given. UserError if there are none."""
        if task not in self._files_by_task:
            raise UserError(f"There are no {self.media.name} of the task {task}", where=self.tree.root,
                            expected=f"one of {', '.join(self.tasks()) or 'no task'}",
                            do="see docs/how-to/own-data.md")
        items = self._files_by_task[task].items
        for table in self._files_by_task[task].tables:
            items = self._with_sources(items, table)
        return items

    def location_of(self, task: str) -> str:
        """Return the location of `task` for error messages."""
        return f"{self.tree.root}, task {task}"

    def _with_sources(self, items: list[Item], table: str) -> list[Item]:
        folder, where = table.rpartition("/")[0], f"{self.tree.root}, {table}"
        table_items = [item for item in items if item.path.startswith(f"{folder}/")]
        try:
            with_source = with_sources(table_items, self.tree.reader(table)(), folder, where)
        except OSError as error:
            raise UserError(f"The table of sources cannot be read: {error}", where=where) from None
        return [*with_source, *(item for item in items if not item.path.startswith(f"{folder}/"))]

    def listing(self, task: str) -> tuple[list[Item], list[Note]]:
        """Return the images of `task`, and notes on other files; UserError as `items`."""
        return self.items(task), self.notes(task)

    def notes(self, task: str) -> list[Note]:
        """Return notes on other files in the folders of `task`, and on files that belong to no task."""
        files = self._files_by_task[task]
        unread_notes = [Note(kind="skipped", path=path, warns=True, detail=f"{kind}, which is not read: unpack it")
                        for path, kind in self._entries_of(task, self.tree.unread).items()]
        return [*respelled(files.names), *skipped(files.other_files, self.media),
                *unplaced(self._entries_of(task, self._unplaced), self.media), *unread_notes]

    def _entries_of(self, task: str, values_by_path: dict) -> dict:
        """Return the entries whose path is in a folder of `task`, or in a folder that belongs to no task."""
        other_tasks = set(self._files_by_task) - {task}
        return {path: value for path, value in values_by_path.items()
                if task in (parts := PurePosixPath(path).parts) or other_tasks.isdisjoint(parts)}

    def reader(self, path: str) -> Callable[[], bytes]:
        """Return a function that reads an image file; OSError if it cannot be read."""
        return self.tree.reader(path)
