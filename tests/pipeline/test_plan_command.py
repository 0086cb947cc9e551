"""`kedro plan` says what a run would do, and does nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from fakemedia.core.plan import Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.cost import body_passes, passes, stage_bytes
from tests.pipeline.conftest import add_sequences, bootstrap, change, run
from tests.plans import changed, make_plan


@pytest.fixture
def plan(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., str]:
    """Return a function that gives the output of `kedro plan`, after which nothing on the disk may have changed."""
    monkeypatch.chdir(project)

    def give(*options: str, code: int = 0) -> str:
        bootstrap()
        from fakemedia.cli import cli

        before = {path: path.stat().st_mtime_ns for path in project.rglob("*")}
        result = CliRunner().invoke(cli, ["plan", *options])
        assert result.exit_code == code, result.output
        assert {path: path.stat().st_mtime_ns for path in project.rglob("*")} == before
        return result.output

    return give


def rows(output: str) -> dict[tuple[str, str], list[str]]:
    """Return what the table says of each method and stage."""
    words = [line.split() for line in output.replace("to train", "to_train").splitlines()]
    return {(row[0], row[2]): row[3:] for row in words if len(row) >= 8 and row[1] == "0"}


@pytest.mark.parametrize(("real", "least"), [("own", 4), ("stored", 2)])
def test_a_memory_too_small_for_the_tasks_is_refused_before_they_are_ingested(
        project: Path, plan: Callable[..., str], real: str, least: int) -> None:
    for pictures, code in ((least - 1, 1), (least, 0)):
        methods = {"small": {"method": "replay", "pictures": pictures}}
        change(project, {"sequences": {"tiny": {"real": real, "methods": methods}}})
        output = plan(code=code)
        assert (f"A memory of {pictures} pictures is smaller than one per task and class" in output) == bool(code)
        assert ("sequences.tiny.methods.small" in output) == bool(code)


@pytest.mark.usefixtures("undrawn")
def test_before_and_after_the_data_and_a_run(project: Path, plan: Callable[..., str]) -> None:
    output = plan()
    assert set(rows(output)) == {(method, stage) for method in ("finetune", "kd", "ewc")
                                 for stage in ("01_gan", "02_latent")} | {("joint", "02_latent")}
    assert rows(output)["kd", "02_latent"][:4] == ["to_train", "48", "12", "?"]
    assert rows(output)["joint", "02_latent"][:3] == ["to_train", "96", "24"]
    assert "7 of 7 stages to train" in output
    assert "Not ingested yet, or changed since: gan, latent; counted from the settings of the forge" in output
    assert "--pipelines tiny --tags ingestion" in output

    run(project, tags=["ingestion", "kd"])
    output = plan()
    assert rows(output)["kd", "01_gan"][0] == "done"
    assert rows(output)["ewc", "02_latent"][0] == "to_train"
    assert "5 of 7 stages to train: 72 steps, at most 0:00:" in output
    assert "Not ingested" not in output
    assert "from steps timed now (cpu" in output
    assert "ewc at its first stage" in output

    change(project, {"sequences": {"tiny": {"training": {"batch_size": 50}}}})
    assert rows(plan())["ewc", "02_latent"][:3] == ["to_train", "48", "2"]  # a batch has no more images than the stage
    change(project, {"sequences": {"tiny": {"training": {"crop": 40}}}})
    assert "lower training.crop" in plan(code=1)
    change(project, {"sequences": {"tiny": {"training": {"epochs": 3, "batch_size": 8, "crop": 24},
                                            "methods": {"joint": {"every_stage": True}}}}})
    (project / "data/06_models/tiny/kd/seed0/01_gan.resume.pt").write_bytes(b"")
    output = plan("--params", "n_seeds=2")
    assert rows(output)["kd", "01_gan"][:3] == ["begun", "48", "18"]
    assert "16 of 16 stages to train" in output
    change(project, {"sequences": {"tiny": {"methods": {"ewc": {"n_seeds": 2}}}}})
    assert "10 of 10 stages to train" in plan()
    change(project, {"sequences": {"tiny": {"methods": {"ewc": {"n_seeds": 1}}}}})
    assert "from earlier stages (cpu" in output
    assert "kd at its first stage" in output.partition("from earlier stages")[2].partition("\n")[0]


def test_data_that_are_not_there(project: Path, plan: Callable[..., str]) -> None:
    add_sequences(project)
    output = plan("--pipelines", "cddb_hard")
    assert "so images and times are not known" in output
    assert "20 of 20 stages to train: ? steps, at most ?;" not in output  # joint trains at its last stage alone
    assert "16 of 16 stages to train: ? steps, at most ?;" in output
    assert "did you mean 'tiny'?" in plan("--pipelines", "tinny", code=1)
    change(project, {"sequences": {"tiny": {"training": {"lr": -1}}}})
    assert "lr above 0" in plan(code=1)


@pytest.mark.parametrize(("parameters", "message"), [
    ({"sequences": {"tiny": {"network": {"pretrained": "imagenet"}}}}, "'imagenet' of the network convnet"),
    ({"sequences": {"tiny": {"network": {"pretrained": "weights/none.safetensors"}}}}, "weights/none.safetensors"),
    ({"sequences": {"tiny": {"methods": {"kd": {"network": {"pretrained": "none.pt"}}}}}}, "methods.kd.network"),
    ({"collections": {"tiny": {"audit": {"stric": True}}}}, "did you mean 'strict'"),
    ({"calibration": {"target": 2}}, "calibration"),
    ({"robustness": {"sequences": "tiny", "perturbations": {"jpg": [50]}}}, "did you mean 'jpeg'"),
    ({"sequences": {"tiny": {"methods": {"kd": {"temprature": 2}}}}}, "did you mean 'temperature'"),
])
def test_what_a_run_refuses_is_refused_at_once(project: Path, plan: Callable[..., str], parameters: dict,
                                               message: str) -> None:
    change(project, parameters)
    assert message in " ".join(plan(code=1).split())


def test_a_head_passes_every_image_through_the_body_once() -> None:
    plan = make_plan(("finetune", "ridge"), stages=make_stages([("a",), ("b",)]), training=TrainingConfig(epochs=10),
                     network=Plugin(name="convnet", settings={"width": 8, "depth": 2})).resolved()
    sizes = {task: {"train": 100, "val": 30, "test": 50} for task in "ab"}
    views, done = len(plan.methods[0].training.views), set()
    assert body_passes(plan.methods[0], sizes, ["a"], ["a"], done) == 100 * views + 30
    assert body_passes(plan.methods[0], sizes, ["b"], ["a", "b"], done) == 100 * views + 30
    assert body_passes(plan.methods[1], sizes, ["a"], ["a"], done) == 0


def test_time_of_heads_is_that_of_their_body(plan: Callable[..., str], ingested: Path) -> None:
    """It grows neither with the epochs nor with the labels on one network."""
    change(ingested, {"sequences": {"tiny": {"training": {"epochs": 5000}, "tune": "head", "methods": {
        "finetune": {}, "kd": {}, "ewc": {}, "joint": {}, "ridge": {}}}}})
    times = {key: row[-3] for key, row in rows(plan()).items()}
    assert times["ridge", "02_latent"] == "0:00:00"  # the labels before it computed the features
    assert all(time < "0:00:30" for time in times.values())


def test_passes_and_room() -> None:
    training = TrainingConfig(epochs=10, batch_size=8, validation_every=4, validation_share=None, validation_max=50)
    plan = make_plan(("finetune", "ewc"), stages=make_stages([("a",)]), training=training,
                     network=Plugin(name="convnet", settings={"width": 8, "depth": 2})).resolved()
    assert passes(training, 100, []) == 1000
    assert passes(training, 100, [30, 300]) == 1000 + 3 * (30 + 50) // 3
    finetune, ewc = map(stage_bytes, plan.methods)
    assert ewc.checkpoint > 1.9 * finetune.checkpoint
    assert finetune.resume > 3.9 * finetune.checkpoint
    last = changed(plan, select_on="none", optimizer="sgd")
    assert 1.9 * finetune.checkpoint < stage_bytes(last.method("finetune")).resume < 2.1 * finetune.checkpoint
