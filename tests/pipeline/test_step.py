"""One step by hand, on plain folders, through the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from tests.pipeline.conftest import bootstrap, change

PER_CLASS = {"train": 32, "val": 2, "test": 4}


@pytest.fixture
def datasets(tmp_path: Path) -> Path:
    """Return a folder with the tasks a and b: fake images are noisier than real ones."""
    rng = np.random.default_rng(0)
    for task, noise in (("a", 40), ("b", 60)):
        for split, count in PER_CLASS.items():
            for name, sigma in (("0_real", 3), ("1_fake", noise)):
                folder = tmp_path / "datasets" / task / split / name
                folder.mkdir(parents=True)
                for number in range(count):
                    pixels = rng.normal(128, sigma, (16, 16, 3)).clip(0, 255).astype(np.uint8)
                    Image.fromarray(pixels).save(folder / f"{number}.png")
    return tmp_path / "datasets"


@pytest.fixture
def step(project: Path, datasets: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs `kedro step` with the given options beside the usual ones."""
    monkeypatch.chdir(project)
    bootstrap()
    from fakemedia.cli import cli

    def run(target: str, output: str, *options: str, network: str = "convnet") -> Result:
        return CliRunner().invoke(cli, [
            "step", "--network", network, "--target-dataset", str(datasets / target), "--output-dir", output,
            "--epochs", "1", "--crop", "16", *options])

    return run


def assert_refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 1, result.output
    for part in (*parts, "Expected: "):
        assert part in result.output
    assert "Traceback" not in result.output


def test_two_steps(step, datasets: Path, project: Path) -> None:
    change(project, {"calibration": {"target": 0.9}})
    (project / "models/kd").mkdir(parents=True)
    (project / "models/kd/.calibration.json.1.partial").touch()  # as a killed run leaves it
    first = step("a", "models/a")
    assert first.exit_code == 0, first.output
    onward = ("--input-model", "models/a", "--source-datasets", str(datasets / "a"))
    for method in ("kd", "ewc"):
        result = step("b", f"models/{method}", *onward, "--method", method)
        assert result.exit_code == 0, result.output
        rows = [line.split() for line in result.output.splitlines() if line.split()[1:2] in (["source"], ["target"])]
        assert [(row[0], row[1]) for row in rows] == [("a", "source"), ("b", "target")]
    meta = json.loads((project / "models/ewc/checkpoint.json").read_text())
    parent = json.loads((project / "models/a/checkpoint.json").read_text())
    assert meta["parent_weights_sha256"] == parent["weights_sha256"]
    assert meta["stage"]["seen"] == ["a", "b"]
    calibration = json.loads((project / "models/ewc/calibration.json").read_text())
    assert (calibration["tasks"], calibration["target"]) == (["a", "b"], 0.9)
    assert calibration["weights_sha256"] == meta["weights_sha256"]

    kept = sorted(path.name for path in (project / "models").iterdir())
    assert_refused(step("b", "models/c", *onward, network="resnet18"), "another network", "--network convnet")
    assert_refused(step("b", "models/a", *onward), "would replace the input model")
    assert step("b", "models/ewc", *onward, "--method", "ewc").exit_code == 0
    assert_refused(step("b", "models", *onward), "other files than a checkpoint")
    assert_refused(step("b", "models/c", "--input-model", "models/none", *onward[2:]), "no checkpoint", "models/none")
    assert_refused(step("b", "models/c", *onward[:2]), "--input-model and --source-datasets")
    assert_refused(step("a", "models/c", *onward), "Two datasets have one name")
    assert sorted(path.name for path in (project / "models").iterdir()) == kept


def test_a_fault_in_the_folders(step, datasets: Path, project: Path) -> None:
    assert_refused(step("c", "models/c"), str(datasets / "c"), "does not exist")
    assert_refused(step("c__d", "models/c"), "cannot be used")
    next((datasets / "a/train/1_fake").iterdir()).write_bytes(b"no image")
    assert_refused(step("a", "models/c"), "cannot be read")
    for path in (datasets / "b/val/0_real").iterdir():
        path.unlink()
    assert_refused(step("b", "models/c"), "b/val/0_real")
    (datasets / "b/val/0_real").rmdir()
    assert_refused(step("b", "models/c"), "b/val/0_real", "does not exist")
    assert not (project / "models").exists()


def test_unknown_names(step) -> None:
    for network, options, name in (("resnet19", (), "resnet19"), ("convnet", ("--method", "kdd"), "kdd")):
        result = step("a", "models/c", *options, network=network)
        assert result.exit_code == 2
        assert f"'{name}' is not one of" in result.output
    assert_refused(step("a", "models/c", "--pretrained", "weights.pt"), "There are no weights", "weights.pt")


def test_advice_names_the_options_of_this_command(step) -> None:
    result = step("a", "models/c", "--crop", "20")
    assert_refused(result, "crop of 20 pixels is larger than every image", "lower --crop")
    assert "training.crop" not in result.output
