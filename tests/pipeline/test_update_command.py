"""`kedro update`: the champion learns one more task from a folder."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from filelock import FileLock
from kedro.framework.project import pipelines

from fakemedia.networks.checkpoint import load
from tests.pipeline.conftest import Invoke, assert_refused, change, forge_fresh, promote_first, run

pytest.importorskip("mlflow")
pytest.importorskip("onnxscript")


@pytest.fixture(autouse=True)
def champion(invoke: Invoke, learned: Path) -> None:
    """Let ridge on one task serve, and put a new task, `fresh`, into `inbox`."""
    promote_first(invoke)
    forge_fresh(learned / "inbox")


def test_update_and_gate_as_pipelines(invoke: Invoke, learned: Path) -> None:
    change(learned, {"update": {"task": "fresh", "data": "inbox/fresh"}})
    run(learned, pipeline_names=["update"])
    assert "update/ridge/seed0/02_fresh" in invoke("versions").output
    change(learned, {"gate": {"delta": 70.0}})
    run(learned, pipeline_names=["promotion"])
    report = json.loads((learned / "data/08_reporting/gate/2-against-1.json").read_text())
    assert report["settings"]["delta"] == 70.0
    assert (learned / "data/08_reporting/gate/2-against-1.html").is_file()
    assert "params:gate" in pipelines["promotion"].inputs()


def test_what_cannot_be_learned_is_refused_before_a_picture_is_read(invoke: Invoke, learned: Path) -> None:
    data = learned / "inbox/fresh"
    for split in ("train", "val", "test"):
        shutil.rmtree(data / split / "0_real")
    for label, told in (("experts", "needs some of every task"), ("lwf", "keeps none of earlier tasks"),
                        ("rigde", "did you mean 'ridge'?")):
        assert_refused(invoke("update", "--task", "fakes", "--data", str(data), "--label", label), told)
    assert not (learned / "data/02_intermediate/update").exists()
    assert not (learned / "data/03_primary/update").exists()


@pytest.mark.slow
def test_the_champion_learns_one_more_task(invoke: Invoke, learned: Path, caplog: pytest.LogCaptureFixture) -> None:
    data = learned / "inbox/fresh"
    assert_refused(invoke("update", "--task", "gan", "--data", str(data)), "knows the task 'gan' already", "gan_2")
    assert_refused(invoke("update", "--task", "fresh", "--data", "none"), "does not exist")
    assert_refused(invoke("update", "--task", "fresh", "--data", str(data), "--label", "joint"), "all tasks together")
    with FileLock(learned / "data/09_registry/.update.lock"):
        assert_refused(invoke("update", "--task", "fresh", "--data", str(data)), "Another update is running")

    (data / "train/1_fake/notes.txt").write_text("no picture")
    made = invoke("update", "--task", "fresh", "--data", str(data))
    assert made.exit_code == 0, made.output
    assert "fresh/train/1_fake: skipped: files that are no images that can be read: 1 .txt" in caplog.text
    assert "Version 2: update/ridge/seed0/02_fresh, from version 1" in made.output
    assert "knows gan, fresh" in made.output
    folder = learned / "data/06_models/update/ridge/seed0/02_fresh"
    assert {"calibration.json", "novelty.json", "method.safetensors"} <= {path.name for path in folder.iterdir()}
    assert load(folder).meta["parent"] == load(learned / "data/06_models/tiny/ridge/seed0/01_gan").content
    again = invoke("update", "--task", "fresh", "--data", str(data))
    assert "Version 2" in again.output, "a detector that is registered already is not stored again"
    judged = invoke("gate")
    assert judged.exit_code in (3, 4), judged.output
    assert "fresh" in judged.output

    for split in ("train", "val", "test"):
        shutil.rmtree(data / split / "0_real")
    for label in ("ridge", "slda", "replay"):
        alone = invoke("update", "--task", f"fakes_{label}", "--data", str(data), "--label", label)
        assert alone.exit_code == 0, alone.output
        assert f"update/{label}/seed0/02_fakes_{label}, from version 1" in alone.output
    broken = next((data / "train/1_fake").iterdir())
    broken.write_bytes(b"broken")
    assert_refused(invoke("update", "--task", "bad", "--data", str(data)), broken.name, "cannot be read",
                   "What to do: replace or remove it.")
