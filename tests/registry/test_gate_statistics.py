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


def test_many_that_differ_have_the_variance_of_source_groups() -> None:
    loose = compare(pictures(40, 40, 400))
    assert loose.discordant == 160
    expected = 1.6449 * np.sqrt(0.2 / 800)
    assert loose.low == pytest.approx(tango_bound(80, 80, 800), rel=2e-3)
    assert loose.high == pytest.approx(-loose.low)
    assert loose.high - loose.estimate == pytest.approx(expected, rel=0.02)
    assert loose.spread == pytest.approx(0.2, rel=2e-3)
    grouped = compare(pictures(40, 40, 400, per_source=2))
    assert grouped.high - grouped.estimate > 1.2 * expected, "pictures of one source lose and gain together"


def test_the_variance_is_that_of_the_bootstrap_over_source_groups() -> None:
    rng = np.random.default_rng(0)
    found = pictures(30, 20, 200, per_source=5)
    groups = found.sources.astype(int)
    drawn = [np.bincount(rng.integers(groups.max() + 1, size=groups.max() + 1), minlength=groups.max() + 1)[groups]
             for _ in range(2000)]
    means = [np.mean([np.average(found.differences[found.labels == label], weights=weights[found.labels == label])
                      for label in (0, 1)]) for weights in drawn]
    assert compare(found).spread / len(found) == pytest.approx(np.var(means), rel=0.1)


def test_classes_of_different_size_have_equal_weight() -> None:
    many, few = pictures(60, 20, 2000), pictures(10, 10, 400)
    rows = np.concatenate([np.arange(2000), 2000 + np.arange(400)])
    uneven = Pictures(labels=many.labels[rows], sources=many.sources[rows],
                      champion=np.concatenate([many.champion[:2000], few.champion[:400]]),
                      candidate=np.concatenate([many.candidate[:2000], few.candidate[:400]]))
    found = compare(uneven)
    assert found.estimate == pytest.approx(-0.01)
    variance = ((0.04 - 0.02**2) / 2000 + 0.05 / 400) / 4
    assert found.spread / 2400 == pytest.approx(variance, rel=2e-3)
    assert found.estimate - found.low == pytest.approx(1.6449 * np.sqrt(variance), rel=0.06)


def test_the_mean_over_tasks() -> None:
    one, two = pictures(24, 4, 400), pictures(4, 24, 400)
    other = Pictures(labels=two.labels, sources=np.char.add("b", two.sources), champion=two.champion,
                     candidate=two.candidate)
    found = compare(one, other)
    assert found.estimate == pytest.approx(0)
    assert found.discordant == 112
    assert found.pictures == 1600
    assert found.spread == pytest.approx(compare(one).spread, rel=0.01)
    assert compare(one, two).spread < 0.7 * found.spread, "a photograph loses in one task and gains in another"
    few = [pictures(3, 1, 400), pictures(0, 1, 400)]
    assert compare(*few).estimate == pytest.approx(-0.125 / 100)
    assert compare(few[0]).low < compare(*few).low < 0


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


def test_all_pictures_differ_in_the_same_way() -> None:
    found = compare(pictures(0, 400, 400))
    assert found.estimate == 1
    assert 0.99 < found.low < 1
    assert compare(pictures(400, 0, 400)).low == -1


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
