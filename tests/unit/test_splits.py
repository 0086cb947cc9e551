"""Splits cut by rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakemedia.sources.source import Item
from fakemedia.sources.splits import complete, group

NAMES = st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 1), st.sampled_from(["", "cat", "dog"]),
                           st.sampled_from(["", "s1", "s2", "s3", "s4"])), min_size=1, max_size=60, unique=True)


def item(number: int, label: int, class_name: str = "", source: str = "", split: str = "") -> Item:
    return Item(path=f"{class_name}/{label}/{source}{number}.png", split=split, label=label, class_name=class_name,
                source=source, bytes=1, mtime_ns=1)


def made(names: list[tuple[int, int, str, str]]) -> list[Item]:
    return [item(*name) for name in names]


def splits(items: list[Item]) -> dict[str, str]:
    return {each.path: each.split for each in items}


@given(NAMES, st.booleans())
def test_every_image_gets_one_split_whatever_the_order(names, exact: bool) -> None:
    items = made(names)
    cut = complete(items, exact=exact)
    assert sorted(each.path for each in cut) == sorted(each.path for each in items)
    assert {each.split for each in cut} <= {"train", "val", "test"}
    assert {each.cut for each in cut} == {"rule"}
    assert splits(complete(items[::-1], exact=exact)) == splits(cut)


@given(NAMES)
def test_source_groups_are_never_torn_apart(names) -> None:
    by_group: dict[str, set[str]] = {}
    for each in complete(made(names)):
        by_group.setdefault(group(each), set()).add(each.split)
    assert all(len(found) == 1 for found in by_group.values())


@given(NAMES, NAMES)
def test_images_keep_their_split_when_others_are_added(names, more) -> None:
    before = splits(complete(made(names)))
    after = splits(complete(made(list(dict.fromkeys([*names, *more])))))
    assert before.items() <= after.items()


def test_shares_hold_on_average_in_every_class() -> None:
    items = [item(number, label, content, source=f"{content}{number}")
             for number in range(3000) for label in (0, 1) for content in ("cat", "dog")]
    counts = Counter((each.label, each.class_name, each.split) for each in complete(items))
    for label in (0, 1):
        for content in ("cat", "dog"):
            shares = [counts[label, content, split] / 3000 for split in ("train", "val", "test")]
            assert shares == pytest.approx([0.6, 0.2, 0.2], abs=0.03)


@pytest.mark.parametrize(("train", "val", "expected"), [
    (4000, 1000, (3000, 1000, 1000)), (1600, 400, (1200, 400, 400)), (1046, 273, (784, 262, 273)),
])
def test_the_counts_of_the_paper_come_out(train: int, val: int, expected: tuple[int, int, int]) -> None:
    classes = ("horse", "zebra", "winter")
    items = [item(number, label, classes[number % 3], split=split)
             for split, count in (("train", train), ("val", val)) for number in range(count) for label in (0, 1)]
    items = [replace(each, path=f"{each.split}/{each.path}") for each in items]
    cut = complete(items, exact=True)
    for label in (0, 1):
        counts = Counter(each.split for each in cut if each.label == label)
        assert (counts["train"], counts["val"], counts["test"]) == expected
    parts = Counter((each.split, each.class_name) for each in cut if each.label == 0)
    assert max(parts["val", name] for name in classes) - min(parts["val", name] for name in classes) <= 1
    assert {each.cut for each in cut if each.split == "test"} == {""}


def test_given_splits_stay() -> None:
    items = [item(number, 0, split=split) for number, split in enumerate(("train", "val", "test"))]
    assert complete(items) == items
    held = [item(0, 0, split="train"), item(1, 0, split="test")]
    assert splits(complete(held))["/0/1.png"] == "test"
