"""Finished runs: kept under an id, listed, compared."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fakemedia.core.errors import UserError
from fakemedia.reporting.kept_runs import FACTS, METRICS, TABLE, choose_runs, keep_run, kept_runs
from fakemedia.reporting.runs_page import differing_settings, runs_page, runs_table

FACTS_OF_RUN = {"commit": "abc", "machine": "one", "versions": {"python": "3"}}


def report(folder: Path, accuracy: float = 80.0, sequence: str = "demo") -> Path:
    (folder / "tables").mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"sequence": sequence, "network": "convnet", "method": ["finetune", "kd"], "seed": 0,
                  "aa": [accuracy, accuracy + 1]}).to_csv(folder / METRICS, index=False)
    pd.DataFrame([{"method": method, "metric": metric, "mean": accuracy, "low": accuracy - 5, "high": accuracy + 5,
                   "best": False} for method in ("finetune", "kd") for metric in ("aa", "forgetting", "fwt")]
                 ).to_csv(folder / "tables" / "summary.csv", index=False)
    (folder / "report.html").write_text("<p>report</p>")
    (folder / "headline.txt").write_text("headline")
    return folder


def keep(tmp_path: Path, accuracy: float = 80.0, sequence: str = "demo", lr: float = 0.1) -> str:
    return keep_run(report(tmp_path / sequence, accuracy, sequence), tmp_path / "kept-runs", sequence=sequence,
                    configuration={"training": {"lr": lr}, "methods": [{"label": "kd", "temperature": 2}]},
                    facts=FACTS_OF_RUN)


def test_each_run_is_kept_and_listed(tmp_path: Path) -> None:
    ids = [keep(tmp_path), keep(tmp_path, 81.0), keep(tmp_path, 70.0, "other")]
    runs, damaged = kept_runs(tmp_path / "kept-runs")
    assert sorted(run.id for run in runs) == sorted(ids)
    assert damaged == []
    first = next(run for run in runs if run.id == ids[0])
    assert first.metrics()["aa"].tolist() == [80.0, 81.0]  # the later run did not replace it
    table = pd.read_csv(tmp_path / TABLE)
    assert len(table) == 6
    assert set(table["run"]) == set(ids)


def test_a_run_that_changes_nothing_keeps_its_id(tmp_path: Path) -> None:
    assert keep(tmp_path) == keep(tmp_path)
    assert len(kept_runs(tmp_path / "kept-runs")[0]) == 1
    assert keep(tmp_path, lr=0.2) != keep(tmp_path)


@pytest.mark.parametrize("damage", ["{", "[]", "{}"])
def test_damaged_run_is_named(tmp_path: Path, damage: str) -> None:
    good, bad = keep(tmp_path), keep(tmp_path, 81.0)
    (tmp_path / "kept-runs" / bad / FACTS).write_text(damage)
    runs, damaged = kept_runs(tmp_path / "kept-runs")
    assert [run.id for run in runs] == [good]
    assert damaged == [bad]
    page = runs_page(runs, damaged)
    assert bad in page
    assert "One finished run" in page


def test_choice_by_prefix_and_by_sequence(tmp_path: Path) -> None:
    first, second = keep(tmp_path), keep(tmp_path, 70.0, "other")
    runs, _ = kept_runs(tmp_path / "kept-runs")
    assert {run.id for run in choose_runs(runs, [], where="x")} == {first, second}
    assert [run.id for run in choose_runs(runs, ["other"], where="x")] == [second]
    assert [run.id for run in choose_runs(runs, [first[:-1]], where="x")] == [first]
    with pytest.raises(UserError, match="run"):
        choose_runs(runs, ["nothing"], where="x")
    with pytest.raises(UserError, match="no finished runs"):
        choose_runs([], [], where="x")


def test_page_shows_every_label_and_what_differs(tmp_path: Path) -> None:
    keep(tmp_path), keep(tmp_path, 70.0, "other", lr=0.2)
    runs, _ = kept_runs(tmp_path / "kept-runs")
    table = runs_table(runs)
    assert set(table["metric"]) == {"aa", "forgetting"}
    assert len(table) == 8
    assert differing_settings(runs) == [("training.lr", [json.dumps(run.facts["configuration"]["training"]["lr"])
                                                         for run in runs])]
    page = runs_page(runs, [])
    assert all(run.id in page for run in runs)
    assert "training.lr" in page
    assert "methods.kd.temperature" not in page


def test_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("shutil.copyfile", fail)
    with pytest.raises(UserError, match="No space"):
        keep(tmp_path)
    assert list((tmp_path / "kept-runs").iterdir()) == []


def test_a_kept_report_links_to_nothing_that_was_not_kept(tmp_path: Path) -> None:
    keep(tmp_path)
    folder = report(tmp_path / "linked", 90.0)
    (folder / "report.html").write_text(
        '<a href="tables/">tables</a>, <a href="figures/">figures</a>, <a href="#">a</a>')
    kept = tmp_path / "kept-runs" / keep_run(folder, tmp_path / "kept-runs", sequence="demo", configuration={},
                                             facts=FACTS_OF_RUN)
    assert (kept / "report.html").read_text() == '<a href="tables/">tables</a>, figures, <a href="#">a</a>'
