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

DEFAULT_SHARES = {"train": 0.6, "val": 0.2, "test": 0.2}
HELD_OUT_SHARE = 0.25
"""Share of train that becomes the one held-out split that is missing."""
NONE = -1
"""The index of an empty split."""
FACTS = np.dtype([("label", np.int8), ("split", np.int8), ("at", np.float64), ("has_source", bool)])
"""Facts of an image that the rule reads: label, index of its split in SPLITS or NONE, position of its group (see
`position`), and whether it has a source photograph."""
Assign = Callable[[NDArray[np.int64], Mapping[str, float]], NDArray[np.int8]]
"""Returns the splits of some rows as indices in SPLITS, int8 (N,), from the rows and the share of each split."""


def complete(items: Sequence[Item], *, exact: bool = False, where: object = None) -> list[Item]:
    """Return `items` of one task, in their order, each with a split; `split` is empty where none was given.

    Images assigned by rule have `rule` in `cut`. By default an image's split follows from a hash of its group only,
    so it does not change when images are added and the given splits stay the same, and shares hold on average. With
    `exact` the shares hold to the image in each class as far as groups allow, as in the paper: gaugan
    3000/1000/1000, biggan 1200/400/400, cyclegan 784/262/273; use it for data sets that do not grow. See `group`.

    Raises UserError, about the data set `where`, if a class has no image to train on.
    """
    return list(_completed(items, items, partial(_by_exact_counts, items) if exact else None, where))


def completed(first_pass: Iterable[Item], second_pass: Iterable[Item], *, where: object = None) -> Iterator[Item]:
    """Yield the items that `complete` would return for `second_pass`, with 60 bytes of memory an image.

    `first_pass` has the same images in the same order; their sizes and times are not used. Neither is kept as a list.
    """
    return _completed(first_pass, second_pass, None, where)


def _completed(first_pass: Iterable[Item], second_pass: Iterable[Item], assign: Assign | None,
               where: object) -> Iterator[Item]:
    facts = np.fromiter(map(_facts, first_pass), FACTS)
    splits, assigned = _assigned(facts, assign or partial(_by_hash, facts), where)
    del facts
    for item, split, is_assigned in zip(second_pass, splits.tobytes(), assigned.tobytes(), strict=True):
        yield replace(item, split=SPLITS[split], cut="rule") if is_assigned else item


def _facts(item: Item) -> tuple[int, int, float, bool]:
    """Return the row of FACTS of an item."""
    split = SPLITS.index(item.split) if item.split else NONE
    return item.label, split, position(group(item)), bool(item.source)


def _assigned(facts: NDArray, assign: Assign, where: object) -> tuple[NDArray[np.int8], NDArray[np.bool_]]:
    """Return the index of each item's split in SPLITS, int8 (N,), and whether it was assigned by rule, bool (N,)."""
    from_train: dict[tuple[tuple[str, float], ...], list[NDArray[np.int64]]] = defaultdict(list)
    unassigned: dict[tuple[tuple[str, float], ...], list[NDArray[np.int64]]] = defaultdict(list)
    for label in np.unique(facts["label"]).tolist():
        shares, pool = _shares(facts, label, where)
        if len(pool):
            (unassigned if facts["split"][pool[0]] == NONE else from_train)[tuple(shares.items())].append(pool)
    splits, is_assigned = facts["split"].copy(), np.zeros(len(facts), bool)
    sources = np.full(len(facts), -1)
    names, sources[facts["has_source"]] = np.unique(facts["at"][facts["has_source"]], return_inverse=True)
    movable = np.zeros(len(facts), bool)
    for pool in (pool for pools in from_train.values() for pool in pools):
        movable[pool] = True
    for pools, fixed in ((from_train, ~movable), (unassigned, np.ones(len(facts), bool))):
        source_splits = np.full(len(names) + 1, NONE, np.int8)  # The last one is that of items without a source.
        fixed_rows = fixed & facts["has_source"] & (splits != NONE)
        np.maximum.at(source_splits, sources[fixed_rows], splits[fixed_rows])
        _assign_pools({shares: np.concatenate(pool) for shares, pool in pools.items()}, facts["split"], sources,
                      source_splits, assign, splits)
        for pool in (pool for rows in pools.values() for pool in rows):
            is_assigned[pool] = True
    return splits, is_assigned


def group(item: Item) -> str:
    """Return the key of images that stay in one split: the source photograph, or the file name, so that a fake stays
    with the real photograph of its name."""
    return item.source or PurePosixPath(item.path).name


def position(name: str) -> float:
    """Return a number in [0, 1) that follows from `name` alone."""
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=6).digest(), "big") / 2**48


def _assign_pools(pools: Mapping[tuple[tuple[str, float], ...], NDArray[np.int64]], given_splits: NDArray[np.int8],
                  sources: NDArray[np.int64], source_splits: NDArray[np.int8], assign: Assign,
                  splits: NDArray[np.int8]) -> None:
    """Write the split of each item of `pools` to `splits`, int8 (N,), as an index in SPLITS.

    `given_splits`, int8 (N,), are those in the data. `source_splits`, int8 (S + 1,), is the split of each source
    photograph, NONE where there is none yet; `sources`, int64 (N,), are the items' indices in it. An item gets the
    split of its source; one that is cut from train only if its class has that split as a target. A source that is cut
    from train in both classes moves to a split that is a target of both, or stays in train.
    """
    common = np.full(len(source_splits), (1 << len(SPLITS)) - 1)
    for shares, rows in pools.items():
        common[sources[rows]] &= sum(1 << SPLITS.index(split) for split, _ in shares)
    for shares, rows in pools.items():
        row_sources = sources[rows]
        has_source, row_source_splits = row_sources >= 0, source_splits[row_sources]
        allowed = np.isin(row_source_splits, [SPLITS.index(split) for split, _ in shares])
        follows_source = has_source & (row_source_splits != NONE) & ((given_splits[rows] == NONE) | allowed)
        assigned = row_source_splits.copy()
        assigned[~follows_source] = assign(rows[~follows_source], dict(shares))
        stays = has_source & (given_splits[rows] != NONE) & ~follows_source & (common[row_sources] >> assigned & 1 == 0)
        assigned[stays] = SPLITS.index("train")
        splits[rows] = assigned
        source_splits[row_sources[has_source]] = assigned[has_source]


def _shares(facts: NDArray, label: int, where: object) -> tuple[dict[str, float], NDArray[np.int64]]:
    """Return the splits that images of one class are assigned to, with the shares, and the rows of these images."""
    rows = np.flatnonzero(facts["label"] == label)
    splits = facts["split"][rows]
    given_splits = {SPLITS[split] for split in np.unique(splits).tolist() if split != NONE}
    missing = [split for split in SPLITS if split not in given_splits]
    unassigned = rows[splits == NONE]
    if len(unassigned):
        targets = missing or SPLITS
        total = sum(DEFAULT_SHARES[split] for split in targets)
        return {split: DEFAULT_SHARES[split] / total for split in targets}, unassigned
    if not missing:
        return {}, unassigned
    if "train" in missing:
        raise UserError(f"The class {CLASS_FOLDERS[label]} has images for {' and '.join(sorted(given_splits))} only, "
                        f"{len(rows)} in all, and none to train on", where=where,
                        expected="images for train, or images without a split, which are assigned by rule",
                        do="add images for train, or leave the split of some images empty")
    train = rows[splits == SPLITS.index("train")]
    if len(missing) == 1:
        return {"train": 1 - HELD_OUT_SHARE, missing[0]: HELD_OUT_SHARE}, train
    return dict(DEFAULT_SHARES), train


def _by_hash(facts: NDArray, rows: NDArray[np.int64], shares: Mapping[str, float]) -> NDArray[np.int8]:
    """Return the split of each of `rows` that the position of its group gives, int8."""
    edges = np.cumsum(list(shares.values()))
    split_indices = np.searchsorted(edges, facts["at"][rows], side="right").clip(max=len(edges) - 1)
    return np.array([SPLITS.index(split) for split in shares], np.int8)[split_indices]


def _by_exact_counts(items: Sequence[Item], rows: NDArray[np.int64], shares: Mapping[str, float]) -> NDArray[np.int8]:
    """Return the split of each of `rows`, int8: whole groups, and the shares of each class to the image.

    Groups of several images are cut first, those with the same number of each class together; the images that are
    single-image groups then fill each split up to its count. Content classes are spread evenly over the splits.
    """
    groups: dict[str, list[Item]] = defaultdict(list)
    row_items = [items[row] for row in rows.tolist()]
    for item in row_items:
        groups[group(item)].append(item)
    kinds: dict[tuple[int, ...], list[list[Item]]] = defaultdict(list)
    for members in groups.values():
        kinds[tuple(sorted(item.label for item in members))].append(members)
    split_of: dict[str, str] = {}
    assigned_counts: Counter[tuple[int, str]] = Counter()
    totals = Counter(item.label for item in row_items)
    for labels in sorted(kinds, key=lambda labels: (-len(labels), labels)):
        ranked = _ranked(kinds[labels])
        counts = _counts(len(ranked), shares)
        if len(labels) == 1:
            targets = _counts(totals[labels[0]], shares)
            counts = {split: max(0, targets[split] - assigned_counts[labels[0], split]) for split in shares}
        for split, members in zip(_spread(counts, len(ranked)), ranked, strict=True):
            for item in members:
                split_of[item.path] = split
                assigned_counts[item.label, split] += 1
    return np.array([SPLITS.index(split_of[item.path]) for item in row_items], np.int8)


def _counts(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    """Return the number of items of each split, of `total`: its upper edge is rounded down."""
    edge, lower, counts = 0.0, 0, {}
    for split, share in shares.items():
        edge += share
        upper = math.floor(edge * total + 1e-9)
        counts[split], lower = upper - lower, upper
    return counts


def _spread(counts: Mapping[str, int], total: int) -> list[str]:
    """Return `total` splits in order: as many of each as in `counts`, and the last split for the rest."""
    splits = [split for split, count in counts.items() for _ in range(count)][:total]
    return splits + [list(counts)[-1]] * (total - len(splits))


def _ranked(groups: Iterable[list[Item]]) -> list[list[Item]]:
    """Return the groups in an order along which the content classes are spread evenly, by hash within themselves."""
    by_class: dict[tuple[str, ...], list[list[Item]]] = defaultdict(list)
    for members in groups:
        by_class[tuple(sorted({item.class_name for item in members}))].append(members)
    ranked = []
    for name in sorted(by_class):
        class_groups = sorted(by_class[name], key=lambda members: (position(group(members[0])), group(members[0])))
        ranked += [((rank + 0.5) / len(class_groups), position(group(members[0])), group(members[0]), members)
                   for rank, members in enumerate(class_groups)]
    return [members for *_, members in sorted(ranked, key=lambda entry: entry[:3])]
