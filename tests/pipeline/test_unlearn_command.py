"""`kedro unlearn` on what a run has made."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from fakemedia.evaluation.calibration import CALIBRATION_FILE, read_calibration
from fakemedia.evaluation.novelty import NOVELTY_FILE
from fakemedia.networks.checkpoint import FILES, load
from tests.pipeline.conftest import Invoke, assert_refused, change

FOLDER = "data/06_models/tiny/ridge/seed0"


def test_a_task_is_taken_out(invoke: Invoke, learned: Path) -> None:
    result = invoke("unlearn", "tiny/ridge", "--task", "gan", "--out", "models/without")
    assert result.exit_code == 0, result.output
    assert "without gan; it knows latent" in result.output
    found = load(learned / "models/without")
    assert {path.name for path in (learned / "models/without").iterdir()} == {*FILES, CALIBRATION_FILE, NOVELTY_FILE}
    calibration = read_calibration(learned / "models/without" / CALIBRATION_FILE)
    assert calibration is not None
    assert calibration.tasks == ("latent",)
    assert calibration.weights_sha256 == found.meta["weights_sha256"]
    assert load(learned / FOLDER / "02_latent").meta["stage"]["seen"] == ["gan", "latent"]
    scored = invoke("score", "data/01_raw/tiny/latent/test/1_fake", "--checkpoint", "models/without")
    assert scored.exit_code == 0, scored.output

    (learned / "mine").mkdir()
    (learned / "mine/notes.txt").touch()
    for options, told in (
            (("tiny/ridge", "--task", "lattent", "--out", "x"), "did you mean 'latent'?"),
            (("tiny/ridge", "--task", "gan", "--seed", "4", "--out", "x"), "one of 0"),
            (("tiny", "--task", "gan", "--out", "x"), "names no run"),
            (("tiny/ridge", "--task", "gan", "--out", "mine"), "other files than a checkpoint"),
            (("tiny/ridge", "--task", "gan", "--out", f"{FOLDER}/02_latent"), "would replace")):
        assert_refused(invoke("unlearn", *options), told)
    shutil.rmtree(learned / "data/01_raw/tiny/gan/train/1_fake")
    again = ("unlearn", "tiny/ridge", "--task", "gan", "--out", "x")
    assert_refused(invoke(*again), "training pictures of 'gan' are missing")
    shutil.rmtree(learned / "data/01_raw/tiny/latent/val")
    assert_refused(invoke(*again), "data of latent are not ingested")
    assert not (learned / "x").exists()


def test_what_is_left_goes_through_the_gate(invoke: Invoke, learned: Path) -> None:
    for arguments in (("register", "tiny/ridge"), ("promote", "--by", "ada"),
                      ("unlearn", "tiny/ridge", "--task", "gan", "--out", "models/without"),
                      ("register", "models/without")):
        result = invoke(*arguments)
        assert result.exit_code == 0, result.output
    judged = invoke("gate")
    assert judged.exit_code in (0, 3, 4), judged.output
    assert "unlearned, not compared: gan" in judged.output
    path = learned / "data/08_reporting/gate/2-against-1.json"
    report = json.loads(path.read_text())
    assert report["unlearned"] == ["gan"]
    assert [(row["task"], row["role"]) for row in report["tasks"]] == [("latent", "old")]

    change(learned, {"gate": {"delta": 90.0, "false_alarms": 100.0}})
    assert invoke("gate").exit_code == 0
    promoted = invoke("promote", "--by", "ada", "--gate", str(path))
    assert "Champion: version 2; before: version 1" in promoted.output
    again = invoke("update", "--task", "gan", "--data", "data/01_raw/tiny/gan")
    assert again.exit_code == 0, again.output
    assert "knows latent, gan" in again.output
    assert_refused(invoke("unlearn", "update/ridge", "--task", "gan", "--out", "x"),
                   "kedro update has learned cannot unlearn", "kedro rollback")
