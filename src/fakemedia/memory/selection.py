"""Which pictures of a class are kept: an order of preference, up to the budget."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from fakemedia.core.rng import derive


def random_order(ids: Sequence[str], groups: Sequence[str], seed: int) -> list[int]:
    """Return the positions of pictures in random order, those of a group one after another.

    A picture's position depends only on the seed, its group and its content id: taking the first ones is reservoir
    sampling by random keys (Efraimidis and Spirakis 2006), and the same groups come first in both classes of a task.
    """
    return sorted(range(len(ids)), key=lambda each: (derive(seed, groups[each]), groups[each], derive(seed, ids[each])))


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


def within(order: Sequence[int], groups: Sequence[str], sizes: Sequence[int], *, pictures: int,
           room: float) -> list[int]:
    """Return those of `order` that are kept: at most so many `pictures` of `room` bytes together, in order.

    Complete groups first, as long as one fits; the rest is filled picture by picture. `groups` and `sizes`
    (bytes) are by position.
    """
    members: dict[str, list[int]] = {}
    for each in order:
        members.setdefault(groups[each], []).append(each)
    kept: set[int] = set()
    for parts in (list(members.values()), [[each] for each in order]):
        for part in parts:
            size = sum(sizes[each] for each in part)
            if kept.isdisjoint(part) and len(kept) + len(part) <= pictures and size <= room:
                kept.update(part)
                room -= size
    return [each for each in order if each in kept]
