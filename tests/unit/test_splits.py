"""Splits cut by rule."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fakemedia.core.errors import UserError
from fakemedia.core.types import SPLITS
from fakemedia.sources.source import Item
from fakemedia.sources.splits import complete, completed, group

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


@given(NAMES, st.booleans())
def test_source_groups_are_never_torn_apart(names, exact: bool) -> None:
    by_group: dict[str, set[str]] = {}
    for each in complete(made(names), exact=exact):
        by_group.setdefault(group(each), set()).add(each.split)
    assert all(len(found) == 1 for found in by_group.values())


@given(NAMES, st.lists(st.sampled_from(["", "train", "val", "test"]), min_size=1))
def test_items_that_are_not_held_get_the_same_splits(names, given_splits) -> None:
    items = [replace(each, split=given_splits[number % len(given_splits)]) for number, each in enumerate(made(names))]
    try:
        expected = complete(items)
    except UserError:
        return
    sizeless = (replace(each, bytes=0, mtime_ns=0) for each in items)
    assert list(completed(sizeless, iter(items))) == expected


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
    items = [item(number, label, classes[number % 3], split={"train": "train", "val": "test"}[split])
             for split, count in (("train", train), ("val", val)) for number in range(count) for label in (0, 1)]
    items = [replace(each, path=f"{each.split}/{each.path}") for each in items]
    cut = complete(items, exact=True)
    for label in (0, 1):
        counts = Counter(each.split for each in cut if each.label == label)
        assert (counts["train"], counts["val"], counts["test"]) == expected
    parts = Counter((each.split, each.class_name) for each in cut if each.label == 0)
    assert max(parts["val", name] for name in classes) - min(parts["val", name] for name in classes) <= 1
    assert {each.cut for each in cut if each.split == "test"} == {""}
    assert {each.cut for each in cut if each.split != "test"} == {"rule"}


@given(st.integers(1, 400), st.integers(0, 300), st.integers(0, 300))
def test_the_exact_cut_keeps_pairs_and_counts(pairs: int, reals: int, fakes: int) -> None:
    """Some reals have a fake of their name, others none: 9 of 334 pairs were torn apart."""
    items = [item(number, label) for number in range(pairs) for label in (0, 1)]
    items += [item(1000 + number, 0) for number in range(reals)] + [item(2000 + number, 1) for number in range(fakes)]
    cut = complete(items, exact=True)
    of_name: dict[str, set[str]] = {}
    for each in cut:
        of_name.setdefault(group(each), set()).add(each.split)
    assert all(len(found) == 1 for found in of_name.values())
    for label, count in ((0, pairs + reals), (1, pairs + fakes)):
        train = sum(each.split == "train" for each in cut if each.label == label)
        assert train == int(0.6 * count + 1e-9)


GIVEN = st.lists(st.tuples(st.integers(0, 1), st.sampled_from(["", "s1", "s2", "s3", "s4"]),
                           st.sampled_from(["", "train", "val", "test"])), min_size=1, max_size=40)


def partly_given(rows: list[tuple[int, str, str]]) -> list[Item]:
    return [item(number, label, source=source, split=split) for number, (label, source, split) in enumerate(rows)]


@given(GIVEN, st.booleans())
def test_given_splits_stay(rows: list[tuple[int, str, str]], exact: bool) -> None:
    items = partly_given(rows)
    given_of = {label: {each.split for each in items if each.label == label} for label in (0, 1)}
    try:
        done = complete(items, exact=exact)
    except UserError as error:
        assert "none to train on" in str(error)  # noqa: PT017
        assert any(found and "train" not in found and "" not in found for found in given_of.values())
        return
    assert [each.path for each in done] == [each.path for each in items]
    for before, after in zip(items, done, strict=True):
        assert after.split in SPLITS
        assert after.cut == ("" if after == before else "rule")
        if before.split in ("val", "test") or (before.split and "" in given_of[before.label]):
            assert after == before
        if before.split == "train" and after.split != "train":
            assert after.split not in given_of[before.label]
    assert complete(items[::-1], exact=exact) == done[::-1]


@given(GIVEN, st.booleans())
@example([(0, "", ""), (0, "s1", "train"), (1, "s1", "train")], False)
@example([(0, "s1", "train"), (1, "", "test"), (1, "s1", "train")], False)
@example([(0, "", "val"), (0, "s1", "train"), (1, "", "test"), (1, "s1", "train")], False)
def test_dealing_puts_no_source_in_two_splits(rows: list[tuple[int, str, str]], exact: bool) -> None:
    first = dict(reversed([(source, split) for _, source, split in rows if split]))
    items = partly_given([(label, source, split and (first[source] if source else split))
                          for label, source, split in rows])
    try:
        done = complete(items, exact=exact)
    except UserError:
        return
    of_source: dict[str, set[str]] = {}
    for each in done:
        of_source.setdefault(each.source, set()).add(each.split)
    assert all(len(found) == 1 for source, found in of_source.items() if source)


def test_only_rows_without_a_split_are_dealt() -> None:
    """They vanished where all three splits were given, and became test where two were."""
    def dealt(*known: str) -> set[str]:
        items = [item(number, number % 2, split=known[number // 2 % len(known)]) for number in range(400)]
        return {after.split for before, after in zip(items, complete(items), strict=True) if not before.split}

    assert dealt("train", "val", "test", "") == {"train", "val", "test"}
    assert dealt("train", "test", "") == {"val"}
    assert dealt("test", "") == {"train", "val"}
    assert dealt("train", "") == {"val", "test"}


def test_a_given_test_split_is_never_trained_on() -> None:
    held = [item(number, number % 2, split="test") for number in range(10)]
    with pytest.raises(UserError, match=r"0_real has images for test only, 5 in all(?s:.*)Where: here"):
        complete(held, where="here")
    cut = complete([*held, *(item(100 + number, number % 2, split="train") for number in range(80))])
    assert splits(cut).items() >= {each.path: "test" for each in held}.items()
    assert {each.split for each in cut[10:]} == {"train", "val"}


def test_a_class_is_completed_by_itself() -> None:
    """The real images come with splits, the fake ones without."""
    items = [item(number, 0, split=SPLITS[number % 3]) for number in range(60)]
    items += [item(100 + number, 1) for number in range(60)]
    assert {(each.label, each.split) for each in complete(items)} == {(label, split) for label in (0, 1)
                                                                     for split in SPLITS}
