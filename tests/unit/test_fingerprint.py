"""One hash for everything that a result depends on."""

from dataclasses import dataclass
from pathlib import PurePosixPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakemedia.core.hashing import fingerprint

PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=8,
)


@dataclass(frozen=True, kw_only=True)
class Inner:
    rate: float


@dataclass(frozen=True, kw_only=True)
class Outer:
    name: str
    inner: Inner


@given(st.dictionaries(st.text(), PLAIN, max_size=4))
def test_key_order_does_not_matter(value: dict) -> None:
    assert fingerprint(value) == fingerprint(dict(reversed(value.items())))


@given(PLAIN, PLAIN)
def test_other_values_have_other_fingerprints(one, other) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (repr(one) == repr(other)) or one == other


def test_what_counts_as_equal() -> None:
    assert fingerprint((1, "a")) == fingerprint([1, "a"])
    assert fingerprint(1) != fingerprint(1.0) != fingerprint("1.0")
    assert fingerprint({"b", "a"}) == fingerprint(["a", "b"])
    assert fingerprint(Outer(name="x", inner=Inner(rate=0.1))) == fingerprint({"name": "x", "inner": {"rate": 0.1}})


def test_known_value() -> None:
    assert fingerprint({"b": [1, 2.5, None], "a": "é"}) == "d764fee2563da33e3d57334755404e63"


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes", PurePosixPath("a")])
def test_what_has_no_fingerprint(value) -> None:
    with pytest.raises((TypeError, ValueError)):
        fingerprint({"key": value})
