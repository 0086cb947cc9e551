"""From distances between tasks to groups learned together, and the order in which they are learned."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.cluster.hierarchy import cut_tree, linkage
from scipy.spatial.distance import squareform
from sklearn.metrics import silhouette_score

from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plan
from fakemedia.core.rng import generator
from fakemedia.core.stages import Group, GroupingConfig, Order


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """Groups of tasks in the order in which they are learned."""

    groups: tuple[Group, ...]
    silhouette: float | None
    """Mean silhouette of the tasks, -1 to 1 (Rousseeuw 1987); None for a single group or one group per task."""


def record(grouping: Grouping, plan: Plan, data: Mapping[str, str]) -> dict[str, Any]:
    """Return the record of a grouping, as JSON values: groups, silhouette, settings, and what it was made from.

    `data` gives the fingerprint of each task's training images. The settings' fingerprint is
    `plan.similarity_identity`.
    """
    assert plan.grouping is not None
    measure = plan.measures[plan.grouping.measure]
    return {
        "sequence": plan.sequence, "groups": [list(group) for group in grouping.groups],
        "silhouette": grouping.silhouette, **asdict(plan.grouping), "measured": asdict(measure),
        "images": plan.similarity.images, "network": plan.similarity.network, "crop": plan.training.crop,
        "settings_fingerprint": plan.similarity_identity, "data": dict(data),
    }


def symmetric(distances: pd.DataFrame) -> pd.DataFrame:
    """Return the mean of the table and its transpose, float64 (T, T); UserError if it is not a distance matrix."""
    tasks = list(distances.index)
    if tasks != list(distances.columns) or len(set(tasks)) < len(tasks):
        raise UserError("The table of distances is not square",
                        expected="the same tasks, once each, in rows and columns")
    if len(tasks) < 2:
        raise UserError("Grouping needs two tasks", where=f"tasks {', '.join(tasks) or '(none)'}",
                        expected="at least 2 tasks")
    values = distances.to_numpy(np.float64)
    for row, column in np.argwhere(~(np.isfinite(values) & (values >= 0)))[:1]:
        raise UserError(f"The distance is {values[row, column]}", where=f"tasks {tasks[row]} and {tasks[column]}",
                        expected="finite distances of at least 0")
    if values.diagonal().any():
        raise UserError("A task has a distance to itself", expected="zeros on the diagonal")
    return pd.DataFrame((values + values.T) / 2, index=tasks, columns=tasks)


def hierarchy(distances: pd.DataFrame) -> NDArray[np.float64]:
    """Return the merges of average-linkage clustering (UPGMA; Sokal and Michener 1958) as SciPy's (T - 1, 4) matrix.

    Leaf i is task i of the symmetric table `distances`. The input of `scipy.cluster.hierarchy.dendrogram`.
    """
    return linkage(squareform(distances.to_numpy(), checks=False), method="average")


def group_tasks(distances: pd.DataFrame, config: GroupingConfig,
                difficulty: Mapping[str, float] | None = None) -> Grouping:
    """Return the tasks of a distance table (T, T) in ordered groups.

    A table that is not symmetric is replaced by its mean with its transpose. `difficulty` by task is what the order
    `hardest_first` sorts by. Except for the order `given`, the result does not depend on the order of the table.
    Raises UserError for a table that is not a distance matrix, more groups than tasks, `auto` with fewer than three
    tasks, and a difficulty that is missing or not finite.
    """
    sorted_distances = symmetric(distances).sort_index(axis=0).sort_index(axis=1)
    count = _best_count(sorted_distances) if config.n_groups == "auto" else config.n_groups
    if count > len(sorted_distances):
        raise UserError(f"There are more groups ({count}) than tasks ({len(sorted_distances)})", where="n_groups",
                        expected=f"1 to {len(sorted_distances)}")
    labels = _cut(sorted_distances, count)
    groups = [tuple(sorted_distances.index[labels == label]) for label in dict.fromkeys(labels)]
    arrange = _arranger(config, sorted_distances, list(distances.index),
                        _checked_difficulty(difficulty, sorted_distances.index, config.order))
    arranged = {group: tuple(task for (task,) in arrange([(task,) for task in group])) for group in groups}
    return Grouping(groups=tuple(arranged[group] for group in arrange(groups)),
                    silhouette=_silhouette(sorted_distances, labels))


def _cut(distances: pd.DataFrame, count: int) -> NDArray[np.int64]:
    return cut_tree(hierarchy(distances), n_clusters=count).ravel()


def _silhouette(distances: pd.DataFrame, labels: NDArray[np.int64]) -> float | None:
    if not 1 < len(set(labels)) < len(labels):
        return None
    return float(silhouette_score(distances.to_numpy(), labels, metric="precomputed"))


def _best_count(distances: pd.DataFrame) -> int:
    if len(distances) < 3:
        raise UserError("The silhouette cannot choose the number of groups of two tasks", where="n_groups: auto",
                        expected="at least 3 tasks", do="give n_groups as a number")
    return max(range(2, len(distances)), key=lambda count: (_silhouette(distances, _cut(distances, count)), -count))


def _path(distances: NDArray[np.float64], *, far: bool) -> list[int]:
    """Return the greedy path over 0..T-1 from the closest (or farthest) pair on; of equals, the lowest number."""
    cost = -distances if far else distances
    remaining = list(range(len(cost)))
    pairs = [(cost[i, j], i) for i in remaining for j in remaining if i != j]
    path = [min(pairs)[1] if pairs else 0]
    remaining.remove(path[0])
    while remaining:
        path.append(min(remaining, key=lambda i: (cost[path[-1], i], i)))
        remaining.remove(path[-1])
    return path


def _checked_difficulty(difficulty: Mapping[str, float] | None, tasks: Iterable[str],
                        order: Order) -> Mapping[str, float]:
    if order != "hardest_first":
        return {}
    for task in tasks:
        if difficulty is None or not np.isfinite(difficulty.get(task, np.nan)):
            raise UserError(f"The difficulty of the task {task!r} is not known", where="order: hardest_first",
                            expected="a finite number for each task")
    return difficulty or {}


def _arranger(config: GroupingConfig, distances: pd.DataFrame, original_order: list[str],
              difficulty: Mapping[str, float]) -> Callable[[list[Group]], list[Group]]:
    """Return the function that orders groups, of several tasks or of one task each."""

    def mean_distance(a: Group, b: Group) -> float:
        return float(distances.loc[list(a), list(b)].to_numpy().mean())

    def arrange(groups: list[Group]) -> list[Group]:
        groups = sorted(groups)
        if config.order == "given":
            return sorted(groups, key=lambda group: min(original_order.index(task) for task in group))
        if config.order == "hardest_first":
            return sorted(groups, key=lambda group: -np.mean([difficulty[task] for task in group]))
        if config.order == "random":
            rng = generator(config.seed, "grouping", *(task for group in groups for task in group))
            return [groups[i] for i in rng.permutation(len(groups))]
        matrix = np.array([[mean_distance(a, b) for b in groups] for a in groups])
        return [groups[i] for i in _path(matrix, far=config.order == "dissimilar_first")]

    return arrange
