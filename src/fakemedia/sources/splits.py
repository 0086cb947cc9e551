"""Splits that a data set does not come with are cut by rule: 60 % train, 20 % val, 20 % test.

A split that is given stays: where train and one held-out split are given, the held-out one is the test split, and a
quarter of train becomes val; that is what the authors of the reference runs did with CDDB.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import groupby
from pathlib import PurePosixPath

from fakemedia.core.types import SPLITS
from fakemedia.sources.source import Item

ALL = {"train": 0.6, "val": 0.2, "test": 0.2}
OF_TRAIN = {"train": 0.75, "val": 0.25}


def complete(items: Sequence[Item], *, exact: bool = False) -> list[Item]:
    """Return `items` of one task with all three splits; `split` is empty where none was given.

    What is cut is marked `rule` in `cut`. By default an image's split follows from a hash of its group alone, so it
    never changes when others are added, and shares hold on average. With `exact` the shares hold to the image in each
    class, as in the paper: gaugan 3000/1000/1000, biggan 1200/400/400, cyclegan 784/262/273; use it for data sets that
    nobody adds to. A group is the source photograph, or else the file name: so a fake stays with the real photograph
    of its name.
    """
    given = {item.split for item in items}
    if given >= set(SPLITS):
        return list(items)
    cut = _exactly if exact else _by_hash
    if "train" in given and given & {"val", "test"}:
        train = [item for item in items if item.split == "train"]
        held_out = [replace(item, split="test") for item in items if item.split != "train"]
        return [*cut(train, OF_TRAIN), *held_out]
    return cut(items, ALL)


def group(item: Item) -> str:
    """Return what must not be torn apart: the source photograph, or the file name."""
    return item.source or PurePosixPath(item.path).name


def position(name: str) -> float:
    """Return a number in [0, 1) that follows from `name` alone."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=6).digest(), "big") / 2**48


def _by_hash(items: Sequence[Item], shares: dict[str, float]) -> list[Item]:
    return [_cut(item, position(group(item)), shares) for item in items]


def _exactly(items: Sequence[Item], shares: dict[str, float]) -> list[Item]:
    """Cut each label by rank: content classes are spread evenly along the ranks, in hash order within themselves."""
    done = []
    for label in sorted({item.label for item in items}):
        mine = [item for item in items if item.label == label]
        mine.sort(key=lambda item: (item.class_name, position(group(item)), item.path))
        ranked = []
        for _, members in groupby(mine, key=lambda item: item.class_name):
            members = list(members)
            ranked += [((rank + 0.5) / len(members), item) for rank, item in enumerate(members)]
        ranked.sort(key=lambda pair: (pair[0], position(group(pair[1])), pair[1].path))
        edges, ends = 0.0, {}
        for split, share in shares.items():
            edges += share
            ends[split] = math.floor(edges * len(ranked) + 1e-9)
        for rank, (_, item) in enumerate(ranked):
            split = next(split for split, end in ends.items() if rank < end or split == list(shares)[-1])
            done.append(replace(item, split=split, cut="rule"))
    return done


def _cut(item: Item, at: float, shares: dict[str, float]) -> Item:
    edge = 0.0
    for split, share in shares.items():
        edge += share
        if at < edge:
            return replace(item, split=split, cut="rule")
    return replace(item, split=list(shares)[-1], cut="rule")
