"""Statistics of the gate."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar

from fakemedia.registry.gate_statistics import (
    FAIL,
    PASS,
    TOO_FEW,
    Pictures,
    better,
    compare,
    more_pictures,
    not_worse,
    summary,
    tango_bound,
)


def pictures(lost: int, gained: int, count: int, *, per_source: int = 1) -> Pictures:
    """Return `count` pictures of each class; of each class the candidate loses and gains so many."""
    champion, candidate = np.ones(count, bool), np.ones(count, bool)
    candidate[:lost] = False
    champion[lost:lost + gained] = False
    groups = np.arange(2 * count) // per_source
    return Pictures(labels=np.repeat([0, 1], count), sources=groups.astype(str), champion=np.tile(champion, 2),
                    candidate=np.tile(candidate, 2))


def test_nothing_differs() -> None:
    found = compare(pictures(0, 0, 400))
    assert found.estimate == 0
    bound = 1.6449**2 / (400 + 1.6449**2)
    assert found.low == pytest.approx(-bound / np.sqrt(2), rel=1e-3)
    assert not_worse(found, 0.02) == PASS
    few = compare(pictures(0, 0, 20))
    assert not_worse(few, 0.02) == TOO_FEW
    assert 100 < more_pictures(few, 0.02) < 1000
    assert not_worse(compare(pictures(0, 0, 400, per_source=100)), 0.02) == TOO_FEW, "8 videos tell little"


def test_tango_agrees_with_its_published_solution_for_no_pair_that_differs() -> None:
    for pairs in (10, 100, 1000):
        assert tango_bound(0, 0, pairs, 0.975) == pytest.approx(-1.95996**2 / (pairs + 1.95996**2), abs=1e-6)
    assert tango_bound(0, 0, 0) == -1
    assert tango_bound(5, 0, 5) == -1


@pytest.mark.parametrize(("lost", "gained", "pairs"), [(5, 9, 100), (12, 2, 60), (1, 0, 44)])
def test_tango_is_the_score_bound_of_the_most_likely_loss(lost: int, gained: int, pairs: int) -> None:
    bound = tango_bound(lost, gained, pairs)

    def unlikely(p: float) -> float:
        return -(lost * np.log(p) + gained * np.log(p + bound) + (pairs - lost - gained) * np.log(1 - 2 * p - bound))

    lowest = max(0.0, -bound) + 1e-12
    p = minimize_scalar(unlikely, bounds=(lowest, (1 - bound) / 2 - 1e-12), method="bounded",
                        options={"xatol": 1e-12}).x
    score = (gained - lost - pairs * bound) / np.sqrt(pairs * (2 * p + bound - bound**2))
    assert score == pytest.approx(1.6449, abs=2e-3)


def test_many_that_differ_are_drawn_by_source_group() -> None:
    loose = compare(pictures(40, 40, 400))
    assert loose.discordant == 160
    expected = 1.6449 * np.sqrt(0.2 / 800)
    assert loose.high - loose.estimate == pytest.approx(expected, rel=0.1)
    assert loose.spread == pytest.approx(0.2, rel=0.1)
    grouped = compare(pictures(40, 40, 400, per_source=2))
    assert grouped.high - grouped.estimate > 1.2 * expected, "pictures of one source lose and gain together"


def test_outcomes() -> None:
    assert not_worse(compare(pictures(3, 3, 400)), 0.02) == PASS
    worse = compare(pictures(24, 12, 400))
    assert worse.estimate == pytest.approx(-0.03)
    assert not_worse(worse, 0.02) == FAIL
    unclear = compare(pictures(20, 16, 400))
    assert not_worse(unclear, 0.02) == TOO_FEW
    assert more_pictures(unclear, 0.02) > 0
    assert better(compare(pictures(3, 40, 400))) == PASS
    assert better(compare(pictures(3, 4, 400))) == TOO_FEW
    assert better(compare(pictures(4, 4, 400))) == FAIL
    assert summary([PASS, PASS]) == PASS
    assert summary([PASS, TOO_FEW]) == TOO_FEW
    assert summary([TOO_FEW, FAIL, PASS]) == FAIL


def test_a_class_alone_and_flips() -> None:
    fakes = Pictures(labels=np.ones(4, int), sources=np.array(list("abcd")),
                     champion=np.array([True, True, False, False]), candidate=np.array([True, False, True, True]))
    assert compare(fakes).estimate == pytest.approx(0.25)
    assert fakes.negative_flips == 0.25


def test_pictures_needed_of_a_gain_that_few_pictures_show() -> None:
    found = compare(pictures(1, 3, 12))
    assert better(found) == TOO_FEW
    assert found.spread == pytest.approx(8 / 24 - (1 / 6) ** 2, rel=0.35)


def test_pictures_needed_is_the_formula() -> None:
    found = compare(pictures(10, 10, 400))
    needed = (1.6449 + 0.8416) ** 2 * found.spread / 0.02**2
    assert more_pictures(found, 0.02) == pytest.approx(max(1, needed - 800), abs=2)
