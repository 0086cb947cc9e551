"""Calibration against scikit-learn and hand computation, its properties, and what it does where little is given."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit
from scipy.stats import binomtest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, log_loss

from fakemedia.core.errors import UserError
from fakemedia.core.rng import generator
from fakemedia.evaluation import calibration as cal
from fakemedia.evaluation import metrics
from fakemedia.evaluation import unsure_band as band
from fakemedia.evaluation.calibration import Calibration, CalibrationConfig, calibrate

CONFIG = CalibrationConfig()


def scores(labels, logits, tasks=None) -> pd.DataFrame:
    return pd.DataFrame({"task": "a" if tasks is None else tasks, "label": np.asarray(labels, np.int8),
                         "source": [f"p{i}" for i in range(len(labels))], "logit": np.asarray(logits, np.float64)})


def overconfident(images: int = 2000, scale: float = 3.0, shift: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and logits whose true log-odds are (logit - shift) / scale."""
    rng = generator(5, "calibration")
    odds = rng.normal(0, 2, images)
    return (rng.random(images) < expit(odds)).astype(np.int64), scale * odds + shift


def uniform(labels: np.ndarray) -> np.ndarray:
    return np.full(len(labels), 1 / len(labels))


@st.composite
def splits(draw) -> tuple[np.ndarray, np.ndarray, list[str]]:
    images = draw(st.integers(4, 60))
    labels = np.array(draw(st.lists(st.integers(0, 1), min_size=images, max_size=images)))
    logits = np.array(draw(st.lists(st.integers(-400, 400), min_size=images, max_size=images))) / 10
    tasks = draw(st.lists(st.sampled_from(["a", "b", "c"]), min_size=images, max_size=images))
    return labels, logits, tasks


def test_temperature_equals_logistic_regression_without_intercept() -> None:
    labels, logits = overconfident()
    slope = LogisticRegression(C=1e12, fit_intercept=False, tol=1e-10).fit(logits[:, None], labels).coef_[0, 0]
    assert cal.fit_temperature(labels, logits, uniform(labels)) == pytest.approx(1 / slope, rel=1e-6)


def test_temperature_undoes_the_scale_of_overconfident_logits() -> None:
    labels, logits = overconfident(images=20_000)
    found = calibrate(scores(labels, logits), config=CONFIG)
    assert found.temperature == pytest.approx(3, rel=0.05)
    changed = cal.calibrated_metrics(labels, logits, found)
    assert changed["ece"] > 0.1
    assert changed["ece_calibrated"] < 0.02


def test_threshold_gives_back_what_a_shift_took() -> None:
    labels, logits = overconfident(images=20_000, shift=6.0)
    changed = cal.calibrated_metrics(labels, logits, calibrate(scores(labels, logits), config=CONFIG))
    assert changed["accuracy"] < 70
    assert changed["accuracy_calibrated"] == pytest.approx(metrics.accuracy(labels, logits - 6), abs=1)


def test_a_threshold_is_not_found_on_few_photographs() -> None:
    labels, logits = overconfident(images=2000, shift=6.0)
    few = scores(labels, logits).assign(source=[f"p{i % 9}" for i in range(2000)])
    found = calibrate(few, config=CONFIG)
    assert (found.threshold, found.sources) == (0.5, 9)
    assert (found.is_fake(logits) == (logits > 0)).all()
    assert calibrate(few, config=CalibrationConfig(least_sources=9)).threshold > 0.6


def test_threshold_by_hand() -> None:
    labels, equal = np.array([0, 0, 1, 1]), np.full(4, 0.25)
    assert cal.fit_threshold(labels, np.array([1.0, 2.0, 4.0, 5.0]), equal) == 3
    assert cal.fit_threshold(labels, np.array([-2.0, -1.0, 1.0, 2.0]), equal) == 0


def test_the_rarer_class_counts_as_much_as_the_other() -> None:
    # Above 0.3: 4 of 8 real and 3 of 3 fake images are right; above 2: all 8 and 1.
    odds, labels = np.repeat([0.1, 0.5, 1.0, 3.0], [4, 2, 4, 1]), np.repeat([0, 1, 0, 1], [4, 2, 4, 1])
    assert cal.fit_threshold(labels, odds, uniform(labels)) == 2
    assert cal.fit_threshold(labels, odds, cal.equal_weights(labels, ["a"] * 11)) == 0.3


@settings(max_examples=60)
@given(splits())
def test_no_threshold_has_a_higher_balanced_accuracy(split) -> None:
    labels, logits, _ = split
    weights = cal.equal_weights(labels, ["a"] * len(labels))
    threshold = cal.fit_threshold(labels, logits, weights)
    if len(np.unique(labels)) < 2:
        assert threshold == 0
        return
    best = balanced_accuracy_score(labels, logits > threshold)
    others = [balanced_accuracy_score(labels, logits > at) for at in [0, *(np.unique(logits) + 0.05)[:-1]]]
    assert best == pytest.approx(max(others), abs=1e-12)


def test_every_class_of_every_task_weighs_the_same() -> None:
    labels, tasks = np.array([0, 0, 0, 1, 1, 0]), ["a", "a", "a", "a", "b", "b"]
    np.testing.assert_allclose(cal.equal_weights(labels, tasks), [1 / 12, 1 / 12, 1 / 12, 1 / 4, 1 / 4, 1 / 4])


def test_band_by_hand() -> None:
    # 200 images a side; none of the outer 100 is wrong, 20 of the inner ones, spread evenly.
    odds = np.concatenate([-np.linspace(1, 2, 200), np.linspace(1, 2, 200)])
    labels = (odds > 0).astype(np.int64)
    for side in (-1, 1):
        labels[np.flatnonzero((np.sign(odds) == side) & (np.abs(odds) < 1.5))[::5]] ^= 1
    rows = np.arange(400)
    low, high = band.fit_band(labels, odds, uniform(labels), rows, target=0.95, confidence=0.95) or (0, 0)
    assert high == pytest.approx(-low, abs=0.01)
    assert 1.3 < high < 1.5
    # All 400: 360 right, whose lower bound by Clopper and Pearson is 87.2 %.
    bound = binomtest(360, 400, alternative="greater").proportion_ci(0.95, "exact").low
    assert band.fit_band(labels, odds, uniform(labels), rows, target=bound - 1e-6, confidence=0.95) == (0, 0)
    assert band.fit_band(labels, odds, uniform(labels), rows, target=bound + 1e-6, confidence=0.95) != (0, 0)
    assert band.fit_band(labels, odds, uniform(labels), rows[::8], target=0.95, confidence=0.95) is None


def test_one_picture_of_a_source_and_equally_many_of_each_cell() -> None:
    rng = generator(0, "rows")
    cells = rng.integers(0, 4, 500)
    sources = [f"p{number}" for number in rng.integers(0, 90, 500)]
    rows = band.independent_pictures(cells, sources)
    assert len({sources[row] for row in rows}) == len(rows)
    assert len(set(np.bincount(cells[rows], minlength=4))) == 1
    assert len(rows) >= 80
    np.testing.assert_array_equal(rows, band.independent_pictures(cells, sources))
    assert len(band.independent_pictures(np.arange(8), ["one"] * 8)) == 0


def of_photographs(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Return scores of each photograph and its fakes of four tasks: what one photograph gives is much alike."""
    shared = rng.normal(0, 1.2, count)
    return pd.concat([pd.DataFrame({
        "task": task, "label": label, "source": [f"p{i}" for i in range(count)],
        "logit": 3 * (strength * (2 * label - 1) + shared + rng.normal(0, 0.8, count)) + 2,
    }) for task, strength in zip("abcd", (5.0, 4.0, 3.5, 3.0), strict=True) for label in (0, 1)], ignore_index=True)


def of_own(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Return scores of `count` images of each class of four tasks, each of a source of its own."""
    found = pd.concat([pd.DataFrame({
        "task": task, "label": label, "logit": rng.normal(strength * (2 * label - 1), 2, count)})
        for task, strength in zip("abcd", (4.0, 3.5, 3.0, 2.0), strict=True) for label in (0, 1)], ignore_index=True)
    return found.assign(source=[f"p{i}" for i in range(len(found))])


def just_below(rng: np.random.Generator, count: int) -> pd.DataFrame:
    """Return scores that are right 94.5 % of the time wherever they are: no band may pass for 95 %."""
    odds = rng.normal(0, 3, 8 * count)
    right = rng.random(8 * count) < 0.945
    return pd.DataFrame({"task": "a", "label": np.where(right, odds > 0, odds <= 0).astype(int), "logit": odds,
                         "source": [f"p{i}" for i in range(8 * count)]})


@pytest.mark.parametrize(("draw", "count", "coverage"), [
    (of_photographs, 250, 0.5), (of_own, 100, 0.5), (just_below, 100, 0.0)])
def test_at_most_one_calibration_in_twenty_misses_its_target_on_new_images(draw, count: int, coverage: float) -> None:
    """With the band fitted and judged on the same images, 58 % of the calibrations missed theirs."""
    rng = generator(3, "new images", draw.__name__)
    new = draw(rng, 20_000)
    labels, logits = new["label"].to_numpy(), new["logit"].to_numpy()
    weights = cal.equal_weights(labels, new["task"].tolist())
    missed, covered = [], []
    for _ in range(200):
        found = calibrate(draw(rng, count), config=CONFIG)
        sure = found.is_sure(logits)
        right = found.is_fake(logits) == (labels == 1)
        missed.append(sure.any() and (weights * right)[sure].sum() < 0.95 * weights[sure].sum())
        covered.append(weights[sure].sum())
    assert np.mean(missed) <= 0.055
    assert np.mean(covered) >= coverage


@pytest.mark.parametrize(("images", "said"), [(40, "40 independent validation pictures, at least 59"),
                                              (2000, "no band is shown to reach 95%")])
def test_without_a_guarantee_every_image_is_unsure(images: int, said: str) -> None:
    labels = np.arange(images) % 2
    logits = generator(0, "noise").normal(size=images)
    found = calibrate(scores(labels, logits), config=CONFIG)
    assert (found.unsure_low, found.unsure_high) == (0, 1)
    assert said in found.guarantee
    assert not found.is_sure(np.array([-1e4, 0.0, 1e4])).any()


@settings(max_examples=100)
@given(splits(), st.sampled_from([0.6, 0.8, 0.95]), st.sampled_from([1, 10]))
def test_what_calibration_promises(split, target: float, least_sources: int) -> None:
    labels, logits, tasks = split
    config = CalibrationConfig(target=target, least_sources=least_sources)
    found = calibrate(scores(labels, logits, tasks), config=config)
    weights = cal.equal_weights(labels, tasks)
    assert cal.TEMPERATURE_RANGE[0] <= found.temperature <= cal.TEMPERATURE_RANGE[1]
    assert 0 <= found.unsure_low <= found.threshold <= found.unsure_high <= 1
    if len(np.unique(labels)) == 2:
        before = log_loss(labels, expit(logits), sample_weight=weights)
        assert log_loss(labels, expit(logits / found.temperature), sample_weight=weights) <= before + 1e-9
        assert metrics.auc(labels, cal.log_odds(logits, found.temperature)) == pytest.approx(
            metrics.auc(labels, np.clip(logits, -cal.MAX_LOG_ODDS * found.temperature,
                                        cal.MAX_LOG_ODDS * found.temperature)))
    right = found.is_fake(logits) == (labels == 1)
    assert weights @ right >= weights @ metrics.correct(labels, logits) - 1e-9
    sure = found.is_sure(logits)
    if found.always_unsure:
        assert not sure.any()
        assert found.guarantee.startswith("no guarantee")
    else:
        assert found.independent >= band.pictures_needed(target, 0.95)
    assert set(found.verdict(logits)[~sure]) <= {"unsure"}
    assert (found.verdict(logits)[sure] == np.where(found.is_fake(logits), "fake", "real")[sure]).all()


@pytest.mark.parametrize(("labels", "logits", "temperature"), [
    ([0, 0, 0], [-1.0, 2.0, 3.0], 1),
    ([1, 1, 1], [-1.0, 2.0, 3.0], 1),
    ([0, 1, 0, 1], [0.0, 0.0, 0.0, 0.0], 1),
    ([0, 1, 0, 1], [2.0, 2.0, 2.0, 2.0], cal.TEMPERATURE_RANGE[1]),
    ([0, 0, 1, 1], [-5.0, -4.0, 4.0, 5.0], cal.TEMPERATURE_RANGE[0]),
    ([1, 1, 0, 0], [-5.0, -4.0, 4.0, 5.0], cal.TEMPERATURE_RANGE[1]),
    ([0, 1], [-1e300, 1e300], cal.TEMPERATURE_RANGE[0]),
], ids=["real only", "fake only", "zero", "constant", "separable", "upside down", "huge"])
def test_little_to_go_by(labels: list[int], logits: list[float], temperature: float) -> None:
    found = calibrate(scores(labels, logits), config=CONFIG)
    assert found.temperature == pytest.approx(temperature)
    assert np.isfinite(found.probability(np.array(logits))).all()
    assert (found.unsure_low, found.unsure_high) == (0, 1)
    if temperature == cal.TEMPERATURE_RANGE[0]:
        assert found.threshold == 0.5


def test_separable_images_need_no_band() -> None:
    labels = np.arange(100) % 2
    found = calibrate(scores(labels, 8.0 * labels - 4 + np.arange(100) / 1000), config=CONFIG)
    assert found.unsure_low == found.unsure_high == found.threshold
    assert "at least 95% right" in found.guarantee
    assert cal.calibrated_metrics(labels, np.float64(8) * labels - 4, found)["accuracy_calibrated"] == 100


def test_metrics_of_nothing_and_of_nothing_sure() -> None:
    found = calibrate(scores([0, 1], [-1.0, 1.0]), config=CONFIG)
    empty = cal.calibrated_metrics(np.zeros(0, int), np.zeros(0), found)
    assert all(math.isnan(value) for value in empty.values())
    unsure = cal.calibrated_metrics(np.array([0, 1]), np.array([-1.0, 1.0]), found)
    assert unsure["coverage"] == 0
    assert math.isnan(unsure["accuracy_sure"])


def of_crops(images: int = 400) -> pd.DataFrame:
    """Return scores whose mean logit of several crops is half as large as that of the centre, and shifted."""
    labels, logits = overconfident(images)
    return scores(labels, logits).assign(logit_crops=logits / 2 + 1)


def test_the_mean_of_several_crops_is_calibrated_for_itself() -> None:
    table = of_crops()
    found = calibrate(table, config=CONFIG)
    alone = calibrate(table.drop(columns="logit_crops"), config=CONFIG)
    assert found.for_crops(1) is found
    assert replace(found, several=None, several_better=None) == alone
    assert found.several_better == (100 * (found.several.is_fake(table["logit_crops"].to_numpy())
                                           == (table["label"] == 1)).mean()
                                    >= 100 * (found.is_fake(table["logit"].to_numpy()) == (table["label"] == 1)).mean())
    worse = calibrate(table.assign(logit_crops=-table["logit"]), config=CONFIG)
    assert worse.several_better is False
    assert found.for_crops(4) == calibrate(table.assign(logit=table["logit_crops"]).drop(columns="logit_crops"),
                                           config=CONFIG)
    assert found.for_crops(4).temperature < 0.7 * found.temperature
    assert alone.for_crops(4) is alone  # as of files of earlier versions


def test_json_brings_back_the_same_calibration() -> None:
    labels, logits = overconfident(200)
    for table in (scores(labels, logits), of_crops()):
        found = calibrate(table, config=CONFIG, weights_sha256="ab")
        assert Calibration.from_json(found.to_json(), where="calibration.json") == found


def changed(key: str, value: str) -> str:
    """Return the text of a whole calibration, but for one value."""
    text = calibrate(scores([0, 1], [-1.0, 1.0]), config=CONFIG).to_json()
    return re.sub(rf'"{key}": [^,\n]+', f'"{key}": {value}', text)


def test_a_file_of_the_first_version_is_read_and_guarantees_nothing() -> None:
    values = json.loads(changed("threshold", "0.5"))
    del values["confidence"], values["independent"], values["several"]
    old = {**values, "made_from": "x", "unsure_low": 0.4, "unsure_high": 0.6}
    found = Calibration.from_json(json.dumps(old), where="calibration.json")
    assert "no guarantee: calibrated by an earlier version" in found.guarantee
    assert found.verdict(np.array([-9.0, 0.0, 9.0])).tolist() == ["real", "unsure", "fake"]


@pytest.mark.parametrize("text", [
    "", "{", "[]", "{}", '{"temperature": 1}', '{"temprature": 1}',
    *(changed(key, value) for key, value in (
        ("temperature", "NaN"), ("threshold", "NaN"), ("unsure_low", "-Infinity"), ("temperature", "0"),
        ("threshold", "1e999"), ("unsure_high", "0.1"), ("target", "NaN"), ("threshold", "null"),
        ("several", '{"temperature": 1}'), ("several", '{"temperature": 0, "threshold": 0, "unsure_low": 0, '
                                            '"unsure_high": 0}')))])
def test_a_damaged_file_is_named(text: str) -> None:
    with pytest.raises(UserError, match=r"calibration\.json"):
        Calibration.from_json(text, where="calibration.json")


@pytest.mark.parametrize("target", [0.5, 1.0, 95])
def test_a_target_that_cannot_be_meant(target: float) -> None:
    with pytest.raises(ValueError, match=r"0\.95"):
        CalibrationConfig(target=target)


class TestAffine:
    """The correction a d + b of the log-odds."""

    @pytest.mark.parametrize(("scale", "shift"), [(3.0, 5.0), (0.2, -1.0), (40.0, 300.0)])
    def test_it_equals_weighted_logistic_regression(self, scale: float, shift: float) -> None:
        labels, logits = overconfident(scale=scale, shift=shift)
        tasks = np.where(generator(6, "task").random(len(labels)) < 0.9, "a", "b").tolist()
        weights = cal.equal_weights(labels, tasks)
        fitted = LogisticRegression(C=1e12, tol=1e-12, max_iter=1000).fit((logits[:, None] - shift) / scale, labels,
                                                                          len(labels) * weights)
        slope = fitted.coef_[0, 0] / scale
        a, b = cal.fit_affine(labels, logits, weights)
        assert a == pytest.approx(slope, rel=1e-5)
        assert b == pytest.approx(fitted.intercept_[0] - slope * shift, rel=1e-5, abs=1e-5)

    def test_what_is_corrected_needs_no_temperature_and_is_not_corrected_again(self) -> None:
        labels, logits = overconfident(shift=5.0)
        weights = cal.equal_weights(labels, ["a"] * len(labels))
        a, b = cal.fit_affine(labels, logits, weights)
        assert cal.fit_temperature(labels, a * logits + b, weights) == pytest.approx(1, rel=1e-6)
        assert cal.fit_affine(labels, a * logits + b, weights) == pytest.approx((1, 0), abs=1e-6)

    def test_a_lost_order_is_not_reversed(self) -> None:
        labels, logits = overconfident()
        a, b = cal.fit_affine(labels, -logits, uniform(labels))
        assert a == pytest.approx(1 / cal.TEMPERATURE_RANGE[1])
        assert b == pytest.approx(math.log(labels.mean() / (1 - labels.mean())), abs=0.02)

    def test_separable_logits_are_separated_at_zero(self) -> None:
        labels, logits = np.array([0, 0, 1, 1]), np.array([4.0, 5.0, 7.0, 8.0])
        a, b = cal.fit_affine(labels, logits, uniform(labels))
        assert a == pytest.approx(1 / cal.TEMPERATURE_RANGE[0])
        assert a * 6 + b == pytest.approx(0, abs=1e-6)

    @pytest.mark.parametrize(("labels", "logits"), [([1, 1], [1.0, 2.0]), ([0, 1], [3.0, 3.0])])
    def test_it_is_the_identity_where_nothing_can_be_fitted(self, labels: list[int], logits: list[float]) -> None:
        assert cal.fit_affine(np.array(labels), np.array(logits), np.full(2, 0.5)) == (1.0, 0.0)
