"""The real pipeline from photographs to report, and what a second run makes anew."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from fakemedia.learning import trainer
from tests.pipeline.conftest import change, run

FIGURES = ("average_accuracy", "average_auc", "forgetting", "learning_accuracy", "final_accuracy", "real_fake",
           "groups_of_tasks", "reliability", "training_curves",
           *(f"{kind}_{method}" for kind in ("matrix", "roc", "scores")
             for method in ("finetune", "kd", "ewc", "joint")))
TABLES = {"summary": 1, "matrices": 4, "zero_shot": 2, "costs": 1}
"""Number of tables in each file."""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of stages that get trained, as `method stage`."""
    seen: list[str] = []
    real = trainer.train_stage

    def noted(network, strategy, stage, *args, **kwargs):
        seen.append(f"{kwargs['label'].split()[0]} {stage.key}")
        return real(network, strategy, stage, *args, **kwargs)

    monkeypatch.setattr("fakemedia.learning.sequence.train_stage", noted)
    return seen


def checkpoints(project: Path) -> dict[str, bytes]:
    folder = project / "data" / "06_models"
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*") if path.is_file() and path.suffix != ".jsonl"}


def scores(project: Path) -> dict[str, bytes]:
    return {str(path.relative_to(project)): path.read_bytes()
            for path in (project / "data" / "07_model_output").rglob("*.parquet")}


def test_run_makes_the_report_and_repeats_only_what_changed(project: Path, trained: list[str]) -> None:
    run(project)
    assert sorted(trained) == ["ewc 01_gan", "ewc 02_latent", "finetune 01_gan", "finetune 02_latent",
                               "joint 02_latent", "kd 01_gan", "kd 02_latent"]
    report = project / "data" / "08_reporting" / "tiny"
    metrics = pd.read_csv(report / "metrics.csv")
    assert list(metrics.columns) == ["sequence", "network", "method", "seed", "aa", "forgetting", "bwt", "fwt",
                                     "c_auc", "fwt_auc"]
    assert set(metrics["method"]) == {"finetune", "kd", "ewc", "joint"}
    for name in FIGURES:
        assert (report / "figures" / f"{name}.png").read_bytes().startswith(b"\x89PNG")
        assert (report / "figures" / f"{name}.pdf").read_bytes().startswith(b"%PDF")
    calibrated = pd.read_csv(report / "calibration.csv")
    assert len(calibrated) == 7 * 2
    assert set(calibrated.loc[~calibrated["seen"], "task"]) == {"latent"}
    last = calibrated[(calibrated["method"] == "kd") & (calibrated["stage"] == 2)]
    saved = json.loads((project / "data/06_models/tiny/kd/seed0/02_latent/calibration.json").read_text())
    assert saved["tasks"] == ["gan", "latent"]
    assert saved["images"] == 32
    assert last["temperature"].tolist() == pytest.approx([saved["temperature"]] * 2)
    validation = pd.read_parquet(project / "data/07_model_output/tiny/kd/seed0/01_gan.validation.parquet")
    assert validation.groupby("task").size().to_dict() == {"gan": 16}
    for measure in ("fingerprint", "transfer"):
        distances = pd.read_csv(report / "similarity" / f"{measure}.csv", index_col="task")
        assert list(distances.index) == list(distances.columns) == ["gan", "latent"]
        assert distances.loc["gan", "latent"] > 0
        assert (report / "similarity" / f"{measure}.png").read_bytes().startswith(b"\x89PNG")
    page = (report / "report.html").read_text()
    assert "data:image" in page
    assert "http" not in page.replace("http://www.w3.org", "")
    assert "left out of training and evaluation" in page
    assert "Look out" not in page
    for name, count in TABLES.items():
        assert len(pd.read_csv(report / "tables" / f"{name}.csv")) > 0
        assert (report / "tables" / f"{name}.tex").read_text().count("\\toprule") == count
        assert (report / "tables" / f"{name}.md").read_text().count("| ---") >= count
    table = pd.read_parquet(project / "data/07_model_output/tiny/kd/seed0/01_gan.parquet")
    assert table.groupby("task").size().to_dict() == {"gan": 32, "latent": 32}

    first = checkpoints(project)
    trained.clear()
    run(project)
    assert trained == []
    drawn = {path: path.stat().st_mtime_ns for path in (project / "data/08_reporting").rglob("*")}
    run(project, only_missing_outputs=True)
    assert trained == []
    assert {path: path.stat().st_mtime_ns for path in (project / "data/08_reporting").rglob("*")} == drawn
    assert checkpoints(project) == first

    change(project, {"sequences": {"tiny": {"methods": {"kd": {"temperature": 3.0}}}}})
    run(project, only_missing_outputs=True)
    assert sorted(trained) == ["kd 01_gan", "kd 02_latent"]
    after = checkpoints(project)
    assert {name for name in first if first[name] != after[name]} == {
        name for name in first if name.startswith("tiny/kd/")} - unchanged_weights(first, after)

    trained.clear()
    shutil.rmtree(project / "data/06_models/tiny/ewc/seed0/01_gan")
    run(project, only_missing_outputs=True)
    assert trained == ["ewc 01_gan"]
    assert checkpoints(project) == after

    change(project, {"calibration": {"target": 0.9}})
    trained.clear()
    run(project, only_missing_outputs=True)
    assert trained == []
    calibrated_anew = checkpoints(project)
    assert {name for name in after if calibrated_anew[name] != after[name]} == {
        name for name in after if name.endswith("calibration.json")}
    after = calibrated_anew

    scored = scores(project)
    shutil.rmtree(project / "data/06_models")
    shutil.rmtree(project / "data/07_model_output")
    trained.clear()
    run(project, only_missing_outputs=True)
    assert len(trained) == 7
    assert checkpoints(project) == after
    assert scores(project) == scored

    local = project / "conf/local/parameters.yml"
    parameters = yaml.safe_load(local.read_text())
    del parameters["sequences"]["tiny"]["methods"]["kd"]
    local.write_text(yaml.safe_dump(parameters))
    trained.clear()
    run(project, only_missing_outputs=True)
    assert trained == []
    assert set(pd.read_csv(report / "metrics.csv")["method"]) == {"finetune", "ewc", "joint"}

    unperturbed = scores(project)
    change(project, {"robustness": {"sequences": "tiny", "per_task_max": 4}})
    run(project, only_missing_outputs=True)
    assert trained == []
    perturbed = scores(project)
    names = {f"data/07_model_output/tiny/{method}/seed0/robustness.parquet" for method in ("finetune", "ewc", "joint")}
    assert set(perturbed) - set(unperturbed) == names
    table = pd.read_parquet(project / min(names))
    assert table.groupby(["perturbation", "strength", "task"]).size().unique().tolist() == [4]
    assert {"none", "jpeg", "blur"} <= set(table["perturbation"])
    written = {name: (project / name).stat().st_mtime_ns for name in names}
    run(project, only_missing_outputs=True)
    assert {name: (project / name).stat().st_mtime_ns for name in names} == written
    change(project, {"robustness": {"per_task_max": 2}})
    run(project, tags=["robustness"])
    assert {len(pd.read_parquet(project / name)) for name in names} == {len(table) // 2}
    curves = pd.read_csv(report / "tables" / "robustness.csv")
    assert set(curves["perturbation"]) == set(table["perturbation"])
    assert (report / "tables" / "robustness.tex").read_text().count("\\toprule") == 2
    assert (report / "figures" / "robustness.png").read_bytes().startswith(b"\x89PNG")
    assert 'id="figure-robustness"' in (report / "report.html").read_text()


def unchanged_weights(first: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    """Return the files of the first stage, where distillation has no teacher: another setting, the same weights."""
    return {name for name in first if name.startswith("tiny/kd/seed0/01_gan/") and name.endswith(".safetensors")
            and first[name] == after[name]} | {"tiny/kd/seed0/01_gan/calibration.json"} | {
        name for name in first if name.startswith("tiny/kd/") and name.endswith("strategy.safetensors")}


def test_changed_data_retrains_what_read_it(project: Path, trained: list[str]) -> None:
    run(project)
    trained.clear()
    change(project, {"collections": {"tiny": {"forge": {"tasks": {"latent": {"family": "latent", "factor": 2}}}}}})
    run(project, only_missing_outputs=True)
    assert sorted(trained) == ["ewc 02_latent", "finetune 02_latent", "joint 02_latent", "kd 02_latent"]


def test_one_more_task_is_learned_on_top_of_what_is_there(project: Path, trained: list[str]) -> None:
    run(project, tags=["ingestion", "kd"])
    before = checkpoints(project)
    trained.clear()
    change(project, {
        "sequences": {"tiny": {"tasks": ["gan", "latent", "sr"]}},
        "collections": {"tiny": {"forge": {"tasks": {"sr": {"family": "superresolution"}}}}},
    })
    run(project, tags=["ingestion", "kd"], only_missing_outputs=True)
    assert trained == ["kd 03_sr"]
    after = checkpoints(project)
    assert {name: after[name] for name in before} == before
    rescored = pd.read_parquet(project / "data/07_model_output/tiny/kd/seed0/01_gan.parquet")
    assert set(rescored["task"]) == {"gan", "latent", "sr"}


def test_a_stale_checkpoint_is_never_used(project: Path, trained: list[str]) -> None:
    run(project, tags=["ingestion", "kd"])
    meta = project / "data/06_models/tiny/kd/seed0/01_gan/checkpoint.json"
    facts = json.loads(meta.read_text())
    meta.write_text(json.dumps({**facts, "fingerprint": "of other parameters"}))
    trained.clear()
    run(project, tags=["kd"])
    assert trained == ["kd 01_gan"]
    assert json.loads(meta.read_text()) == facts
