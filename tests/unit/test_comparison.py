"""Arrangements of the same tasks compared: paired, ranked, told in words."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plan
from fakemedia.core.types import make_stages
from fakemedia.reporting.comparison import Comparison, arrangement_labels, compare
from fakemedia.reporting.comparison_page import (
    comparison_latex,
    comparison_markdown,
    comparison_page,
    comparison_text,
    grids,
    prediction_verdicts,
    verdicts,
)
from fakemedia.reporting.figures.arrangements import arrangement_figure, draw_comparison
from fakemedia.reporting.formats import to_markdown
from fakemedia.reporting.prediction import Run, observe, predictions, weighted_rank_correlation
from fakemedia.similarity.agreement import rank_agreement, rank_correlation
from tests.plans import make_plan
from tests.scores import make_scores

TASKS = ("a", "b", "c", "d")
GIVEN, PAIRS = [("a",), ("b",), ("c",), ("d",)], [("c", "a"), ("d", "b")]


def plan(sequence: str, groups: list[tuple[str, ...]], methods: tuple[str, ...] = ("finetune", "kd")) -> Plan:
    return make_plan(methods, sequence=sequence, collection="made_up", listed=TASKS, stages=make_stages(groups),
                     seeds=(0, 1, 2))


def table(values: np.ndarray, tasks: tuple[str, ...] = TASKS) -> pd.DataFrame:
    return pd.DataFrame(values, index=list(tasks), columns=list(tasks))


PLANS = (plan("my_grouped", PAIRS), plan("my_given", GIVEN))
DISTANCES = {"near": table(np.abs(np.subtract.outer(range(4), range(4))).astype(float)),
             "flat": table(1.0 - np.eye(4))}


@pytest.fixture(scope="module")
def scores() -> dict[str, pd.DataFrame]:
    return {each.sequence: make_scores([stage.tasks for stage in each.stages], methods=("finetune", "kd"), images=60,
                                       photographs=12)[0] for each in PLANS}


@pytest.fixture(scope="module")
def comparison(scores: dict[str, pd.DataFrame]) -> Comparison:
    return compare(scores, PLANS, DISTANCES, draws=60)


def test_average_accuracy_is_that_of_the_scores(comparison: Comparison, scores: dict[str, pd.DataFrame]) -> None:
    last = scores["my_grouped"].query("stage == 2 and method == 'kd'")
    expected = 100 * ((last["logit"] > 0) == (last["label"] == 1)).mean()
    row = comparison.arrangements.query("arrangement == 'grouped' and method == 'kd' and metric == 'aa'").iloc[0]
    assert row["mean"] == pytest.approx(expected)
    assert row["low"] <= row["mean"] <= row["high"]


def test_differences_are_of_the_means_and_against_the_second_sequence(comparison: Comparison) -> None:
    means = comparison.arrangements.set_index(["arrangement", "method", "metric"])["mean"]
    assert comparison.baseline == "given"
    assert set(comparison.differences["arrangement"]) == {"grouped"}
    for row in comparison.differences.itertuples():
        expected = means["grouped", row.method, row.metric] - means["given", row.method, row.metric]
        assert row.mean == pytest.approx(expected)


def test_an_arrangement_compared_with_itself_differs_by_exactly_nothing(scores: dict[str, pd.DataFrame]) -> None:
    twin = {"my_first": scores["my_given"].sample(frac=1, random_state=0), "my_second": scores["my_given"]}
    found = compare(twin, (plan("my_first", GIVEN), plan("my_second", GIVEN)), {}, draws=30)
    assert (found.differences[["mean", "low", "high"]] == 0).all(axis=None)
    assert found.predictions.empty


def test_the_order_of_a_sequence_does_not_break_the_pairing(scores: dict[str, pd.DataFrame]) -> None:
    """The same scores under another order of the tasks: average accuracy is the same in every draw."""
    order = [("d",), ("c",), ("b",), ("a",)]
    plans = plan("x_1", order), plan("x_2", GIVEN)
    found = compare({each.sequence: scores["my_given"] for each in plans}, plans, {}, draws=30)
    difference = found.differences.query("metric == 'aa'")[["mean", "low", "high"]].to_numpy()
    np.testing.assert_allclose(difference, 0, atol=1e-9)


def test_what_both_have_is_compared(scores: dict[str, pd.DataFrame]) -> None:
    fewer = {**scores, "my_given": scores["my_given"].query("seed < 2 and method == 'kd'")}
    found = compare(fewer, PLANS, {}, draws=10)
    assert (found.methods, found.seeds) == (("kd",), (0, 1))


def test_other_test_images_are_refused(scores: dict[str, pd.DataFrame]) -> None:
    with pytest.raises(UserError, match="not scored on the same test images"):
        compare({**scores, "my_given": scores["my_given"].query("id != 'a-00000'")}, PLANS, {}, draws=10)
    with pytest.raises(UserError, match="no run in common"):
        compare({**scores, "my_given": scores["my_given"].assign(seed=9)}, PLANS, {}, draws=10)


def test_labels_drop_what_all_names_share() -> None:
    plans = [plan(name, GIVEN) for name in ("demo_grouped", "demo_given", "demo_grouped_transfer")]
    assert list(arrangement_labels(plans).values()) == ["grouped", "given", "grouped transfer"]
    assert list(arrangement_labels([plan("long_grouped", GIVEN), plan("long", GIVEN)]).values()) == ["long grouped",
                                                                                                     "long"]


def test_pairs_of_a_stage_and_a_task_that_it_does_not_learn() -> None:
    accuracy = np.array([[[90.0, 80.0, 60.0], [70.0, 85.0, 95.0]]])
    run = Run(stages=make_stages([("a", "b"), ("c",)]), accuracy=accuracy)
    ahead = observe([run], ("a", "b", "c"), "zero_shot")
    assert (ahead.tested.tolist(), ahead.observed.tolist()) == ([2], [[60.0]])
    assert ahead.learned.tolist() == [[0.5, 0.5, 0.0]]
    lost = observe([run], ("a", "b", "c"), "forgetting")
    assert (lost.tested.tolist(), lost.observed.tolist()) == ([0, 1], [[20.0, -5.0]])
    assert lost.learned.tolist() == [[0, 0, 1], [0, 0, 1]]


def test_a_perfect_measure_is_recognised() -> None:
    distances = np.abs(np.subtract.outer([0.0, 1, 3, 7], [0.0, 1, 3, 7]))
    accuracy = np.stack([[100 - 5 * distances[i] for i in range(4)]] * 2)
    run = Run(stages=make_stages(GIVEN), accuracy=accuracy)
    found = predictions({"finetune": [run]}, {"perfect": table(distances)}, np.ones((40, 2), np.float32), draws=40)
    assert found.set_index("target").loc["zero_shot", "mean"] == pytest.approx(-1)
    assert found.set_index("target").loc["zero_shot", ["low", "high"]].max() < 0


def test_a_method_that_leaves_no_pairs_predicts_nothing() -> None:
    accuracy = np.full((2, 4, 4), np.nan)
    accuracy[:, -1] = 80.0
    run = Run(stages=make_stages(GIVEN), accuracy=accuracy)
    found = predictions({"joint": [run]}, DISTANCES, np.ones((10, 2), np.float32), draws=10)
    assert (found["pairs"] == 0).all()
    assert found[["mean", "low", "high"]].isna().all(axis=None)


@settings(max_examples=30)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5), st.integers(0, 3)), min_size=3, max_size=12))
def test_weights_count_like_repetitions(rows: list[tuple[int, int, int]]) -> None:
    x, y, weights = np.array(rows, float).T
    repeated = [np.repeat(values, weights.astype(int)) for values in (x, y)]
    found = weighted_rank_correlation(x, y, weights)
    if min(len(set(values)) for values in repeated) < 2:
        assert np.isnan(found)
    else:
        assert found == pytest.approx(spearmanr(*repeated).statistic)
        assert rank_correlation(*repeated) == pytest.approx(found)


def test_agreement_of_measures_does_not_depend_on_scale() -> None:
    near = DISTANCES["near"]
    agreement = rank_agreement({"one": near, "ten": 10 * near ** 2, "flat": DISTANCES["flat"]})
    assert agreement.loc["one", "ten"] == pytest.approx(1)
    assert np.isnan(agreement.loc["one", "flat"])


def test_a_constant_measure_predicts_nothing(comparison: Comparison) -> None:
    flat = comparison.predictions.query("measure == 'flat'")
    assert flat["mean"].isna().all()
    assert sum("undefined" in line for line in prediction_verdicts(comparison)) == len(flat)


def test_words_say_what_the_numbers_say(comparison: Comparison) -> None:
    row = comparison.differences.query("method == 'kd' and metric == 'aa'").iloc[0]
    line = next(line for line in verdicts(comparison) if "kd" in line)
    assert f"{abs(row['mean']):.1f} points" in line
    assert ("not significant" in line.split(";")[0]) == (row["p"] >= 0.05)
    assert comparison_text(comparison).splitlines()[0] == "Against given, over 3 seeds:"
    assert comparison_text(replace(comparison, seeds=(0,))).splitlines()[0] == "Against given, over one seed:"


def test_nothing_is_judged_from_fewer_than_three_seeds(scores: dict[str, pd.DataFrame]) -> None:
    few = compare({name: frame.query("seed < 2") for name, frame in scores.items()}, PLANS, DISTANCES, draws=30)
    assert few.differences["p"].isna().all()
    for line in [*verdicts(few), *(line for line in prediction_verdicts(few) if "undefined" not in line)]:
        assert "not judged" in line
        assert not re.search("better|worse|predicted", line)
    assert "**" not in to_markdown(grids(few)[0]).partition("\n\n")[2]


def test_p_values_are_corrected_for_what_is_compared(comparison: Comparison,
                                                     scores: dict[str, pd.DataFrame]) -> None:
    alone = compare({name: frame.query("method == 'kd'") for name, frame in scores.items()}, PLANS, {}, draws=60)
    of = "arrangement == 'grouped' and method == 'kd' and metric == 'aa'"
    assert comparison.differences.query(of)["p"].iloc[0] >= alone.differences.query(of)["p"].iloc[0]


def test_tables_have_a_row_for_every_method_and_arrangement(comparison: Comparison) -> None:
    arrangements, predicted = grids(comparison)
    assert arrangements.keys == tuple((method, label) for method in ("finetune", "kd")
                                      for label in ("grouped", "given"))
    assert np.isnan(arrangements.mean[1::2, 3:]).all()
    assert np.isfinite(arrangements.mean[::2]).all()
    assert predicted.mean.shape == (4, 2)
    assert comparison_latex(comparison).count(r"\toprule") == 2
    assert "finetune | grouped" in comparison_markdown(comparison)


def test_the_page_holds_everything(comparison: Comparison) -> None:
    page = comparison_page(comparison, draw_comparison(comparison))
    assert page.count("data:image/svg+xml") == 2
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "c + a → d + b" in page
    labels = [tick.get_text() for tick in arrangement_figure(comparison.arrangements).axes[0].get_yticklabels()]
    assert labels == ["grouped", "given"]
