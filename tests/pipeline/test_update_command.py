"""`kedro update`: the champion learns one more task from a folder."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from filelock import FileLock

from fakemedia.forge import ForgeConfig, forge
from fakemedia.networks.checkpoint import load
from fakemedia.scoring import onnx_export
from tests.pipeline.conftest import bootstrap, change, run
from tests.registries import new_registry

pytest.importorskip("mlflow")
pytest.importorskip("onnxscript")


@pytest.fixture
def invoke(ingested: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that calls our commands in a project whose champion is ridge on one task."""
    change(ingested, {"sequences": {"tiny": {"methods": {"ridge": {"tune": "head"}}}}})
    monkeypatch.chdir(ingested)
    monkeypatch.setattr(onnx_export, "export", lambda folder, out: out.write_bytes(b"onnx"))
    bootstrap()
    from fakemedia.cli import cli

    run(ingested, tags=["ridge"])
    new_registry(ingested / "data/09_registry")
    call = lambda *arguments: CliRunner().invoke(cli, arguments)  # noqa: E731
    for arguments in (("register", "tiny/ridge/0/01_gan"), ("promote", "--by", "ada")):
        assert call(*arguments).exit_code == 0
    forge(ForgeConfig(size=32, per_class={"train": 24, "val": 8, "test": 16},
                      tasks={"fresh": {"family": "latent", "factor": 4}}), ingested / "inbox", workers=1)
    return call


def assert_refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.output


def test_update_and_gate_as_pipelines(invoke: Callable[..., Result], ingested: Path) -> None:
    change(ingested, {"update": {"task": "fresh", "data": "inbox/fresh"}})
    run(ingested, pipeline_names=["update"])
    assert "update/ridge/seed0/02_fresh" in invoke("versions").output
    run(ingested, pipeline_names=["promotion"])
    assert (ingested / "data/08_reporting/gate/2-against-1.html").is_file()


@pytest.mark.slow
def test_the_champion_learns_one_more_task(invoke: Callable[..., Result], ingested: Path) -> None:
    data = ingested / "inbox/fresh"
    assert_refused(invoke("update", "--task", "gan", "--data", str(data)), "knows the task 'gan' already", "gan_2")
    assert_refused(invoke("update", "--task", "fresh", "--data", "none"), "does not exist")
    assert_refused(invoke("update", "--task", "fresh", "--data", str(data), "--label", "joint"), "all tasks together")
    with FileLock(ingested / "data/09_registry/.update.lock"):
        assert_refused(invoke("update", "--task", "fresh", "--data", str(data)), "Another update is running")

    made = invoke("update", "--task", "fresh", "--data", str(data))
    assert made.exit_code == 0, made.output
    assert "Version 2: update/ridge/seed0/02_fresh, from version 1" in made.output
    assert "knows gan, fresh" in made.output
    folder = ingested / "data/06_models/update/ridge/seed0/02_fresh"
    assert {"calibration.json", "novelty.json", "method.safetensors"} <= {path.name for path in folder.iterdir()}
    assert load(folder).meta["parent"] == load(ingested / "data/06_models/tiny/ridge/seed0/01_gan").content
    again = invoke("update", "--task", "fresh", "--data", str(data))
    assert "Version 2" in again.output, "a detector that is registered already is not stored again"
    judged = invoke("gate")
    assert judged.exit_code in (3, 4), judged.output
    assert "fresh" in judged.output

    for split in ("train", "val", "test"):
        shutil.rmtree(data / split / "0_real")
    alone = invoke("update", "--task", "fakes", "--data", str(data))
    assert alone.exit_code == 0, alone.output
    assert "knows gan, fakes" in alone.output
    broken = next((data / "train/1_fake").iterdir())
    broken.write_bytes(b"broken")
    assert_refused(invoke("update", "--task", "bad", "--data", str(data)), broken.name, "cannot be read")
