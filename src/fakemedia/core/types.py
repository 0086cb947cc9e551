"""Splits, labels, tasks and stages."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fakemedia.core.errors import UserError

SPLITS = ("train", "val", "test")
CLASS_FOLDERS = ("0_real", "1_fake")
REAL, FAKE = 0, 1

_NAME = re.compile(r"[A-Za-z0-9]+(?:[_-][A-Za-z0-9]+)*")


def check_name(name: str, *, kind: str = "task") -> str:
    """Return `name` if it can serve as a folder name and inside catalog entries; raise UserError otherwise."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UserError(
            f"The {kind} name {name!r} cannot be used",
            expected="letters, digits, and single '_' or '-' between them; no '__', '/', '.' or blank",
            do="rename it in the configuration, and its folder with it",
        )
    return name


@dataclass(frozen=True, kw_only=True)
class Stage:
    """A step of a sequence: one task, or a group of similar tasks that are learned jointly.

    `index` counts from 1; `seen` are all tasks learned up to and including this stage, in order.
    """

    index: int
    name: str
    tasks: tuple[str, ...]
    seen: tuple[str, ...]

    @property
    def key(self) -> str:
        """The stage's name in files, nodes and figures, e.g. `01_gaugan`."""
        return f"{self.index:02d}_{self.name}"


def make_stages(groups: list[tuple[str, ...]]) -> tuple[Stage, ...]:
    """Return the stages that learn `groups` of tasks in this order; a group of three that begins with `a` is `a_plus2`.

    >>> [stage.key for stage in make_stages([("gaugan",), ("crn", "imle")])]
    ['01_gaugan', '02_crn_plus1']
    """
    stages: list[Stage] = []
    seen: tuple[str, ...] = ()
    for index, tasks in enumerate(groups, start=1):
        seen += tasks
        name = tasks[0] if len(tasks) == 1 else f"{tasks[0]}_plus{len(tasks) - 1}"
        stages.append(Stage(index=index, name=name, tasks=tasks, seen=seen))
    return tuple(stages)
