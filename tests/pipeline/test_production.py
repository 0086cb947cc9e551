"""`kedro register`, `promote`, `rollback` and `versions` on what a run has made."""

from __future__ import annotations

import socket
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from fakemedia.context.loading import load_context
from fakemedia.registry import database
from fakemedia.registry.versions import find_version
from tests.pipeline.conftest import Invoke, assert_refused, change, commands
from tests.scoring import write_checkpoint

pytest.importorskip("mlflow")
pytest.importorskip("onnxscript")
FOLDER = "data/06_models/tiny/finetune"


@pytest.fixture
def invoke(project: Path, monkeypatch: pytest.MonkeyPatch) -> Invoke:
    """Return a function that calls our commands in a project where nothing is learned."""
    return commands(project, monkeypatch)


def test_from_checkpoint_to_champion_and_back(invoke: Invoke, project: Path,
                                              monkeypatch: pytest.MonkeyPatch) -> None:
    for seed, width in ((0, 4), (1, 8)):
        write_checkpoint(project / f"{FOLDER}/seed{seed}/01_gan", settings={"pretrained": "none", "width": width})
    assert "No version yet" in invoke("versions").output
    assert "No promotion yet" in invoke("versions", "--history").output
    assert_refused(invoke("promote", "--by", "ada"), "no versions yet", "kedro register")
    assert_refused(invoke("register", "tiny/kd"), "finetune")
    (project / "inbox/new").mkdir(parents=True)
    for arguments in (("update", "--task", "new", "--data", "inbox/new"), ("watch", "inbox", "--once"), ("gate",)):
        assert_refused(invoke(*arguments), "no champion yet", "kedro register")

    assert_refused(invoke("serve", "--port", "0"), "no champion yet", "kedro register")

    made = invoke("register", "tiny/finetune")
    assert made.exit_code == 0, made.output
    assert "Version 1: tiny/finetune/seed0/01_gan" in made.output
    assert_refused(invoke("rollback", "--by", "ada"), "no champion yet", "kedro promote")
    assert_refused(invoke("serve", "--port", "0"), "no champion yet", "kedro promote")
    assert "Champion: version 1" in invoke("promote", "--by", "ada").output
    assert "Version 2: tiny/finetune/seed1/01_gan" in invoke("register", "tiny/finetune", "--seed", "1").output
    assert_refused(invoke("promote", "--by", "ada"), "report of a gate", "--force REASON")
    assert_refused(invoke("promote", "--by", "ada", "--force", "x", "--gate", "y"), "not both")
    assert_refused(invoke("promote", "5", "--by", "ada"), "Unknown version '5'")
    assert "to go back to it" in invoke("promote", "--by", "ada", "--force", "urgent").output
    assert "Champion: version 1; before: version 2" in invoke("rollback", "--by", "bob", "--reason", "alarms").output

    registry = load_context().open_registry()
    serving = find_version(registry, "champion").run
    readme = project / "data/09_registry/files" / serving / "artifacts/README.md"
    held = readme.read_bytes()
    readme.write_text("changed")
    for arguments in (("serve", "--port", "0"), ("update", "--task", "new", "--data", "inbox/new"),
                      ("watch", "inbox", "--once")):
        assert_refused(invoke(*arguments), "README.md of a registered detector was changed", "version 1")
    readme.write_bytes(held)

    listed = invoke("versions").output
    assert "champion" in listed
    assert "tiny/finetune/seed1/01_gan" in listed
    told = invoke("versions", "--history").output
    assert all(word in told for word in ("ada", "urgent", "rollback", "bob", "alarms"))
    files = sorted(path.name for path in (project / "data/09_registry/files").rglob("*.*") if path.is_file())
    assert {"model.onnx", "method.safetensors", "weights.safetensors", "README.md", "manifest.json"} <= set(files)


def test_a_service_that_cannot_start_is_one_message(invoke: Invoke, project: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        assert_refused(invoke("serve", "--port", str(other.getsockname()[1])), "is in use", "--port")
    change(project, {"serving": {"max_bytes": 0}})
    assert_refused(invoke("serve"), "max_bytes above 0")


def test_a_registry_that_cannot_be_used_is_one_message(invoke: Invoke, project: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SECONDS", 0.2)
    change(project, {"registry": {"uri": "http://127.0.0.1:9"}})
    assert_refused(invoke("versions"), "does not answer", "127.0.0.1:9")
    change(project, {"registry": {"uri": "nowhere"}})
    assert_refused(invoke("versions"), "no address of a registry")
    change(project, {"registry": {"uri": ""}})
    path = project / "data/09_registry/registry.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN EXCLUSIVE")
        for arguments in (("versions",), ("promote", "--by", "ada"), ("gate",), ("watch", ".", "--once")):
            assert_refused(invoke(*arguments), "locked by another program")
    path.write_text("no database" * 100)
    assert_refused(invoke("versions"), "damaged", "registry.db")
