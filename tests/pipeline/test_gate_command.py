"""`kedro gate` on two stages of a run."""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path

import pytest

from fakemedia.context.loading import load_context
from fakemedia.core.types import make_stages
from fakemedia.registry.versions import list_versions
from tests.pipeline.conftest import Invoke, assert_refused, change
from tests.scoring import calibration, write_calibration, write_checkpoint

pytest.importorskip("mlflow")
pytest.importorskip("onnxscript")


def test_a_candidate_against_the_champion(invoke: Invoke, learned: Path) -> None:
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
    path = learned / "data/08_reporting/gate/2-against-1.json"
    report = json.loads(path.read_text())
    assert [(row["task"], row["role"], row["real"], row["fake"]) for row in report["tasks"]] == [
        ("gan", "old", 16, 16), ("latent", "new", 16, 16)]
    better = {each.number: (each.facts.calibration or {})["several_better"]
              for each in list_versions(load_context().open_registry())}
    assert report["crops"] == {"candidate": 4 if better[2] else 1, "champion": 4 if better[1] else 1}
    assert "The candidate may not be promoted." in path.with_suffix(".html").read_text()
    assert_refused(invoke("promote", "--by", "ada", "--gate", str(path)), "outcome is 'fail'")

    judged = invoke("gate", "--params", "gate.delta=60.0,gate.false_alarms=100.0")
    assert "loosened gate: delta 60 instead of 2, false_alarms 100 instead of 10" in judged.output
    assert_refused(invoke("gate", "--params", "gate.delt=60"), "did you mean 'delta'?")
    for command in (("gate",), ("watch", "data", "--once"), ("update", "--task", "a", "--data", "a"), ("serve",)):
        assert_refused(invoke(*command, "--params", "registry.uri=here"), "'here' is no address of a registry")

    change(learned, {"gate": {"delta": 60.0, "false_alarms": 100.0}})
    picture = next((learned / "data/01_raw/tiny/gan/test/0_real").iterdir())
    shutil.copytree(picture.parent, learned / "cases")
    assert_refused(invoke("gate"), "no table of right answers")
    rows = "".join(f"{each.name},real\n" for each in sorted((learned / "cases").iterdir()))
    (learned / "cases/cases.csv").write_text("path,answer\n" + rows)
    judged = invoke("gate", "2", "--data", "data/01_raw/tiny/gan")
    assert judged.exit_code in (0, 3, 4), judged.output
    assert len(json.loads(path.read_text())["cases"]) == 16

    other = write_checkpoint(learned / "models/other", settings={"width": 4, "depth": 2}, crop=16, tune="all",
                             stage=asdict(make_stages([("gan",)])[0]))
    sha256 = json.loads((other / "checkpoint.json").read_text())["weights_sha256"]
    assert invoke("register", "models/other").exit_code == 0
    assert_refused(invoke("gate"), "is not calibrated")
    write_calibration(other, calibration(sha256))
    assert invoke("register", "models/other").exit_code == 0
    judged = invoke("gate")
    assert judged.exit_code in (3, 4), judged.output
    assert "Version 4 against the champion, version 1" in judged.output

    shutil.rmtree(learned / "data/03_primary/tiny/latent/test")
    assert_refused(invoke("gate", "2"), "The test pictures of 'latent' are not in this project")
