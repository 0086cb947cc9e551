"""The gate: from the scores of two detectors to a report."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pandas as pd
import pytest

from fakemedia.context.context import Context
from fakemedia.core.errors import UserError
from fakemedia.pipelines.promotion.nodes import write_gate_report
from fakemedia.registry.gate import Judged, describe, judge
from fakemedia.registry.gate_cases import judge_cases, read_cases
from fakemedia.registry.gate_config import GateConfig
from fakemedia.registry.promotion import read_gate
from fakemedia.reporting.gate_page import gate_page
from tests.scoring import calibration

TASKS = ("one", "two", "new")
COUNT = 400


def detector(number: int, right: dict[str, tuple[float, float]], tasks: tuple[str, ...],
             fakes_only: tuple[str, ...] = ()) -> Judged:
    """Return a detector that has these shares of the real and fake pictures of each task right, the first ones."""
    tables = []
    for task, shares in right.items():
        for label, share in enumerate(shares):
            if label == 0 and task in fakes_only:
                continue
            says_fake = (np.arange(COUNT) < round(share * COUNT)) == bool(label)
            ids = [f"{task}{label}{at}" for at in range(COUNT)]
            tables.append(pd.DataFrame({"id": ids, "task": task, "label": label, "source": ids,
                                        "logit": np.where(says_fake, 2.0, -2.0)}))
    found = replace(calibration("w", temperature=1.0), threshold=0.5, unsure_low=0.5, unsure_high=0.5)
    return Judged(number=number, content=f"content{number}", origin=f"origin{number}", tasks=tasks, calibration=found,
                  scores=pd.concat(tables, ignore_index=True))


GOOD = {"one": (0.96, 0.95), "two": (0.97, 0.9)}
CHAMPION = detector(1, {**GOOD, "new": (0.97, 0.5)}, TASKS[:2])
CANDIDATE = detector(2, {**GOOD, "new": (0.97, 0.8)}, TASKS)


def test_equal_on_the_old_and_better_on_the_new_passes(tmp_path: Path) -> None:
    report = judge(CHAMPION, CANDIDATE, GateConfig())
    assert report["outcome"] == "pass"
    assert report["reasons"] == []
    assert [(row["task"], row["role"]) for row in report["tasks"]] == [
        ("one", "old"), ("two", "old"), ("mean of the old tasks", "mean"), ("new", "new")]
    assert report["tasks"][3]["difference"] == pytest.approx(15)
    path = tmp_path / "gate.json"
    path.write_text(json.dumps(report, allow_nan=False))
    assert read_gate(path).candidate == "content2"
    page = gate_page(report)
    assert "The candidate may be promoted." in page
    assert "id=\"why\"" not in page
    assert "above -2, each of them where it is above -3" in page
    assert "the centre crop by the champion, the centre crop by the candidate" in page
    assert "two" in describe(report)


def test_a_loosened_gate_says_so_wherever_it_is_shown(tmp_path: Path) -> None:
    usual, loose = (judge(CHAMPION, CANDIDATE, config) for config in (GateConfig(false_alarms=5), GateConfig(delta=50)))
    assert usual["loosened"] == []
    assert "loosened" not in gate_page(usual) + describe(usual)
    assert "The gate was loosened: delta 50 instead of 2." in gate_page(loose)
    assert "loosened gate: delta 50 instead of 2" in describe(loose)
    path = tmp_path / "gate.json"
    path.write_text(json.dumps(loose))
    assert read_gate(path).loosened == ("delta 50 instead of 2",)


@pytest.mark.parametrize(("changed", "outcome", "reason"), [
    ({"two": (0.97, 0.84)}, "fail", "two: -3.0 points"),
    ({"two": (0.945, 0.875)}, "too few to tell", "two: a loss of 3 points cannot be ruled out: about"),
    ({"two": (0.97, 0.8425)}, "too few to tell", "too close to the limit for fewer than 100,000 more test pictures"),
    ({"one": (0.94, 0.93), "two": (0.95, 0.88)}, "fail", "mean of the old tasks: -2.0 points"),
    ({"one": (0.945, 0.935), "two": (0.955, 0.885)}, "too few to tell", "mean of the old tasks: a loss of 2 points"),
    ({"new": (0.97, 0.5)}, "fail", "not better on the new task"),
    ({"new": (0.97, 0.505)}, "too few to tell", "the gain on the new task is not certain"),
    ({"new": (0.6, 0.99)}, "fail", "15.7 % of the real pictures are called fake"),
])
def test_what_does_not_pass(changed: dict, outcome: str, reason: str) -> None:
    other = detector(2, {**GOOD, "new": (0.97, 0.8), **changed}, TASKS)
    report = judge(CHAMPION, other, GateConfig())
    assert report["outcome"] == outcome
    assert any(reason in each for each in report["reasons"]), report["reasons"]
    assert "Why" in gate_page(report)


def test_a_champion_with_many_false_alarms_may_be_replaced_by_no_more() -> None:
    many = {"one": (0.8, 0.95), "two": (0.8, 0.9)}
    champion = detector(1, {**many, "new": (0.8, 0.5)}, TASKS[:2])
    assert judge(champion, detector(2, {**many, "new": (0.8, 0.8)}, TASKS), GateConfig())["outcome"] == "pass"
    report = judge(champion, detector(2, {**many, "new": (0.6, 0.99)}, TASKS), GateConfig())
    assert report["false_alarms"]["outcome"] == "fail"


def test_a_new_task_of_fakes_only_is_set_against_the_real_pictures_of_the_others() -> None:
    champion, candidate = (detector(each.number, right, each.tasks, fakes_only=("new",)) for each, right in (
        (CHAMPION, {**GOOD, "new": (0, 0.5)}), (CANDIDATE, {**GOOD, "new": (0, 0.8)})))
    report = judge(champion, candidate, GateConfig())
    assert report["outcome"] == "pass"
    assert report["tasks"][3]["real"] == 2 * COUNT
    assert report["tasks"][3]["difference"] == pytest.approx(15)


def test_a_single_old_task_may_lose_what_the_mean_may() -> None:
    champion, candidate = (replace(each, tasks=("one",), scores=each.scores.loc[each.scores["task"] == "one"])
                           for each in (CHAMPION, detector(2, {"one": (0.94, 0.93)}, ("one",))))
    report = judge(champion, candidate, GateConfig())
    assert [(row["task"], row["outcome"]) for row in report["tasks"]] == [("one", "fail")]
    assert "The old task passes where the lower bound is above -2." in gate_page(report)


def test_an_unlearned_task_is_named_and_not_compared() -> None:
    champion = replace(CHAMPION, tasks=TASKS)
    candidate = replace(detector(2, {**GOOD, "new": (0.97, 0.1)}, TASKS[:2]), unlearned=("new",))
    report = judge(champion, candidate, GateConfig())
    assert report["outcome"] == "pass"
    assert report["unlearned"] == ["new"]
    assert "Unlearned, not compared: new." in gate_page(report)
    lost = judge(champion, replace(candidate, unlearned=()), GateConfig())
    assert lost["outcome"] == "fail"
    assert lost["reasons"] == ["new: the candidate has never learned it, and it was not taken out by kedro unlearn"]
    with pytest.raises(UserError, match="no task in common"):
        judge(champion, replace(candidate, tasks=()), GateConfig())


def test_detectors_that_cannot_be_compared() -> None:
    with pytest.raises(UserError, match="Version 2 is not calibrated"):
        judge(CHAMPION, replace(CANDIDATE, calibration=None), GateConfig())
    with pytest.raises(UserError, match="different pictures"):
        judge(CHAMPION, replace(CANDIDATE, scores=CANDIDATE.scores.iloc[1:]), GateConfig())
    fakes = [replace(each, scores=each.scores.loc[each.scores["label"] == 1]) for each in (CHAMPION, CANDIDATE)]
    with pytest.raises(UserError, match="No test picture is real"):
        judge(fakes[0], fakes[1], GateConfig())


def test_a_regression_case_fails(tmp_path: Path) -> None:
    cases = pd.DataFrame({"path": list("abcd"), "answer": ["fake", "real", "real", "fake"]})
    found = judge_cases(cases, np.array([True, True, False, False]), np.array([True, False, True, False]))
    assert [case["outcome"] for case in found] == ["right", "fixed", "regression", "known miss"]
    report = judge(CHAMPION, CANDIDATE, GateConfig(), found)
    assert report["outcome"] == "fail"
    assert report["reasons"] == ["regression case c: the champion is right and the candidate is wrong"]
    assert "regression" in gate_page(report)
    assert judge(CHAMPION, CANDIDATE, GateConfig(), found[:2])["outcome"] == "pass"


def test_tables_of_cases(tmp_path: Path) -> None:
    assert read_cases(tmp_path / "none").empty
    (tmp_path / "a.png").touch()
    with pytest.raises(UserError, match="no table of right answers"):
        read_cases(tmp_path)
    table = tmp_path / "cases.csv"
    for text, told in (("path\na.png\n", "cannot be read"), ("path,answer\na.png,yes\n", "'yes' is no answer"),
                       ("path,answer\nb.png,real\n", "no picture")):
        table.write_text(text)
        with pytest.raises(UserError, match=told):
            read_cases(tmp_path)
    table.write_text("path,answer,who\na.png,fake,ada\n")
    assert read_cases(tmp_path).to_dict("records") == [{"path": "a.png", "answer": "fake"}]


def test_a_report_goes_to_the_storage_too(tmp_path: Path) -> None:
    context = Context(root=tmp_path, parameters={"storage": {"address": "memory://gates/mine"}},
                      catalog={"gate_reports": {"filepath": "data/08_reporting/gate"}})
    path = write_gate_report(judge(CHAMPION, CANDIDATE, GateConfig()), context=context)
    there = fsspec.filesystem("memory")
    for name in ("2-against-1.json", "2-against-1.html"):
        assert there.cat_file(f"/gates/mine/data/08_reporting/gate/{name}") == path.with_name(name).read_bytes()
