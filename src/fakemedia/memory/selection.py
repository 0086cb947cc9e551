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
    for each in sorted(range(len(ids)), key=lambda each: derive(seed, ids[each])):
        members.setdefault(groups[each], []).append(each)
    turns = {each: turn for of_group in members.values() for turn, each in enumerate(of_group)}
    keys = {group: (derive(seed, group), group) for group in members}
    return sorted(range(len(ids)), key=lambda each: (turns[each], keys[groups[each]]))


def herding_order(features: NDArray[np.floating], most: int) -> list[int]:
    """Return the positions of `most` pictures such that the mean of the first k is close to the mean of all, for any k.

    p_k = argmin |mu - (phi(x) + sum_{j<k} phi(p_j)) / k| over those not chosen (Rebuffi et al. 2017, algorithm 4), with
    `features` (N, D) scaled to length 1.
    """
    lengths = np.linalg.norm(features, axis=1, keepdims=True)
    unit = features.astype(np.float64) / np.maximum(lengths, 1e-12)
    mean, total, chosen = unit.mean(0), np.zeros(unit.shape[1]), []
    left = np.ones(len(unit), bool)
    for k in range(1, min(most, len(unit)) + 1):
        distances = np.linalg.norm(mean - (unit + total) / k, axis=1)
        best = int(np.where(left, distances, np.inf).argmin())
        chosen.append(best)
        left[best] = False
        total += unit[best]
    return chosen


def within(order: Sequence[int], sizes: Sequence[int], *, pictures: int, room: float) -> list[int]:
    """Return the first of `order` that are kept: so many `pictures` at most, of `room` bytes together.

    One that does not fit is left out. `sizes` (bytes) are by position.
    """
    kept: list[int] = []
    for each in order:
        if len(kept) < pictures and sizes[each] <= room:
            kept.append(each)
            room -= sizes[each]
    return kept
