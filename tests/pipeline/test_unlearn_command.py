"""`kedro unlearn` on what a run has made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fakemedia.evaluation.calibration import CALIBRATION_FILE, read_calibration
from fakemedia.evaluation.novelty import NOVELTY_FILE
from fakemedia.networks.checkpoint import FILES, load
from tests.pipeline.conftest import bootstrap, change, run

FOLDER = "data/06_models/tiny/ridge/seed0"


@pytest.fixture
def unlearn(ingested: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that calls `kedro unlearn` in a project where ridge has learned two tasks."""
    change(ingested, {"sequences": {"tiny": {"methods": {"ridge": {"tune": "head"}}}}})
    monkeypatch.chdir(ingested)
    bootstrap()
    from fakemedia.cli import cli

    run(ingested, tags=["ridge"])
    return lambda *options: CliRunner().invoke(cli, ["unlearn", *options])


def test_a_task_is_taken_out(unlearn: Callable[..., Result], ingested: Path) -> None:
    result = unlearn("tiny/ridge", "--task", "gan", "--out", "models/without")
    assert result.exit_code == 0, result.output
    assert "without gan; it knows latent" in result.output
    found = load(ingested / "models/without")
    assert {path.name for path in (ingested / "models/without").iterdir()} == {*FILES, CALIBRATION_FILE, NOVELTY_FILE}
    calibration = read_calibration(ingested / "models/without" / CALIBRATION_FILE)
    assert calibration is not None
    assert calibration.tasks == ("latent",)
    assert calibration.weights_sha256 == found.meta["weights_sha256"]
    assert load(ingested / FOLDER / "02_latent").meta["stage"]["seen"] == ["gan", "latent"]
    from fakemedia.cli import cli

    scored = CliRunner().invoke(cli, ["score", "data/01_raw/tiny/latent/test/1_fake", "--checkpoint", "models/without"])
    assert scored.exit_code == 0, scored.output

    (ingested / "mine").mkdir()
    (ingested / "mine/notes.txt").touch()
    for options, told in (
            (("tiny/ridge", "--task", "lattent", "--out", "x"), "did you mean 'latent'?"),
            (("tiny/ridge", "--task", "gan", "--seed", "4", "--out", "x"), "one of 0"),
            (("tiny", "--task", "gan", "--out", "x"), "names no run"),
            (("tiny/ridge", "--task", "gan", "--out", "mine"), "other files than a checkpoint"),
            (("tiny/ridge", "--task", "gan", "--out", f"{FOLDER}/02_latent"), "would replace")):
        assert_refused(unlearn(*options), told)
    shutil.rmtree(ingested / "data/01_raw/tiny/gan/train/1_fake")
    assert_refused(unlearn("tiny/ridge", "--task", "gan", "--out", "x"), "training pictures of 'gan' are missing")
    shutil.rmtree(ingested / "data/01_raw/tiny/latent/val")
    assert_refused(unlearn("tiny/ridge", "--task", "gan", "--out", "x"), "data of latent are not ingested")
    assert not (ingested / "x").exists()


def assert_refused(result: Result, told: str) -> None:
    assert result.exit_code == 1, result.output
    assert told in result.output
    assert "Traceback" not in result.output
