"""Finished runs in MLflow: metrics by stage, long settings, files; a server that is gone stops nothing."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from fakemedia.core.errors import UserError
from fakemedia.registry.client import Registry, open_registry
from fakemedia.registry.tracking import LABEL, MAX_CHARACTERS, track_run
from fakemedia.reporting.kept_runs import KeptRun, keep_run, kept_runs

LONG = "x" * 9000


@pytest.fixture
def kept(tmp_path: Path) -> KeptRun:
    report = tmp_path / "demo"
    (report / "tables").mkdir(parents=True)
    pd.DataFrame({"sequence": "demo", "network": "convnet", "method": ["finetune", "kd"], "seed": 0,
                  "aa": [70.0, 80.0]}).to_csv(report / "metrics.csv", index=False)
    pd.DataFrame([{"method": method, "metric": "aa", "mean": 70.0} for method in ("finetune", "kd")]).to_csv(
        report / "tables/summary.csv", index=False)
    pd.DataFrame([{"method": "kd", "measure": measure, "stage": stage, "task": task, "mean": mean, "learned": learned}
                  for measure in ("accuracy", "auc")
                  for stage, task, learned, mean in ((1, "a", 1, 90.0), (1, "b", 2, 50.0), (2, "a", 1, 60.0),
                                                     (2, "b", 2, float("nan")))]).to_csv(
        report / "tables/matrices.csv", index=False)
    keep_run(report, tmp_path / "kept-runs", sequence="demo", facts={"commit": "abc", "machine": "m", "versions": {}},
             configuration={"note": LONG, "methods": [{"label": "kd", "temperature": 2}, {"label": "finetune"}]})
    return kept_runs(tmp_path / "kept-runs")[0][0]


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry("", tmp_path / "registry")


def track(registry: Registry, kept: KeptRun, tmp_path: Path) -> list[str]:
    figures, checkpoint = tmp_path / "figures", tmp_path / "checkpoint"
    for folder, name in ((figures, "matrix.png"), (checkpoint, "weights.safetensors")):
        folder.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"content")
    return track_run(registry, kept, figures, {"kd": checkpoint, "finetune": checkpoint})


def test_a_run_is_logged_once_with_one_entry_for_each_label(registry: Registry, kept: KeptRun, tmp_path: Path) -> None:
    first, second = track(registry, kept, tmp_path)
    records = {each.tags[LABEL]: each for each in registry.records("fakemedia demo")}
    assert {each.run for each in records.values()} == {first, second}
    assert records["kd"].params["methods.kd.temperature"] == "2"
    assert "methods.kd.temperature" not in records["finetune"].params
    assert len(records["kd"].params["note"]) == MAX_CHARACTERS
    assert records["kd"].metrics["accuracy/a"] == 60.0  # the last stage's; the first is in the history
    assert records["kd"].metrics["final/aa"] == 70.0
    assert "accuracy/b" in records["kd"].metrics  # known at stage 1; undefined at stage 2
    files = registry.files(first)
    assert (files / "report.html").exists() == (kept.folder / "report.html").exists()
    assert (files / "figures" / "matrix.png").is_file()
    assert (registry.files(second) / "checkpoint" / "weights.safetensors").is_file()
    assert track(registry, kept, tmp_path) == []


def test_a_server_that_is_gone_is_one_message(kept: KeptRun, tmp_path: Path) -> None:
    with pytest.raises(UserError):
        track(open_registry("http://127.0.0.1:9", tmp_path / "registry"), kept, tmp_path)
