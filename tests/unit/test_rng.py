"""Randomness by counter."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fakemedia.core.rng import bits, derive, generator, integers

SEEDS = st.integers(0, 2**63 - 1)
PURPOSES = st.lists(st.one_of(st.text(max_size=5), st.integers(-99, 99)), max_size=3)


@given(SEEDS, PURPOSES, PURPOSES)
def test_a_seed_for_each_purpose(seed: int, one: list, other: list) -> None:
    assert 0 <= derive(seed, *one) < 2**63
    same = [(type(part), part) for part in one] == [(type(part), part) for part in other]
    separators = any("\x1f" in part for part in (*one, *other) if isinstance(part, str))
    assert separators or (derive(seed, *one) == derive(seed, *other)) == same


def test_derived_seeds_are_the_same_on_every_machine() -> None:
    assert derive(0, "crop", 1) == derive(0, "crop", 1) != derive(0, "crop", "1")
    assert generator(3, "a").integers(1 << 30, size=4).tolist() == generator(3, "a").integers(1 << 30, size=4).tolist()


@given(SEEDS, st.lists(st.integers(0, 2**40), min_size=1, max_size=20))
def test_bits_depend_on_the_counter_alone(key: int, counters: list[int]) -> None:
    together = bits(key, np.array(counters))
    assert together.dtype == np.uint64
    assert together.tolist() == [int(bits(key, np.array([counter]))[0]) for counter in counters]


def test_bits_are_those_of_splitmix64() -> None:
    # The first outputs of the reference implementation (Vigna, splitmix64.c) from the state 1234567.
    expected = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert bits(1234567, np.arange(4)).tolist() == expected


@given(SEEDS, st.integers(1, 2**31), st.integers(1, 50))
def test_integers_stay_below(key: int, high: int, count: int) -> None:
    drawn = integers(key, np.arange(count), high)
    assert drawn.dtype == np.int64
    assert ((drawn >= 0) & (drawn < high)).all()


def test_integers_are_even_and_broadcast() -> None:
    counts = np.bincount(integers(7, np.arange(60_000), 6), minlength=6)
    assert (np.abs(counts - 10_000) < 500).all()
    assert (integers(7, np.arange(3), np.array([1, 10, 100])) < [1, 10, 100]).all()
