"""How the tasks of a sequence become stages, and how their similarity is measured: settings and their checks."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.plugin import configure, names

Order = Literal["given", "similar_first", "dissimilar_first", "hardest_first", "random"]
Group = tuple[str, ...]
STAGES = "given, grouped, a mapping such as {measure: transfer, n_groups: 4}, or a list of lists of tasks"


@dataclass(frozen=True, kw_only=True)
class GroupingConfig:
    """How tasks are grouped and ordered."""

    measure: str = "fingerprint"
    """The similarity that groups are made by: a measure, or a variant of one under `similarity.settings`."""
    n_groups: int | Literal["auto"] = "auto"
    """Number of groups; `auto`: the number with the highest silhouette, the smallest if several are equal."""
    order: Order = "given"
    """Order of the groups, and of the tasks inside each: as given; `similar_first`: the closest pair, then always the
    one closest to the previous; `dissimilar_first`: the farthest pair, then always the farthest; `hardest_first`: by
    decreasing difficulty; `random`: by seed. Ties are ordered by name."""
    seed: int = 0
    """Seed of the order `random`."""

    def __post_init__(self) -> None:
        if self.n_groups != "auto" and self.n_groups < 1:
            raise ValueError("n_groups of at least 1, or auto")


@dataclass(frozen=True, kw_only=True)
class SimilarityConfig:
    """How the similarity of tasks is measured, and on which images."""

    measures: tuple[str, ...] = ("fingerprint", "transfer")
    """Computed in every run; a sequence may list its own. The measure that it groups by is always computed."""
    images: int = 1000
    """Training images per task, at most."""
    network: str = "start"
    """Network whose features are read: `start`, the network that the sequence starts from, or a file of its weights."""
    seed: int = 0
    """Draws the images, and the weights of a network that starts without any."""
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Settings of measures, by name; another name defines a variant of the measure given by its key `measure`."""

    def __post_init__(self) -> None:
        if self.images < 2:
            raise ValueError("images of at least 2")

    def measure(self, name: str, *, where: str) -> tuple[str, Mapping[str, Any]]:
        """Return the measure behind `name` and its settings; UserError if there is none."""
        settings = self.settings.get(name)
        if settings is None or "measure" not in settings:
            _check_measure(name, {*names("similarity"), *self.settings}, where)
            return name, settings or {}
        _check_measure(settings["measure"], names("similarity"), f"similarity.settings.{name}.measure")
        return settings["measure"], {key: value for key, value in settings.items() if key != "measure"}


def _check_measure(name: Any, accepted: Sequence[str] | set[str], where: str) -> None:
    if name not in accepted:
        raise unknown_name("measure", name, accepted, where=where)


def read_stages(value: Any, tasks: Sequence[str], *, where: str) -> GroupingConfig | tuple[Group, ...]:
    """Return the meaning of a sequence's `stages`: the groups of tasks to learn, or how they are computed.

    UserError for an invalid value, listed groups that do not contain each task once, and more groups than tasks.
    """
    if value is None or value == "given":
        return tuple((task,) for task in tasks)
    if isinstance(value, list):
        return _listed_groups(value, tasks, where)
    if value != "grouped" and not isinstance(value, Mapping):
        raise UserError(f"{value!r} is not a valid way to make stages", where=where, expected=STAGES)
    config = configure(GroupingConfig, {} if value == "grouped" else value, where=where)
    if len(tasks) < 2:
        raise UserError(f"There is nothing to group: the only task is {tasks[0]}", where=where,
                        expected="at least 2 tasks", do="name more tasks, or say stages: given")
    if config.n_groups == "auto" and len(tasks) < 3:
        raise UserError("The silhouette cannot choose the number of groups of two tasks", where=where,
                        expected="at least 3 tasks", do="give n_groups as a number")
    if config.n_groups != "auto" and config.n_groups > len(tasks):
        raise UserError(f"There are more groups ({config.n_groups}) than tasks ({len(tasks)})",
                        where=f"{where}.n_groups", expected=f"1 to {len(tasks)}, or auto")
    return config


def _listed_groups(groups: list, tasks: Sequence[str], where: str) -> tuple[Group, ...]:
    if not all(isinstance(group, list) and group for group in groups):
        raise UserError("A group is not a list of tasks", where=where, expected=STAGES)
    grouped = [task for group in groups for task in group]
    if sorted(map(str, grouped)) != sorted(tasks):
        wrong = sorted({*map(str, grouped)} ^ {*tasks}) or sorted({task for task in grouped if grouped.count(task) > 1})
        raise UserError(f"The groups and the tasks differ: {', '.join(wrong)}", where=where,
                        expected="each task of the sequence in one group")
    return tuple(tuple(group) for group in groups)
