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
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath

from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.sources.source import Item

ALL = {"train": 0.6, "val": 0.2, "test": 0.2}
OF_TRAIN = 0.25
"""Share of train that becomes the one held-out split that is missing."""


def complete(items: Sequence[Item], *, exact: bool = False, where: object = None) -> list[Item]:
    """Return `items` of one task, in their order, each with a split; `split` is empty where none was given.

    Images assigned by rule have `rule` in `cut`. By default an image's split follows from a hash of its group only,
    so it does not change when images are added and the given splits stay the same, and shares hold on average. With
    `exact` the shares hold to the image in each class as far as groups allow, as in the paper: gaugan
    3000/1000/1000, biggan 1200/400/400, cyclegan 784/262/273; use it for data sets that do not grow. See `group`.

    Raises UserError, about the data set `where`, if a class has no image to train on.
    """
    deal = _exactly if exact else _by_hash
    cut: dict[tuple[tuple[str, float], ...], list[Item]] = defaultdict(list)
    blank: dict[tuple[tuple[str, float], ...], list[Item]] = defaultdict(list)
    for label in sorted({item.label for item in items}):
        shares, pool = _shares([item for item in items if item.label == label], where)
        if pool:
            (cut if pool[0].split else blank)[tuple(shares.items())] += pool
    moving = {item.path for pool in cut.values() for item in pool}
    placed = _dealt(cut, deal, _split_of_sources((item for item in items if item.path not in moving), {}))
    placed |= _dealt(blank, deal, _split_of_sources(items, placed))
    return [replace(item, split=placed[item.path], cut="rule") if item.path in placed else item for item in items]


def group(item: Item) -> str:
    """Return what must stay together: the source photograph, or the file name, so that a fake stays with the real
    photograph of its name."""
    return item.source or PurePosixPath(item.path).name


def position(name: str) -> float:
    """Return a number in [0, 1) that follows from `name` alone."""
    return int.from_bytes(hashlib.blake2b(name.encode(errors="surrogateescape"), digest_size=6).digest(), "big") / 2**48


def _split_of_sources(items: Iterable[Item], placed: Mapping[str, str]) -> dict[str, str]:
    """Return the split of each source photograph that has one: if it is in several, the last of SPLITS."""
    found: dict[str, str] = {}
    for item in items:
        split = placed.get(item.path, item.split)
        if item.source and split:
            found[item.source] = max(split, found.get(item.source, "train"), key=SPLITS.index)
    return found


def _dealt(pools: Mapping[tuple[tuple[str, float], ...], list[Item]],
           deal: Callable[[Sequence[Item], Mapping[str, float]], dict[str, str]],
           known: Mapping[str, str]) -> dict[str, str]:
    """Return the split of each item of `pools`, by path.

    An item follows the split of its source that is `known`; one that is cut from train only into a split that it may be
    cut into. A source that is cut from train in both classes moves where both may move, or stays in train.
    """
    placed: dict[str, str] = {}
    followed = dict(known)
    shared: dict[str, set[str]] = {}
    for shares, pool in pools.items():
        for item in pool:
            shared[item.source] = shared.get(item.source, {*SPLITS}) & {*dict(shares)}
    for shares, pool in pools.items():
        follows = {item.path: followed[item.source] for item in pool if item.source in followed
                   and (not item.split or followed[item.source] in dict(shares))}
        placed |= follows | deal([item for item in pool if item.path not in follows], dict(shares))
        placed |= {item.path: "train" for item in pool if item.source and item.split and item.path not in follows
                   and placed[item.path] not in shared[item.source]}
        followed |= {item.source: placed[item.path] for item in pool if item.source}
    return placed


def _shares(items: Sequence[Item], where: object) -> tuple[dict[str, float], list[Item]]:
    """Return the splits that images of one class are assigned to, with the shares, and these images."""
    given = {item.split for item in items} - {""}
    missing = [split for split in SPLITS if split not in given]
    blank = [item for item in items if not item.split]
    if blank:
        into = missing or SPLITS
        total = sum(ALL[split] for split in into)
        return {split: ALL[split] / total for split in into}, blank
    if not missing:
        return {}, []
    if "train" in missing:
        raise UserError(f"The class {CLASS_FOLDERS[items[0].label]} has images for {' and '.join(sorted(given))} only, "
                        f"{len(items)} in all, and none to train on", where=where,
                        expected="images for train, or images without a split, which are assigned by rule",
                        do="add images for train, or leave the split of some images empty")
    train = [item for item in items if item.split == "train"]
    if len(missing) == 1:
        return {"train": 1 - OF_TRAIN, missing[0]: OF_TRAIN}, train
    return dict(ALL), train


def _by_hash(items: Sequence[Item], shares: Mapping[str, float]) -> dict[str, str]:
    """Return the split of each item, by path, that the position of its group gives."""
    return {item.path: _split_at(position(group(item)), shares) for item in items}


def _split_at(at: float, shares: Mapping[str, float]) -> str:
    edge = 0.0
    for split, share in shares.items():
        edge += share
        if at < edge:
            return split
    return list(shares)[-1]


def _exactly(items: Sequence[Item], shares: Mapping[str, float]) -> dict[str, str]:
    """Return the split of each item, by path: whole groups, and the shares of each class to the image.

    Groups of several images are cut first, those with the same number of each class together; the images that are
    groups of their own then fill each split up to its count. Content classes are spread evenly over the splits.
    """
    groups: dict[str, list[Item]] = defaultdict(list)
    for item in items:
        groups[group(item)].append(item)
    kinds: dict[tuple[int, ...], list[list[Item]]] = defaultdict(list)
    for members in groups.values():
        kinds[tuple(sorted(item.label for item in members))].append(members)
    found: dict[str, str] = {}
    done: Counter[tuple[int, str]] = Counter()
    totals = Counter(item.label for item in items)
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
    return found


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
