"""Statistics of drift against their definitions, and what their thresholds promise."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import ks_2samp

from fakemedia.monitoring import drift
from fakemedia.monitoring.drift import MIN_INCREASE, STATISTICS, Window, exceeded, make_reference, measure


def window(rng: np.random.Generator, count: int = 40, *, shift: float = 0.0, unsure: float = 0.2,
           unknown: float = 0.0) -> Window:
    """Return random pictures: embeddings of eight numbers, of which the first gives the logit."""
    rows = rng.normal(0, [3, 1, 1, 1, 0.1, 0.1, 1, 1], (count, 8))
    rows[:, 0] += 3 * shift
    return Window(logits=rows[:, 0].round(1), unsure=rng.random(count) < unsure, unknown=rng.random(count) < unknown,
                  embeddings=rows.astype(np.float16))


def naive_mmd(x: np.ndarray, y: np.ndarray, width: float) -> float:
    """Return the sums of the definition, written out."""
    def k(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.exp(-((a - b)**2).sum() / width))

    own = [np.mean([k(a, b) for i, a in enumerate(each) for j, b in enumerate(each) if i != j]) for each in (x, y)]
    return float(sum(own) - 2 * np.mean([k(a, b) for a in x for b in y]))


def test_statistics_are_those_of_the_definitions() -> None:
    rng = np.random.default_rng(0)
    past, new = [window(rng, 12) for _ in range(3)], window(rng, 12, shift=0.5)
    values = measure(new, make_reference(past))
    rows = np.concatenate([each.embeddings for each in past]).astype(np.float64)
    mean, scale = rows.mean(0), rows.std(0)
    scaled, other = (rows - mean) / scale, (new.embeddings.astype(np.float64) - mean) / scale
    width = float(np.median([((a - b)**2).sum() for i, a in enumerate(scaled) for b in scaled[i + 1:]]))
    assert values["mmd"] == pytest.approx(naive_mmd(other, scaled, width))
    logits, unsure = (np.concatenate([getattr(each, name) for each in past]) for name in ("logits", "unsure"))
    assert values["ks"] == pytest.approx(ks_2samp(new.logits, logits).statistic)
    assert values["unsure"] == pytest.approx(new.unsure.mean() - unsure.mean())
    assert values["unknown"] == 0


def test_draws_are_measured_as_windows_are(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "DRAWS", 5)
    rng = np.random.default_rng(1)
    past = [window(rng, 10) for _ in range(3)]
    chosen, logits = drift._draws(3, 10), np.concatenate([each.logits for each in past])
    assert chosen.sum(1).tolist() == [10] * 8
    assert chosen[6].nonzero()[0].tolist() == [*range(10, 20)]
    cloud = drift._ReferenceEmbeddings([each.embeddings for each in past if each.embeddings is not None])
    by_sorting, by_sums = drift._ks_to_rest(logits, chosen), cloud.to_rest()
    for row, ks, mmd in zip(chosen, by_sorting, by_sums, strict=True):
        assert ks == pytest.approx(ks_2samp(logits[row], logits[~row]).statistic)
        assert mmd == pytest.approx(naive_mmd(cloud.rows[row], cloud.rows[~row], cloud.median))


def test_large_windows_are_sampled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "MAX_COMPARED", 8)
    rng = np.random.default_rng(2)
    cloud = drift._ReferenceEmbeddings([rng.normal(size=(20, 3)) for _ in range(3)])
    assert cloud.rows.shape == (24, 3)
    assert np.isfinite(cloud.squared_mmd(window_of(rng.normal(size=(20, 3)))))


def window_of(rows: np.ndarray) -> Window:
    none = np.zeros(len(rows), bool)
    return Window(logits=rows[:, 0], unsure=none, unknown=none, embeddings=rows)


def test_a_stream_that_does_not_change_rarely_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "DRAWS", 200)
    above, alarms = [], []
    for seed in range(20):
        rng = np.random.default_rng(seed)
        reference = make_reference([window(rng) for _ in range(5)])
        found = [set(exceeded(measure(window(rng), reference), reference.thresholds)) for _ in range(20)]
        above += map(bool, found)
        alarms.append(sum(bool(former & now) for former, now in pairwise(found)))
    assert 0 < np.mean(above) <= sum(drift.LEVELS.values())
    assert np.mean(alarms) <= 1


@pytest.mark.parametrize(("change", "expected"), [
    ({"shift": 1.0}, {"mmd", "ks"}), ({"unsure": 0.7}, {"unsure"}), ({"unknown": 0.3}, {"unknown"})])
def test_each_statistic_finds_its_change(change: dict[str, float], expected: set[str]) -> None:
    rng = np.random.default_rng(3)
    reference = make_reference([window(rng, 100) for _ in range(5)])
    assert set(exceeded(measure(window(rng, 100, **change), reference), reference.thresholds)) >= expected


def test_reference_that_varies_over_time_has_higher_thresholds() -> None:
    rng = np.random.default_rng(4)
    steady = make_reference([window(rng, 100) for _ in range(4)])
    varying = make_reference([window(rng, 100, shift=hour) for hour in (0, 1, 0, 1)])
    assert all(varying.thresholds[name] > 1.5 * steady.thresholds[name] for name in ("mmd", "ks"))


def test_first_unknown_pictures_are_no_drift() -> None:
    rng = np.random.default_rng(5)
    reference = make_reference([window(rng) for _ in range(3)])
    assert reference.thresholds["unknown"] == MIN_INCREASE / 40
    assert "unknown" not in exceeded({"unknown": MIN_INCREASE / 40}, reference.thresholds)


def test_detector_without_embeddings_and_constant_ones() -> None:
    rng = np.random.default_rng(6)
    bare = [Window(logits=each.logits, unsure=each.unsure, unknown=each.unknown, embeddings=None)
            for each in (window(rng) for _ in range(4))]
    assert set(make_reference(bare[:3]).thresholds) == set(STATISTICS) - {"mmd"}
    same = [window_of(np.ones((10, 3))) for _ in range(4)]
    reference = make_reference(same[:3])
    assert not exceeded(measure(same[3], reference), reference.thresholds)
    with pytest.raises(ValueError, match="equal size"):
        make_reference(bare[:1])
