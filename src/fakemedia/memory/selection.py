"""Which pictures of a class are kept: an order of preference, up to the budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fakemedia.core.rng import derive


def random_order(ids: Sequence[str], groups: Sequence[str], seed: int) -> list[int]:
    """Return the positions of pictures in random order: one picture of every group, then a second of each, and so on.

    A picture's key depends only on the seed and its content id, a group's only on the seed and its name, so taking the
    first ones is reservoir sampling by random keys (Efraimidis and Spirakis 2006), spread over the groups; the same
    groups come first in both classes of a task, and what a smaller budget keeps is among what a larger one keeps.
    """
    members: dict[str, list[int]] = {}
    for position in sorted(range(len(ids)), key=lambda position: derive(seed, ids[position])):
        members.setdefault(groups[position], []).append(position)
    ranks = {position: rank for group_members in members.values() for rank, position in enumerate(group_members)}
    keys = {group: (derive(seed, group), group) for group in members}
    return sorted(range(len(ids)), key=lambda position: (ranks[position], keys[groups[position]]))


def herding_order(features: NDArray[np.floating], count: int) -> list[int]:
    """Return the positions of `count` pictures such that the mean of the first k is close to that of all, for any k.

    p_k = argmin |mu - (phi(x) + sum_{j<k} phi(p_j)) / k| over those not chosen (Rebuffi et al. 2017, algorithm 4), with
    `features` (N, D) scaled to length 1.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features.astype(np.float64) / np.maximum(lengths, 1e-12)
    mean, total, order = unit.mean(0), np.zeros(unit.shape[1]), []
    available = np.ones(len(unit), bool)
    for k in range(1, min(count, len(unit)) + 1):
        distances = np.linalg.norm(mean - (unit + total) / k, axis=1)
        best = int(np.where(available, distances, np.inf).argmin())
        order.append(best)
        available[best] = False
        total += unit[best]
    return order


def fit_budget(order: Sequence[int], sizes: Sequence[int], *, pictures: int, room: float) -> list[int]:
    """Return the first positions of `order` that fit: at most `pictures` of them, of at most `room` bytes together.

    A picture that does not fit is skipped. `sizes` (bytes) are by position.
    """
    selected: list[int] = []
    for position in order:
        if len(selected) < pictures and sizes[position] <= room:
            selected.append(position)
            room -= sizes[position]
    return selected
