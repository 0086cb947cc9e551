"""The real pipeline from photographs to report, and what a second run makes anew."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml
from click.testing import CliRunner

from fakemedia.learning import trainer
from tests.figures import stub_figures
from tests.pipeline.conftest import change, make_project, run

FIGURES = ("average_accuracy", "average_auc", "forgetting", "learning_accuracy", "final_accuracy", "real_fake",
           "groups_of_tasks", "reliability", "pairs", "novelty", "training_curves",
           *(f"{kind}_{method}" for kind in ("matrix", "roc", "scores")
             for method in ("finetune", "kd", "ewc", "joint")))
TABLES = {"summary": 1, "matrices": 4, "zero_shot": 2, "novelty": 1, "costs": 1}
"""Number of tables in each file."""


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the list of stages that get trained, as `method stage`."""
    return note_training(monkeypatch)


def note_training(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    seen: list[str] = []
    real = trainer.StageTrainer.train

    def noted(self, method, stage, detector):
        seen.append(f"{self.label.split()[0]} {stage.key}")
        return real(self, method, stage, detector)

    monkeypatch.setattr(trainer.StageTrainer, "train", noted)
    return seen


def checkpoints(project: Path) -> dict[str, bytes]:
    folder = project / "data" / "06_models"
    return {str(path.relative_to(folder)): path.read_bytes()
            for path in folder.rglob("*")
            if path.is_file() and path.suffix != ".jsonl" and path.parent.name != ".manifest"}


def written(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*")}


def scores(project: Path) -> dict[str, bytes]:
    return {str(path.relative_to(project)): path.read_bytes()
            for path in (project / "data" / "07_model_output").rglob("*.parquet")}


def unchanged_weights(first: dict[str, bytes], after: dict[str, bytes]) -> set[str]:
    """Return the files of the first stage, where distillation has no teacher: another setting, the same weights."""
    return {name for name in first if name.startswith("tiny/kd/seed0/01_gan/") and name.endswith(".safetensors")
            and first[name] == after[name]} | {
                f"tiny/kd/seed0/01_gan/{name}.json" for name in ("calibration", "novelty")} | {
        name for name in first if name.startswith("tiny/kd/") and name.endswith("method.safetensors")}


@pytest.fixture(scope="module")
def first_run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[str]]:
    """Return a project after a whole run, a copy to restore it from, and the stages that were trained."""
    project, copy = tmp_path_factory.mktemp("finished"), tmp_path_factory.mktemp("copy")
    with pytest.MonkeyPatch.context() as monkeypatch:  # all cores are used and all figures drawn, as PNG and SVG:
        stub_figures(monkeypatch, {"pdf"})  # each PDF file subsets its fonts; test_grouped draws them, among the slow
        seen = note_training(monkeypatch)
        run(make_project(project))
    shutil.copytree(project, copy, dirs_exist_ok=True)
    return project, copy, seen


@pytest.fixture
def finished(first_run: tuple[Path, Path, list[str]]) -> Path:
    """Return the project as the first run left it, in the same place."""
    project, copy, _ = first_run
    shutil.rmtree(project)
    return shutil.copytree(copy, project)


def test_run_trains_every_stage_once_and_makes_the_report(first_run: tuple[Path, Path, list[str]]) -> None:
    _, project, trained = first_run
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
    assert "<b>Warnings</b>" not in page
    kept, = (project / "data/08_reporting/kept-runs").iterdir()
    for folder in (report, kept):
        assert re.sub("</?a[^>]*>", "", (folder / "report.html").read_text()) == re.sub("</?a[^>]*>", "", page)
        links = {path: re.findall('href="([^"#]+)"', path.read_text()) for path in folder.rglob("*.html")}
        assert {path.name for path, found in links.items() if found} >= {"report.html"}
        assert [link for path, found in links.items() for link in found if not (path.parent / link).exists()] == []
    assert re.findall('href="([^"#]+)"', page) == [
        "calibration.csv", "similarity/", "audit/audit.html", "tables/", "figures/"]
    assert pd.read_csv(project / "data/08_reporting/runs.csv")["run"].unique().tolist() == [kept.name]
    for name, count in TABLES.items():
        assert len(pd.read_csv(report / "tables" / f"{name}.csv")) > 0
        assert (report / "tables" / f"{name}.tex").read_text().count("\\toprule") == count
        assert (report / "tables" / f"{name}.md").read_text().count("| ---") >= count
    table = pd.read_parquet(project / "data/07_model_output/tiny/kd/seed0/01_gan.parquet")
    assert table.groupby("task").size().to_dict() == {"gan": 32, "latent": 32}


@pytest.mark.usefixtures("blank")
def test_finished_runs_are_compared(finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fakemedia.cli import cli

    monkeypatch.chdir(finished)
    change(finished, {"sequences": {"tiny": {"methods": {"kd": {"temperature": 4.0}}}}})
    run(finished, tags=["training", "reporting"], only_missing_outputs=True)
    done = CliRunner().invoke(cli, ["compare"])
    assert done.exit_code == 0, done.output
    table = pd.read_csv(finished / "data/08_reporting/compared_runs.csv")
    assert table["run"].nunique() == 2
    page = (finished / "data/08_reporting/compared_runs.html").read_text()
    assert "methods.kd.settings.temperature" in page
    assert CliRunner().invoke(cli, ["compare", "nothing"]).exit_code == 1


@pytest.mark.usefixtures("blank")
class TestAgain:
    def test_a_second_run_trains_nothing_and_with_only_missing_outputs_writes_nothing(self, finished: Path,
                                                                                      trained: list[str]) -> None:
        first, scored = checkpoints(finished), scores(finished)
        reported = written(finished / "data/08_reporting")
        run(finished, only_missing_outputs=True)
        assert trained == []
        assert written(finished / "data/08_reporting") == reported
        run(finished)
        assert trained == []
        assert checkpoints(finished) == first
        assert scores(finished) == scored

    def test_another_setting_of_a_method_trains_that_method(self, finished: Path, trained: list[str]) -> None:
        first = checkpoints(finished)
        change(finished, {"sequences": {"tiny": {"methods": {"kd": {"temperature": 3.0}}}}})
        run(finished, only_missing_outputs=True)
        assert sorted(trained) == ["kd 01_gan", "kd 02_latent"]
        after = checkpoints(finished)
        assert {name for name in first if first[name] != after[name]} == {
            name for name in first if name.startswith("tiny/kd/")} - unchanged_weights(first, after)

    def test_a_deleted_checkpoint_is_trained_alone_and_the_same(self, finished: Path, trained: list[str]) -> None:
        first = checkpoints(finished)
        shutil.rmtree(finished / "data/06_models/tiny/ewc/seed0/01_gan")
        run(finished, only_missing_outputs=True)
        assert trained == ["ewc 01_gan"]
        assert checkpoints(finished) == first

    def test_another_target_of_the_calibration_trains_nothing(self, finished: Path, trained: list[str]) -> None:
        first = checkpoints(finished)
        change(finished, {"calibration": {"target": 0.9}})
        run(finished, only_missing_outputs=True)
        assert trained == []
        after = checkpoints(finished)
        assert {name for name in first if first[name] != after[name]} == {
            name for name in first if name.endswith("calibration.json")}

    def test_a_damaged_novelty_is_found_again(self, finished: Path, trained: list[str]) -> None:
        first, scored = checkpoints(finished), scores(finished)
        (finished / "data/06_models/tiny/kd/seed0/02_latent/novelty.json").write_text("{")
        run(finished, only_missing_outputs=True)
        assert trained == []
        assert checkpoints(finished) == first
        assert scores(finished) == scored
        assert pd.read_parquet(finished / "data/07_model_output/tiny/kd/seed0/02_latent.parquet")["novelty"].gt(0).all()

    def test_everything_deleted_is_made_again_to_the_byte(self, finished: Path, trained: list[str]) -> None:
        first, scored = checkpoints(finished), scores(finished)
        shutil.rmtree(finished / "data/06_models")
        shutil.rmtree(finished / "data/07_model_output")
        run(finished, only_missing_outputs=True)
        assert len(trained) == 7
        assert checkpoints(finished) == first
        assert scores(finished) == scored

    def test_a_method_that_is_taken_out_leaves_the_report(self, finished: Path, trained: list[str]) -> None:
        local = finished / "conf/local/parameters.yml"
        parameters = yaml.safe_load(local.read_text())
        del parameters["sequences"]["tiny"]["methods"]["kd"]
        local.write_text(yaml.safe_dump(parameters))
        run(finished, only_missing_outputs=True)
        assert trained == []
        assert set(pd.read_csv(finished / "data/08_reporting/tiny/metrics.csv")["method"]) == {
            "finetune", "ewc", "joint"}

    def test_robustness_is_measured_once_asked_for(self, finished: Path, trained: list[str]) -> None:
        unperturbed = scores(finished)
        change(finished, {"robustness": {"sequences": "tiny", "per_task_max": 4}})
        run(finished, only_missing_outputs=True)
        assert trained == []
        perturbed = scores(finished)
        names = {f"data/07_model_output/tiny/{method}/seed0/robustness.parquet"
                 for method in ("finetune", "kd", "ewc", "joint")}
        assert set(perturbed) - set(unperturbed) == names
        table = pd.read_parquet(finished / min(names))
        assert table.groupby(["perturbation", "strength", "task"]).size().unique().tolist() == [4]
        assert {"none", "jpeg", "blur"} <= set(table["perturbation"])
        measured = written(finished / "data/07_model_output")
        run(finished, only_missing_outputs=True)
        assert written(finished / "data/07_model_output") == measured
        change(finished, {"robustness": {"per_task_max": 2}})
        run(finished, tags=["robustness"])
        assert {len(pd.read_parquet(finished / name)) for name in names} == {len(table) // 2}
        report = finished / "data/08_reporting/tiny"
        curves = pd.read_csv(report / "tables" / "robustness.csv")
        assert set(curves["perturbation"]) == set(table["perturbation"])
        assert (report / "tables" / "robustness.tex").read_text().count("\\toprule") == 2
        assert (report / "figures" / "robustness.png").read_bytes().startswith(b"\x89PNG")
        assert 'id="figure-robustness"' in (report / "report.html").read_text()

    def test_changed_data_retrain_what_read_them(self, finished: Path, trained: list[str]) -> None:
        change(finished, {"collections": {"tiny": {"forge": {"tasks": {"latent": {"family": "latent",
                                                                                  "factor": 2}}}}}})
        run(finished, only_missing_outputs=True)
        assert sorted(trained) == ["ewc 02_latent", "finetune 02_latent", "joint 02_latent", "kd 02_latent"]


@pytest.mark.usefixtures("blank")
def test_one_more_task_is_learned_on_top_of_what_is_there(finished: Path, trained: list[str]) -> None:
    project = finished
    before = checkpoints(project)
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


def test_a_stale_checkpoint_is_never_used(finished: Path, trained: list[str]) -> None:
    project = finished
    meta = project / "data/06_models/tiny/kd/seed0/01_gan/checkpoint.json"
    facts = json.loads(meta.read_text())
    meta.write_text(json.dumps({**facts, "fingerprint": "of other parameters"}))
    trained.clear()
    run(project, tags=["kd"])
    assert trained == ["kd 01_gan"]
    assert json.loads(meta.read_text()) == facts


@pytest.mark.usefixtures("blank")
@pytest.mark.parametrize(("uri", "told"), [("", "Logged to MLflow"), ("http://127.0.0.1:9", "is not logged to MLflow")])
def test_tracking_never_stops_a_run(finished: Path, capsys: pytest.CaptureFixture[str], uri: str, told: str) -> None:
    change(finished, {"tracking": {"enabled": True, "uri": uri}})
    run(finished, tags=["reporting"])
    output = capsys.readouterr()
    assert told in output.out + output.err
