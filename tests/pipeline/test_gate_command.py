"""`kedro gate` on two stages of a run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fakemedia.scoring import onnx_export
from tests.pipeline.conftest import bootstrap, change, run
from tests.registries import new_registry

pytest.importorskip("mlflow")
pytest.importorskip("onnxscript")


@pytest.fixture
def invoke(ingested: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that calls our commands in a project where ridge has learned two tasks."""
    change(ingested, {"sequences": {"tiny": {"methods": {"ridge": {"tune": "head"}}}}})
    monkeypatch.chdir(ingested)
    monkeypatch.setattr(onnx_export, "export", lambda folder, out: out.write_bytes(b"onnx"))
    bootstrap()
    from fakemedia.cli import cli

    run(ingested, tags=["ridge"])
    new_registry(ingested / "data/09_registry")
    return lambda *arguments: CliRunner().invoke(cli, arguments)


def assert_refused(result: Result, *parts: str) -> None:
    assert result.exit_code == 1, result.output
    assert "Traceback" not in result.output
    for part in parts:
        assert part in result.output


def test_a_candidate_against_the_champion(invoke: Callable[..., Result], ingested: Path) -> None:
    assert_refused(invoke("gate"), "no champion yet", "kedro register")
    assert invoke("register", "tiny/ridge/0/01_gan").exit_code == 0
    assert_refused(invoke("gate"), "no champion yet", "kedro promote")
    assert invoke("promote", "--by", "ada").exit_code == 0
    assert_refused(invoke("gate"), "There is no candidate")
    assert_refused(invoke("gate", "champion"), "is the champion itself")
    assert invoke("register", "tiny/ridge").exit_code == 0

    judged = invoke("gate")
    assert judged.exit_code == 3, judged.output
    assert "of the real pictures are called fake" in judged.output
    path = ingested / "data/08_reporting/gate/2-against-1.json"
    report = json.loads(path.read_text())
    assert [(row["task"], row["role"], row["real"], row["fake"]) for row in report["tasks"]] == [
        ("gan", "old", 16, 16), ("latent", "new", 16, 16)]
    assert "The candidate may not be promoted." in path.with_suffix(".html").read_text()
    assert_refused(invoke("promote", "--by", "ada", "--gate", str(path)), "outcome is 'fail'")

    change(ingested, {"gate": {"delta": 60.0, "false_alarms": 100.0}})
    picture = next((ingested / "data/01_raw/tiny/gan/test/0_real").iterdir())
    shutil.copytree(picture.parent, ingested / "cases")
    assert_refused(invoke("gate"), "no table of right answers")
    rows = "".join(f"{each.name},real\n" for each in sorted((ingested / "cases").iterdir()))
    (ingested / "cases/cases.csv").write_text("path,answer\n" + rows)
    judged = invoke("gate", "2", "--data", "data/01_raw/tiny/gan")
    assert judged.exit_code in (0, 3, 4), judged.output
    assert len(json.loads(path.read_text())["cases"]) == 16

    shutil.rmtree(ingested / "data/03_primary/tiny/latent/test")
    assert_refused(invoke("gate"), "The test pictures of 'latent' are not in this project")
