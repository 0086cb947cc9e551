"""Bad input ends in one message and a non-zero exit, before any training."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from fakemedia.core.errors import UserError
from tests.pipeline.conftest import bootstrap, change, run

TINY = "sequences", "tiny"


def nested(*keys: str, value: object) -> dict:
    for key in reversed(keys):
        value = {key: value}
    assert isinstance(value, dict)
    return value


@pytest.mark.parametrize(("keys", "value", "message"), [
    ((*TINY, "methods"), {"kdd": {}}, "Unknown method 'kdd'"),
    ((*TINY, "methods", "kd"), {"temprature": 2}, "did you mean 'temperature'"),
    ((*TINY, "methods", "kd"), {"temperature": "hot"}, "'temperature'"),
    ((*TINY, "network", "name"), "resnet19", "did you mean 'resnet18'"),
    ((*TINY, "methods", "kd"), {"network": {"name": "timm", "architecture": "resnet19"}}, "did you mean 'resnet18'"),
    ((*TINY, "network", "widht"), 8, "did you mean 'width'"),
    ((*TINY, "training", "epoch"), 8, "did you mean 'epochs'"),
    ((*TINY, "training", "lr"), -1, "lr above 0"),
    ((*TINY, "tasks"), ["gan", "la__tent"], "'la__tent' cannot be used"),
    ((*TINY, "tasks"), ["gan", "../latent"], "cannot be used"),
    ((*TINY, "tasks"), ["gan", "gan"], "listed twice"),
    ((*TINY, "tasks"), [], "has no tasks"),
    ((*TINY, "tasks"), "gan", "has no tasks"),
    ((*TINY, "colection"), "tiny", "did you mean 'collection'"),
    ((*TINY, "collection"), "tyni", "Unknown collection 'tyni'"),
    (("n_seedz",), 2, "did you mean 'n_seeds'"),
    (("sequence",), "tini", "did you mean 'tiny'"),
    (("n_seeds",), 0, "'n_seeds'"),
    (("runtime", "precision"), "float8", "precision"),
    (("robustness",), {"sequences": "tiny", "perturbations": {"jpg": [50]}}, "did you mean 'jpeg'"),
    (("robustness",), {"sequences": ["tiny"], "perturbations": {"jpeg": [300]}}, "a quality from 1 to 100"),
    (("robustness",), {"sequences": ["tiny"], "perturbations": {"jpeg": [50, 50]}}, "robustness.perturbations.jpeg"),
    (("robustness",), {"sequences": ["tiny"], "per_task_max": 0}, "per_task_max of at least 2"),
    (("robustness", "sequences"), ["tini"], "did you mean 'tiny'"),
    (("runtime", "accelerator"), "gpu", "'auto', 'cpu', 'cuda' or 'mps'"),
    (("runtime", "accelerator"), "mps", "There is no mps device"),
    (("runtime",), {"accelerator": "cpu", "devices": 1000}, "fewer devices than requested"),
    (("runtime", "save_minutes"), -1, "save_minutes of at least 0"),
    (("calibration", "target"), 95, "such as 0.95"),
    (("calibration", "targt"), 0.9, "did you mean 'target'"),
    (("runtime", "features_gib"), 0, "features_gib above 0"),
])
def test_a_fault_in_the_configuration(project: Path, keys: tuple[str, ...], value: object, message: str) -> None:
    change(project, nested(*keys, value=value))
    with pytest.raises(UserError, match="(?s)" + message.replace("'", ".")):
        run(project)
    assert not list((project / "data").rglob("*.safetensors")) if (project / "data").exists() else True


def test_a_crop_that_the_data_do_not_give(ingested: Path) -> None:
    project = ingested
    change(project, {"sequences": {"tiny": {"training": {"batch_size": 8, "crop": 40}}}})
    message = r"crop of 40 pixels is larger than every image[\s\S]*32 pixels at most[\s\S]*resize:<n>"
    with pytest.raises(UserError, match=message):
        run(project, tags=["finetune"])
    assert not list((project / "data").rglob("*.safetensors"))


@pytest.mark.parametrize(("damage", "message"), [
    (lambda task: shutil.rmtree(task / "val/1_fake"), r"val/1_fake"),
    (lambda task: [path.unlink() for path in (task / "test/0_real").iterdir()], r"test/0_real"),
    (lambda task: next((task / "train/0_real").iterdir()).write_bytes(b"no image"), r"cannot be read"),
])
def test_a_fault_in_the_data(ingested: Path, damage, message: str) -> None:
    project = ingested
    shutil.move(project / "data/01_raw/tiny", project / "data/01_raw/own")
    change(project, {"collections": {"own": {"source": {"name": "folder", "root": "data/01_raw/own"}}},
                     "sequences": {"tiny": {"collection": "own"}}})
    damage(project / "data/01_raw/own/latent")
    with pytest.raises(Exception, match=message):
        run(project)
    assert not list((project / "data").rglob("*.safetensors"))


def test_the_command_line_prints_one_message(full_project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(full_project)
    bootstrap()
    from fakemedia.cli import cli

    def output(*options: str) -> str:
        result = CliRunner().invoke(cli, ["run", *options])
        assert result.exit_code == 1
        assert result.output.count("Error: ") == 1
        assert "Traceback" not in result.output
        return result.output

    without_data = output("--pipelines", "cddb_short")
    assert "data/01_raw/cddb" in without_data
    assert "docs/how-to/own-data.md" in without_data
    assert "did you mean 'tiny'?" in output("--pipelines", "tinny")
    assert "did you mean 'training'?" in output("--tags", "trainign")
    assert "no nodes" in output("--tags", "training", "--to-nodes", "tiny-data.open_tiny")
    assert "conf/nowhere" in output("--env", "nowhere")


@pytest.mark.parametrize("command", [
    ["run"], ["plan"], ["score", ".", "--checkpoint", "tiny/kd"], ["export", "tiny/kd", "--out", "kd.onnx"],
    ["step", "--network", "convnet", "--output-dir", "new", "--target-dataset", "gan"],
], ids=lambda command: command[0])
def test_configuration_that_cannot_be_read(project: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]) -> None:
    monkeypatch.chdir(project)
    bootstrap()
    from fakemedia.cli import cli

    local = project / "conf/local"
    (local / "parameters.yml").rename(local / "parameters_tiny.yml")
    kind = "catalog" if command[0] in ("score", "export") else "parameters"
    (local / f"{kind}_more.yml").write_text("seed: 1")
    for text, told in (("seed: [", f"conf/local/{kind}.yml"), ("seed: 2", "Duplicate keys"),
                       ("more: ${nowhere}", "nowhere")):
        (local / f"{kind}.yml").write_text(text)
        result = CliRunner().invoke(cli, command)
        assert result.exit_code == 1
        assert result.output.count("Error: ") == 1
        assert told in result.output
