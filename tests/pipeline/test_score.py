"""`kedro score` and `kedro export` on what a run has made."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner, Result

from fakemedia import __main__
from fakemedia.artefacts.manifest import Recipe, make_manifest, write_manifest
from fakemedia.catalog import TableDataset
from fakemedia.networks.checkpoint import load
from fakemedia.scoring import onnx_model
from fakemedia.store.decode import content_id
from tests.pipeline.conftest import bootstrap, run
from tests.scoring import write_checkpoint, write_pictures

FOLDER = "data/06_models/tiny/finetune/seed0"


@pytest.fixture
def invoke(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that calls our commands in the project."""
    monkeypatch.chdir(project)
    bootstrap()
    from fakemedia.cli import cli

    return lambda *arguments: CliRunner().invoke(cli, arguments)


def assert_refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.output


def test_checkpoints_by_handle(invoke: Callable[..., Result], project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(project / "photos")
    for stage, settings in (("01_gan", {"width": 4}), ("02_latent", {"width": 8}), ("03_gone", {"width": 16})):
        write_checkpoint(project / f"{FOLDER}/{stage}", settings={"pretrained": "none", **settings})
    logits = {}
    for given in ("tiny/finetune", "tiny/finetune/seed0/02_latent", "tiny/finetune/0/01_gan", f"{FOLDER}/03_gone"):
        result = invoke("score", "photos", "--checkpoint", given, "--out", "scores.csv")
        assert result.exit_code == 0, result.output
        logits[given] = pd.read_csv("scores.csv")["logit"].tolist()
    assert logits["tiny/finetune"] == logits["tiny/finetune/seed0/02_latent"]
    assert len(set(map(str, logits.values()))) == 3

    for given, told in (("tinny/finetune", "'tiny'"), ("tiny/kd", "finetune"), ("tiny/finetune/seed1", "one of 0"),
                        ("tiny/finetune/02_gan", "01_gan"), ("tiny", "sequence/label"), ("no.onnx", "no checkpoint"),
                        ("photos", "no checkpoint")):
        assert_refused(invoke("score", "photos", "--checkpoint", given), told)
    assert_refused(invoke("score", "--checkpoint", "tiny/finetune"), "nothing to score")
    assert_refused(invoke("score", "nowhere.png", "--checkpoint", "tiny/finetune"), "nowhere.png")
    assert_refused(invoke("score", "photos", "--checkpoint", "tiny/finetune", "--out", "scores.csv/x.csv"),
                   "Where: scores.csv.", "writable folder")
    assert_refused(invoke("export", "tiny/finetune", "--out", "model.pt"), ".onnx")

    monkeypatch.chdir(project.parent)
    outside = invoke("score", str(project / "photos"), "--checkpoint", str(project / FOLDER / "01_gan"))
    assert outside.exit_code == 0, outside.output
    assert_refused(invoke("score", str(project / "photos"), "--checkpoint", "tiny/finetune"), "There is no checkpoint")


def test_a_sequence_that_has_not_been_trained(invoke: Callable[..., Result], project: Path) -> None:
    for command in (("register", "tiny/kd"), ("score", "photos", "--checkpoint", "tiny/kd"),
                    ("export", "tiny/kd", "--out", "kd.onnx")):
        assert_refused(invoke(*command), "Nothing of the sequence 'tiny' has been trained yet",
                       "What to do: kedro run --pipelines tiny.")


def write_scores(project: Path, stage: str, *, checkpoint: str) -> None:
    path = project / f"data/07_model_output/tiny/finetune/seed0/{stage}.parquet"
    label = [0, 1] * 8
    table = pd.DataFrame({"id": [str(n) for n in range(16)], "task": "gan", "label": label,
                          "source": [str(n // 2) for n in range(16)], "logit": [2.0 * each - 1 for each in label]})
    dataset = TableDataset(str(path))
    dataset.save(table.astype({"label": "int8"}))
    recipe = Recipe(producer="scores", version=1, inputs={"checkpoint": checkpoint})
    write_manifest(make_manifest(recipe, {path.name: path}), path)


def test_a_detector_with_the_scores_of_its_run(invoke: Callable[..., Result], project: Path,
                                               monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(project / f"{FOLDER}/02_latent")
    monkeypatch.setattr(onnx_model, "find_spec", lambda name: None)
    assert_refused(invoke("export", "tiny/finetune"), "--to FOLDER or --out FILE.onnx")
    for checkpoint, told in ((load(folder).content, "| gan (not learned) | 16 | 8 | 100.0 no variation |"),
                             ("of other weights", "Not measured")):
        write_scores(project, "02_latent", checkpoint=checkpoint)
        result = invoke("export", "tiny/finetune", "--to", "detector", "--licence", "mit")
        assert result.exit_code == 0, result.output
        assert "detector: convnet, 24 x 24 pixels, not calibrated" in result.output
        card = (project / "detector/README.md").read_text()
        assert told in card
        assert "| gan | upsampling |" in card or told == "Not measured"
        assert "# tiny/finetune/seed0/02_latent" in card

    write_pictures(project / "photos")
    monkeypatch.chdir(project.parent)
    outside = invoke("score", str(project / "photos"), "--checkpoint", str(project / "detector"))
    assert outside.exit_code == 0, outside.output
    (project / "detector/weights.safetensors").write_bytes(b"damaged")
    assert_refused(invoke("score", str(project / "photos"), "--checkpoint", str(project / "detector")),
                   "detector/weights.safetensors")


@pytest.mark.slow
def test_test_images_get_the_logits_of_the_run(invoke: Callable[..., Result], project: Path) -> None:
    run(project, tags=["ingestion"])
    run(project, tags=["finetune"])
    result = invoke("score", "data/01_raw/tiny/gan/test", "--checkpoint", "tiny/finetune", "--batch-size", "8",
                    "--crops", "1", "--out", "mine.csv", "--saliency")
    assert result.exit_code == 0, result.output
    assert "knows gan, latent" in result.output
    assert "sees the centre 24 x 24 pixels" in result.output
    assert "on 32 validation images" in result.output
    assert "32 scored" in result.output
    assert len(list((project / "saliency").rglob("*.png"))) == 32
    mine = pd.read_csv("mine.csv")
    mine["id"] = [content_id((project / path).read_bytes()) for path in mine["path"]]
    stored = pd.read_parquet("data/07_model_output/tiny/finetune/seed0/02_latent.parquet")
    both = mine.merge(stored[stored["task"] == "gan"], on="id", suffixes=("", "_stored"))
    assert len(both) == 32
    assert both["logit"].tolist() == both["logit_stored"].round(4).tolist()


def test_commands_outside_a_project(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, told in ((["score", "--help"], "PATH..."), (["run", "--help"], "--pipelines")):
        monkeypatch.setattr(sys, "argv", ["fakemedia", *arguments])
        with pytest.raises(SystemExit) as end:
            __main__.main()
        assert end.value.code == 0
        assert told in capsys.readouterr().out
