"""From scores to tables, on made-up scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from fakemedia.core.errors import UserError
from fakemedia.core.plan import MethodPlan, Plan, Plugin, TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.evaluation import continual, metrics
from fakemedia.evaluation.intervals import PERCENT
from fakemedia.pipelines.reporting.nodes import tabulate
from fakemedia.reporting import estimates
from fakemedia.reporting.results import Results, gather, notices
from fakemedia.reporting.tables import ALL_TASKS, RUN_METRICS, Tables, groups_of, make_tables

from ..scores import make_scores

GROUPS = [("gan-a",), ("warp_b",), ("sr_c", "sr_d")]
SCORES, STAGES = make_scores(GROUPS, images=60, photographs=12)


def gathered(scores: pd.DataFrame = SCORES) -> Results:
    return gather(scores, sequence="demo", network="convnet", stages=STAGES)


@pytest.fixture(scope="module")
def tables() -> Tables:
    return make_tables(gathered(), draws=200)


def value(table: pd.DataFrame, column: str = "mean", **keys: object) -> float:
    for key, wanted in keys.items():
        table = table[table[key] == wanted]
    assert len(table) == 1
    return float(table[column].iloc[0])


def test_matrix_cells_are_the_accuracies_of_the_scores(tables: Tables) -> None:
    rows = SCORES[(SCORES.method == "kd") & (SCORES.stage == 2) & (SCORES.task == "gan-a")]
    accuracies = [metrics.accuracy(one.label.to_numpy(), one.logit.to_numpy()) for _, one in rows.groupby("seed")]
    aucs = [metrics.auc(one.label.to_numpy(), one.logit.to_numpy()) for _, one in rows.groupby("seed")]
    cell = {"method": "kd", "stage": 2, "task": "gan-a"}
    assert value(tables.matrices, measure="accuracy", **cell) == pytest.approx(np.mean(accuracies))
    assert value(tables.matrices, measure="auc", **cell) == pytest.approx(np.mean(aucs))


def test_a_task_of_fewer_photographs_has_fewer_degrees_of_freedom() -> None:
    sources = sorted(SCORES.source.unique())
    kept = SCORES[(SCORES.task != "warp_b") | SCORES.source.isin(sources[:4])]
    found = estimates.measure(gathered(kept), draws=20)
    assert (found.groups, found.task_groups.tolist()) == (12, [12, 4, 12, 12])
    default, few, many = (estimates.estimate(found, lambda accuracy, _: accuracy[..., -1, 1], PERCENT, groups)
                          for groups in (None, found.task_groups[1], 12))
    np.testing.assert_array_equal(default, many)
    narrow, wide = many[2] - many[1], few[2] - few[1]
    assert (wide[narrow > 0] > narrow[narrow > 0]).all()
    assert (narrow > 0).any()


def test_a_run_is_the_summary_of_its_matrix(tables: Tables) -> None:
    rows = SCORES[(SCORES.method == "ewc") & (SCORES.seed == 1)].assign(right=lambda s: (s.logit > 0) == (s.label == 1))
    matrix = 100 * rows.pivot_table(index="stage", columns="task", values="right")[list(STAGES[-1].seen)].to_numpy()
    expected = continual.summary(matrix, matrix, continual.learned_at(STAGES))
    run = tables.runs.set_index(["method", "seed"]).loc[("ewc", 1)]
    for name in ("aa", "forgetting", "bwt", "fwt"):
        assert run[name] == pytest.approx(expected[name])
    assert list(tables.runs) == ["sequence", "network", "method", "seed", *RUN_METRICS]


def test_the_summary_is_the_mean_over_the_runs_within_its_interval(tables: Tables) -> None:
    means = tables.runs.groupby("method")[list(RUN_METRICS)].mean()
    for row in tables.summary[tables.summary.metric.isin(RUN_METRICS)].itertuples():
        assert row.mean == pytest.approx(means.loc[row.method, row.metric], nan_ok=True)
        if not np.isnan(row.mean):
            assert row.low <= row.mean <= row.high


def test_differences_are_paired(tables: Tables) -> None:
    key = {"method": "ewc", "metric": "aa"}
    paired = value(tables.differences, "high", **key) - value(tables.differences, "low", **key)
    alone = [value(tables.summary, "high", method=method, metric="aa")
             - value(tables.summary, "low", method=method, metric="aa") for method in ("ewc", "finetune")]
    assert value(tables.differences, "low", **key) > 0
    assert paired < sum(alone)


def test_equal_methods_differ_by_exactly_nothing() -> None:
    twin = pd.concat([SCORES[SCORES.method == "kd"], SCORES[SCORES.method == "kd"].assign(method="copy")])
    differences = make_tables(gathered(twin), draws=50).differences
    assert (differences[["mean", "low", "high"]] == 0).all(axis=None)


def test_p_values_are_below_five_percent_where_the_interval_excludes_zero() -> None:
    two = make_tables(gathered(SCORES[SCORES.method.isin(["finetune", "ewc"])]), draws=200).differences
    there = two["p"].notna()
    assert there.sum() >= 5
    excluded = (two["low"] > 0) | (two["high"] < 0)
    assert ((two["p"] < 0.05) == excluded)[there].all()


def test_comparing_more_methods_makes_p_values_larger(tables: Tables) -> None:
    key = {"method": "kd", "metric": "aa"}
    alone = make_tables(gathered(SCORES[SCORES.method.isin(["finetune", "kd"])]), draws=200)
    assert value(tables.differences, "p", **key) >= value(alone.differences, "p", **key)


def test_holm_corrects_in_steps() -> None:
    p = np.array([[0.04, np.nan], [0.01, 0.02], [0.03, 0.5]])
    expected = [[0.06, np.nan], [0.03, 0.04], [0.06, 0.5]]
    np.testing.assert_allclose(estimates.holm(p), expected)


def test_the_gap_closed_is_that_of_the_means() -> None:
    tables = make_tables(gathered(), baseline="finetune", upper="joint", draws=200)
    aa = {method: value(tables.summary, method=method, metric="aa") for method in tables.methods}
    for method in ("kd", "ewc"):
        share = 100 * (aa[method] - aa["finetune"]) / (aa["joint"] - aa["finetune"])
        key = {"method": method, "metric": "gap_closed"}
        assert value(tables.summary, **key) == pytest.approx(share)
        assert value(tables.summary, "low", **key) < share < value(tables.summary, "high", **key)
    assert np.isnan(value(tables.summary, method="joint", metric="gap_closed"))
    none = make_tables(gathered(), baseline="finetune", upper="finetune", draws=50)
    assert none.summary.query("metric == 'gap_closed'")["mean"].isna().all()


def test_tables_do_not_depend_on_the_order_of_the_rows(tables: Tables) -> None:
    mixed = make_tables(gathered(SCORES.sample(frac=1, random_state=0)), draws=2).runs
    keys = ["method", "seed"]
    pd.testing.assert_frame_equal(mixed.sort_values(keys, ignore_index=True),
                                  tables.runs.sort_values(keys, ignore_index=True))


def test_the_same_seed_gives_the_same_intervals(tables: Tables) -> None:
    pd.testing.assert_frame_equal(make_tables(gathered(), draws=200).summary, tables.summary)


def test_joint_has_an_average_accuracy_and_no_forgetting(tables: Tables) -> None:
    assert value(tables.summary, method="joint", metric="aa") > 85
    assert np.isnan(value(tables.summary, method="joint", metric="forgetting"))
    assert not tables.notices


def test_missing_scores_are_named_and_the_rest_is_reported() -> None:
    kept = SCORES[~((SCORES.method == "kd") & (SCORES.seed == 1) & (SCORES.stage == 2))]
    kept = kept[~((kept.method == "ewc") & (kept.seed == 2)) & (kept.task != "sr_d")]
    tables = make_tables(gathered(kept), draws=20)
    assert tables.notices == ("sr_d: no scores", "kd, seed 1: no scores after stage 02_warp_b",
                              "ewc, seed 2: no scores")
    assert value(tables.tasks, method="ewc", task="warp_b", measure="final_accuracy") > 50


def test_an_expected_method_without_scores_is_named_and_left_empty() -> None:
    results = gather(SCORES[SCORES.method != "kd"], sequence="demo", network="convnet", stages=STAGES,
                     methods=("finetune", "kd", "ewc", "joint"), seeds=(0, 1, 2, 3))
    tables = make_tables(results, draws=20)
    assert [f"kd, seed {seed}: no scores" in tables.notices for seed in range(4)] == [True] * 4
    assert "finetune, seed 3: no scores" in tables.notices
    assert tables.methods == ("finetune", "kd", "ewc", "joint")
    assert tables.scored == ("finetune", "ewc", "joint")
    assert np.isnan(value(tables.summary, method="kd", metric="aa"))
    assert value(tables.summary, method="ewc", metric="aa") > 50


def test_a_split_of_one_class_leaves_its_auc_undefined() -> None:
    tables = make_tables(gathered(SCORES[(SCORES.task != "gan-a") | (SCORES.label == 0)]), draws=20)
    assert np.isnan(value(tables.matrices, method="kd", stage=1, task="gan-a", measure="auc"))
    assert value(tables.matrices, method="kd", stage=1, task="gan-a", measure="accuracy") > 50
    assert tables.notices == ("gan-a: all test images are real, so its AUC is undefined",)
    assert np.isnan(value(tables.tasks, method="kd", task="gan-a", measure="fake_accuracy"))


@pytest.mark.parametrize(("broken", "message"), [
    (SCORES.drop(columns="logit"), "lack the column 'logit'"),
    (SCORES.iloc[:0], "no scores"),
    (SCORES.assign(task="gan-z"), "did you mean 'gan-a'"),
    (SCORES.assign(stage=4), "stage 4 is not"),
    (SCORES.assign(logit=np.nan), "not finite"),
    (SCORES.iloc[1:], "same images"),
    (pd.concat([SCORES, SCORES]).assign(label=lambda s: np.r_[s.label[:1] ^ 1, s.label[1:]]), "same images"),
])
def test_bad_scores_end_in_one_message(broken: pd.DataFrame, message: str) -> None:
    with pytest.raises(UserError, match=message):
        gathered(broken)


def test_an_unknown_baseline_is_refused() -> None:
    with pytest.raises(UserError, match="did you mean 'finetune'"):
        make_tables(gathered(), baseline="finetuned", draws=2)


def test_accuracy_of_real_and_fake_images_is_that_of_the_last_stage(tables: Tables) -> None:
    rows = SCORES[(SCORES.method == "kd") & (SCORES.stage == 3) & (SCORES.task == "warp_b")]
    for label, name in enumerate(("real", "fake")):
        right = 100 * ((rows.logit > 0) == label)[rows.label == label]
        assert value(tables.tasks, method="kd", task="warp_b", measure=f"{name}_accuracy") == pytest.approx(
            right.mean())


def test_zero_shot_is_the_score_just_before_learning(tables: Tables) -> None:
    for measure in ("accuracy", "auc"):
        before = value(tables.matrices, method="kd", task="sr_c", stage=2, measure=measure)
        assert value(tables.zero_shot, method="kd", task="sr_c", measure=measure) == pytest.approx(before)
    assert np.isnan(value(tables.zero_shot, method="kd", task="gan-a", measure="auc"))
    mean = value(tables.zero_shot, method="kd", task=ALL_TASKS, measure="accuracy")
    assert mean - 50 == pytest.approx(value(tables.summary, method="kd", metric="fwt"))


def test_groups_are_stages_of_several_tasks_or_else_families() -> None:
    assert groups_of(STAGES, {}) == {"gan-a": ("gan-a",), "warp_b": ("warp_b",), "sr_c_plus1": ("sr_c", "sr_d")}
    alone = make_stages([("a",), ("b",), ("c",)])
    assert groups_of(alone, {"a": "gan", "c": "gan", "b": "blend"}) == {"gan": ("a", "c"), "blend": ("b",)}
    assert groups_of(alone, {"a": "gan"}) == groups_of(alone, {}) == {}


def test_a_group_is_the_mean_of_its_tasks(tables: Tables) -> None:
    each = [value(tables.tasks, method="kd", task=task, measure="final_accuracy") for task in ("sr_c", "sr_d")]
    group = {"method": "kd", "group": "sr_c_plus1"}
    assert value(tables.by_group, measure="final_accuracy", **group) == pytest.approx(np.mean(each))
    assert np.isnan(value(tables.by_group, measure="forgetting", **group))


def test_labels_choose_baseline_and_upper_bound_and_show_what_is_trained() -> None:
    """The first label of `finetune` is the baseline, the first of `joint` the upper bound, whatever their names."""
    def labelled(label: str, method: str, tune: str = "all", **settings: str) -> MethodPlan:
        return MethodPlan(label=label, method=method, network=Plugin(name="timm", settings=settings), tune=tune,
                          training=TrainingConfig())

    names = {"kd_T2": "kd", "plain": "finetune", "plain_head": "ewc", "all_at_once": "joint"}
    scores = SCORES.assign(method=SCORES["method"].map({method: label for label, method in names.items()}))
    plan = Plan(sequence="demo", collection="c", stages=STAGES, network=Plugin(name="timm"), training=TrainingConfig(),
                seeds=(0, 1, 2), methods=(
                    labelled("kd_T2", "kd", architecture="resnet18"), labelled("plain", "finetune"),
                    labelled("plain_head", "finetune", "head"), labelled("all_at_once", "joint")))
    tables = tabulate(gathered(scores), plan=plan, families={})
    assert (tables.baseline, tables.upper, tables.unranked) == ("plain", "all_at_once", ("all_at_once",))
    assert tables.trained == {"kd_T2": ("resnet18", "all"), "plain": ("timm", "all"), "plain_head": ("timm", "head"),
                              "all_at_once": ("timm", "all")}
    assert set(tables.runs.loc[tables.runs["method"] == "kd_T2", "network"]) == {"resnet18"}


def test_fakes_alone_are_judged_with_earlier_reals_and_the_report_says_so() -> None:
    scores, stages = make_scores([("a",), ("b",), ("c",)], methods=("finetune",), seeds=(0,))
    scores = scores[(scores["task"] != "b") | (scores["label"] == 1)]
    results = gather(scores, sequence="demo", network="convnet", stages=stages)
    first, second, _ = results.scores
    assert first is not None
    assert second is not None
    assert len(second.labels) == (first.labels == 0).sum() + (second.labels == 1).sum()
    assert notices(results) == ("b: all test images are fake; they are judged with the real ones of a",)
    last = scores[scores["task"] == "a"]
    assert "AUC is undefined" in notices(gather(last[last["label"] == 1], sequence="demo", network="convnet",
                                                stages=stages))[0]
