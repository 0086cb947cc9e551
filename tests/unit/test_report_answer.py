"""The result in words, on results made by hand."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest

from fakemedia.core.rng import generator
from fakemedia.core.types import make_stages
from fakemedia.reporting.answer import Answer, answer
from fakemedia.reporting.estimates import MIN_SEEDS
from fakemedia.reporting.grids import best_note, cost_grid, difference_note, method_note, seeds_note
from fakemedia.reporting.results import gather
from fakemedia.reporting.tables import Tables, make_tables

from ..scores import make_scores

STAGES = make_stages([("gan",), ("warp",)])
IMAGES, PHOTOGRAPHS = 160, 40
MATRICES = {
    # Percent classified correctly on gan and warp, after gan and after warp.
    "finetune": [[95, 52], [55, 95]],
    "kd": [[95, 52], [90, 92]],
    "ewc": [[95, 52], [56, 94]],
    "joint": [[None, None], [96, 96]],
}


def results(matrices: dict[str, list[list[float | None]]], seeds: int = 3) -> pd.DataFrame:
    """Return scores of each method and seed that classify so many images correctly."""
    parts = []
    for method, matrix in matrices.items():
        for seed in range(seeds):
            for stage, row in zip(STAGES, matrix, strict=True):
                for task, share in zip(STAGES[-1].seen, row, strict=True):
                    if share is None:
                        continue
                    rng = generator(seed, method, stage.index, task)
                    label = np.arange(IMAGES) % 2
                    right = rng.uniform(size=IMAGES) < share / 100
                    logit = np.where(right == (label == 1), 1.0, -1.0) + 0.2 * rng.normal(size=IMAGES)
                    parts.append(pd.DataFrame({
                        "method": method, "seed": seed, "stage": stage.index, "task": task,
                        "id": [f"{task}-{i}" for i in range(IMAGES)], "label": label, "logit": logit,
                        "source": [f"photograph-{i // 2 % PHOTOGRAPHS}" for i in range(IMAGES)]}))
    return pd.concat(parts, ignore_index=True)


def told(scores: pd.DataFrame, *, seeds: int = 3, methods: tuple[str, ...] = (),
         planned: dict[str, tuple[int, ...]] | None = None) -> Answer:
    return answer(tabulated(scores, seeds=seeds, methods=methods, planned=planned))


def tabulated(scores: pd.DataFrame, *, seeds: int = 3, methods: tuple[str, ...] = (),
              planned: dict[str, tuple[int, ...]] | None = None) -> Tables:
    gathered = gather(scores, sequence="demo", network="convnet", stages=STAGES, methods=methods, seeds=range(seeds),
                      planned=planned)
    upper = "joint" if "joint" in gathered.methods else None
    return make_tables(gathered, baseline="finetune", upper=upper, draws=200)


def test_one_method_helps() -> None:
    found = told(results(MATRICES))
    first, gap, lost, advice = found.sentences
    assert first.startswith("Better than finetune in average accuracy: kd by ")
    assert "ewc" not in first
    assert "(3 seeds, 40 source photographs)" in first
    assert "joint, trained on all tasks at once, reaches 9" in gap
    assert "kd closes" in gap
    assert lost == "kd has forgotten no task by 10 points or more."
    assert advice.startswith("Use kd: it classifies at least 80 %")
    assert found.command == "kedro score my_pictures --checkpoint demo/kd"


def test_nothing_helps() -> None:
    equal = dict.fromkeys(("finetune", "kd", "ewc"), MATRICES["finetune"]) | {"joint": MATRICES["joint"]}
    first, gap, lost, advice = told(results(equal)).sentences
    assert first.startswith("No method beats finetune in average accuracy: the differences are not significant")
    assert "a gap of" in gap
    assert gap.endswith("no method closes a significant share of it.")
    assert "has forgotten gan (9" in lost
    assert "no threshold brings it back (AUC below 0.8)" in lost
    assert advice.startswith("No continual method is fit for use")
    assert "joint, which needs the data of all tasks, is fit for use" in advice


def test_a_lost_task_that_a_threshold_brings_back() -> None:
    """All images of the task are called real after the last stage, but the fake ones still score higher."""
    scores = results({"finetune": [[98, 50], [98, 98]]})
    rows = (scores["stage"] == 2) & (scores["task"] == "gan")
    scores.loc[rows, "logit"] -= 5
    lost = next(sentence for sentence in told(scores).sentences if "has forgotten" in sentence)
    assert "gan (98 to 50 %, AUC 0.9" in lost
    assert "another threshold could bring it back" in lost


def test_all_at_chance() -> None:
    found = told(results({name: [[50, 50], [50, 50]] for name in ("finetune", "kd", "joint")}))
    assert found.sentences[0].startswith("Nothing was learned")
    assert "No detector is fit for use" in found.sentences[1]
    assert not any("Use " in sentence for sentence in found.sentences)


@pytest.mark.parametrize("seeds", [1, 2])
def test_few_seeds_claim_nothing(seeds: int) -> None:
    found = told(results(MATRICES, seeds=seeds), seeds=seeds)
    assert found.sentences[0].startswith("Whether any method beats finetune is not known: kd is ahead of finetune by ")
    assert "fewer than 3 seeds" in found.sentences[0]
    assert not any(sentence.startswith("Better") for sentence in found.sentences)
    assert not any("closes" in sentence for sentence in found.sentences)
    assert found.command == "kedro run --pipelines demo --params n_seeds=3"


def test_missing_runs_are_said() -> None:
    scores = results(MATRICES)
    scores = scores[~((scores["method"] == "kd") & (scores["seed"] == 2))]
    found = told(scores)
    assert "missing or undefined (one warning below)" in found.sentences[-1]
    assert found.command == "kedro run --pipelines demo --only-missing-outputs"
    alone = told(scores[scores["method"] == "finetune"], methods=("finetune", "kd"))
    assert alone.sentences[0].startswith("Only finetune was scored")
    assert any("no upper bound" in sentence for sentence in alone.sentences)
    no_last = told(scores[(scores["stage"] == 1)])
    assert no_last.sentences == ("No method has been scored after the last stage: there is no result yet.",)


def test_the_best_says_what_it_cannot_be_told_from() -> None:
    twins = {**MATRICES, "ewc": MATRICES["kd"]}
    advice = told(results(twins)).sentences[3]
    assert advice.startswith(("Use kd (not distinguishable from ewc)", "Use ewc (not distinguishable from kd)"))


def test_many_forgotten_tasks_are_counted_and_the_worst_are_named() -> None:
    tasks = tuple(f"task{number}" for number in range(6))
    scores, stages = make_scores([(task,) for task in tasks], methods=("finetune",), images=60, photographs=20)
    gathered = gather(scores, sequence="demo", network="convnet", stages=stages)
    sentence = next(line for line in answer(make_tables(gathered, draws=20)).sentences if "has forgotten" in line)
    assert re.match(r"finetune has forgotten \d of 6 tasks, most of all task\d \(", sentence)
    assert sentence.count("AUC 0.") <= 3 + 1
    assert len(sentence) < 300


def test_a_task_of_one_class_leaves_open_whether_a_threshold_helps() -> None:
    scores = results({"finetune": [[95, 50], [55, 95]]})
    found = told(scores[(scores["task"] != "gan") | (scores["label"] == 0)])
    sentence = next(line for line in found.sentences if "has forgotten" in line)
    assert "threshold" not in sentence
    assert "nan" not in " ".join(found.sentences)


def test_methods_with_different_numbers_of_seeds_are_compared_only_where_both_have_enough() -> None:
    """ewc alone has one seed; then the baseline alone."""
    scores, all_seeds = results(MATRICES), tuple(range(MIN_SEEDS))
    one = {"finetune": all_seeds, "kd": all_seeds, "ewc": (0,), "joint": all_seeds}
    kept = scores.loc[(scores["method"] != "ewc") | (scores["seed"] == 0)]
    tables, whole = tabulated(kept, planned=one), tabulated(scores)
    assert "ewc, seed 1: no scores" in tabulated(kept).notices
    assert not tables.notices
    assert seeds_note(tables) == "Mean over 3 seeds (finetune, kd, joint), 1 seed (ewc)"
    assert seeds_note(whole) == "Mean over 3 seeds"
    assert "other training runs where there are several seeds" in method_note(tables)
    assert "Not compared, with fewer than 3 seeds: ewc" in best_note(tables)
    both = tables.summary.merge(whole.summary, on=["method", "metric"])
    others = both["method"] != "ewc"
    pd.testing.assert_series_equal(both.loc[others, "low_x"], both.loc[others, "low_y"], check_names=False)
    alone = tables.summary.loc[(tables.summary["method"] == "ewc") & (tables.summary["metric"] == "aa")].iloc[0]
    assert alone["low"] < alone["mean"] < alone["high"]
    assert not tables.summary.loc[tables.summary["method"] == "ewc", "best"].any()
    p = tables.differences.set_index(["method", "metric"])["p"]
    assert np.isnan(p["ewc", "aa"])
    assert p["kd", "aa"] < 0.05
    costs = pd.DataFrame([{"method": method, "metric": "seconds", "mean": 2.0, "low": 1.0, "high": 3.0}
                          for method in tables.methods])
    grid = cost_grid(costs, tables)
    column = next(place for place, values in enumerate(grid.mean.T) if np.isfinite(values).any())
    assert np.isnan(grid.low[:, column]).tolist() == [method == "ewc" for method in tables.methods]
    found = answer(tables)
    assert found.sentences[0].startswith("Better than finetune in average accuracy: kd by ")
    assert found.command.endswith("n_seeds=3")

    few = {"finetune": (0,), **dict.fromkeys(("kd", "ewc", "joint"), all_seeds)}
    tables = tabulated(scores.loc[(scores["method"] != "finetune") | (scores["seed"] == 0)], planned=few)
    assert "fewer than 3 seeds of finetune" in difference_note(tables)
    assert "(one seed" in answer(tables).sentences[0]
    assert "Whether any method beats finetune is not known" in answer(tables).sentences[0]
    assert tables.summary.loc[(tables.summary["method"] == "kd") & (tables.summary["metric"] == "aa"), "best"].all()
