"""Assigns images to splits that a data set does not define.

The rule, for each class of a task:

- An image whose split is given keeps it. Images without a split are assigned to the splits without given images of the
  class, or to all three if each has some; in proportion to 60 % train, 20 % val, 20 % test.
- Where val or test is missing and no image is without a split, it is cut from train: a quarter of train for one of
  them, 20 % each for both. Images given for val or test never move.
- An image without a split follows the given images of its source photograph.

A class with images for val or test only, and none to assign, cannot be trained on; it is refused.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray

from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.sources.source import Item

ALL = {"train": 0.6, "val": 0.2, "test": 0.2}
OF_TRAIN = 0.25
"""Share of train that becomes the one held-out split that is missing."""
NONE = -1
"""The place in SPLITS of a split that was not given."""
FACTS = np.dtype([("label", np.int8), ("split", np.int8), ("at", np.float64), ("sourced", bool)])
"""What the rule needs of each image: label, place of the given split in SPLITS or NONE, position of its group, and
whether it has a source photograph."""
Deal = Callable[[NDArray[np.int64], Mapping[str, float]], NDArray[np.int8]]
"""Returns the places in SPLITS of some rows, given the share of each split."""


def complete(items: Sequence[Item], *, exact: bool = False, where: object = None) -> list[Item]:
    """Return `items` of one task, in their order, each with a split; `split` is empty where none was given.

    Images assigned by rule have `rule` in `cut`. By default an image's split follows from a hash of its group only,
    so it does not change when images are added and the given splits stay the same, and shares hold on average. With
    `exact` the shares hold to the image in each class as far as groups allow, as in the paper: gaugan
    3000/1000/1000, biggan 1200/400/400, cyclegan 784/262/273; use it for data sets that do not grow. See `group`.

    Raises UserError, about the data set `where`, if a class has no image to train on.
    """
    return list(_completed(items, items, partial(_exactly, items) if exact else None, where))


def completed(first: Iterable[Item], again: Iterable[Item], *, where: object = None) -> Iterator[Item]:
    """Yield what `complete` returns of the items `again`, in about 60 bytes an image: neither list is held.

    `first` has the same images in the same order; their sizes and times are not used.
    """
    return _completed(first, again, None, where)


def _completed(first: Iterable[Item], again: Iterable[Item], exactly: Deal | None, where: object) -> Iterator[Item]:
    facts = np.fromiter(map(_facts, first), FACTS)
    splits, placed = _assigned(facts, exactly or partial(_by_hash, facts), where)
    del facts
    for item, split, by_rule in zip(again, splits.tobytes(), placed.tobytes(), strict=True):
        yield replace(item, split=SPLITS[split], cut="rule") if by_rule else item


def _facts(item: Item) -> tuple[int, int, float, bool]:
    """Return what FACTS holds of an item."""
    split = SPLITS.index(item.split) if item.split else NONE
    return item.label, split, position(group(item)), bool(item.source)


def _assigned(facts: NDArray, deal: Deal, where: object) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Return the place of each item's split in SPLITS, int8 (N,), and whether it was assigned by rule, bool (N,)."""
    cut: dict[tuple[tuple[str, float], ...], list[NDArray[np.int64]]] = defaultdict(list)
    blank: dict[tuple[tuple[str, float], ...], list[NDArray[np.int64]]] = defaultdict(list)
    for label in np.unique(facts["label"]).tolist():
        shares, pool = _shares(facts, label, where)
        if len(pool):
            (blank if facts["split"][pool[0]] == NONE else cut)[tuple(shares.items())].append(pool)
    splits, placed = facts["split"].copy(), np.zeros(len(facts), bool)
    sources = np.full(len(facts), -1)
    names, sources[facts["sourced"]] = np.unique(facts["at"][facts["sourced"]], return_inverse=True)
    moving = np.zeros(len(facts), bool)
    for pool in (pool for pools in cut.values() for pool in pools):
        moving[pool] = True
    for pools, fixed in ((cut, ~moving), (blank, np.ones(len(facts), bool))):
        known = np.full(len(names) + 1, NONE, np.int8)  # The last place is that of items without a source.
        given = fixed & facts["sourced"] & (splits != NONE)
        np.maximum.at(known, sources[given], splits[given])
        _deal_pools({shares: np.concatenate(pool) for shares, pool in pools.items()}, facts["split"], sources, known,
                    deal, splits)
        for pool in (pool for several in pools.values() for pool in several):
            placed[pool] = True
    return splits, placed


def group(item: Item) -> str:
    """Return what must stay together: the source photograph, or the file name, so that a fake stays with the real
    photograph of its name."""
    return item.source or PurePosixPath(item.path).name


def position(name: str) -> float:
    """Return a number in [0, 1) that follows from `name` alone."""
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=6).digest(), "big") / 2**48


def _deal_pools(pools: Mapping[tuple[tuple[str, float], ...], NDArray[np.int64]], given: NDArray[np.int8],
                sources: NDArray[np.int64], known: NDArray[np.int8], deal: Deal, splits: NDArray[np.int8]) -> None:
    """Write the split of each item of `pools` to `splits`.

    `known` has the split of each source photograph, NONE where there is none yet, and `sources` each item's place in
    it. An item follows the split of its source that is known; one that is cut from train only into a split that it may
    be cut into. A source that is cut from train in both classes moves where both may move, or stays in train.
    """
    shared = np.full(len(known), (1 << len(SPLITS)) - 1)
    for shares, rows in pools.items():
        shared[sources[rows]] &= sum(1 << SPLITS.index(split) for split, _ in shares)
    for shares, rows in pools.items():
        source = sources[rows]
        sourced, follow = source >= 0, known[source]
        may = np.isin(follow, [SPLITS.index(split) for split, _ in shares])
        follows = sourced & (follow != NONE) & ((given[rows] == NONE) | may)
        found = follow.copy()
        found[~follows] = deal(rows[~follows], dict(shares))
        stays = sourced & (given[rows] != NONE) & ~follows & (shared[source] >> found & 1 == 0)
        found[stays] = SPLITS.index("train")
        splits[rows] = found
        known[source[sourced]] = found[sourced]


def _shares(facts: NDArray, label: int, where: object) -> tuple[dict[str, float], NDArray[np.int64]]:
    """Return the splits that images of one class are assigned to, with the shares, and the rows of these images."""
    rows = np.flatnonzero(facts["label"] == label)
    found = facts["split"][rows]
    given = {SPLITS[split] for split in np.unique(found).tolist() if split != NONE}
    missing = [split for split in SPLITS if split not in given]
    blank = rows[found == NONE]
    if len(blank):
        into = missing or SPLITS
        total = sum(ALL[split] for split in into)
        return {split: ALL[split] / total for split in into}, blank
    if not missing:
        return {}, blank
    if "train" in missing:
        raise UserError(f"The class {CLASS_FOLDERS[label]} has images for {' and '.join(sorted(given))} only, "
                        f"{len(rows)} in all, and none to train on", where=where,
                        expected="images for train, or images without a split, which are assigned by rule",
                        do="add images for train, or leave the split of some images empty")
    train = rows[found == SPLITS.index("train")]
    if len(missing) == 1:
        return {"train": 1 - OF_TRAIN, missing[0]: OF_TRAIN}, train
    return dict(ALL), train


def _by_hash(facts: NDArray, rows: NDArray[np.int64], shares: Mapping[str, float]) -> NDArray[np.int8]:
    """Return the split of each of `rows` that the position of its group gives, int8."""
    edges = np.cumsum(list(shares.values()))
    found = np.searchsorted(edges, facts["at"][rows], side="right").clip(max=len(edges) - 1)
    return np.array([SPLITS.index(split) for split in shares], np.int8)[found]


def _exactly(items: Sequence[Item], rows: NDArray[np.int64], shares: Mapping[str, float]) -> NDArray[np.int8]:
    """Return the split of each of `rows`, int8: whole groups, and the shares of each class to the image.

    Groups of several images are cut first, those with the same number of each class together; the images that are
    groups of their own then fill each split up to its count. Content classes are spread evenly over the splits.
    """
    groups: dict[str, list[Item]] = defaultdict(list)
    mine = [items[row] for row in rows.tolist()]
    for item in mine:
        groups[group(item)].append(item)
    kinds: dict[tuple[int, ...], list[list[Item]]] = defaultdict(list)
    for members in groups.values():
        kinds[tuple(sorted(item.label for item in members))].append(members)
    found: dict[str, str] = {}
    done: Counter[tuple[int, str]] = Counter()
    totals = Counter(item.label for item in mine)
    for labels in sorted(kinds, key=lambda labels: (-len(labels), labels)):
        ranked = _ranked(kinds[labels])
        counts = _counts(len(ranked), shares)
        if len(labels) == 1:
            wanted = _counts(totals[labels[0]], shares)
            counts = {split: max(0, wanted[split] - done[labels[0], split]) for split in shares}
        for split, members in zip(_spread(counts, len(ranked)), ranked, strict=True):
            for item in members:
                found[item.path] = split
                done[item.label, split] += 1
    return np.array([SPLITS.index(found[item.path]) for item in mine], np.int8)


def _counts(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Return how many of `total` each split gets: rounded down at its upper edge."""
    edge, last, counts = 0.0, 0, {}
    for split, share in shares.items():
        edge += share
        upper = math.floor(edge * total + 1e-9)
        counts[split], last = upper - last, upper
    return counts


def _spread(counts: Mapping[str, int], total: int) -> list[str]:
    """Return `total` splits in order: as many of each as `counts` says, and the last split for the rest."""
    splits = [split for split, count in counts.items() for _ in range(count)][:total]
    return splits + [list(counts)[-1]] * (total - len(splits))


def _ranked(groups: Iterable[list[Item]]) -> list[list[Item]]:
    """Return the groups in an order along which the content classes are spread evenly, by hash within themselves."""
    by_class: dict[tuple[str, ...], list[list[Item]]] = defaultdict(list)
    for members in groups:
        by_class[tuple(sorted({item.class_name for item in members}))].append(members)
    ranked = []
    for name in sorted(by_class):
        mine = sorted(by_class[name], key=lambda members: (position(group(members[0])), group(members[0])))
        ranked += [((rank + 0.5) / len(mine), position(group(members[0])), group(members[0]), members)
                   for rank, members in enumerate(mine)]
    return [members for *_, members in sorted(ranked, key=lambda entry: entry[:3])]
