"""`kedro watch`: from a dropped folder to the champion, refused data, and what a kill leaves."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from fakemedia.context.loading import load_context
from fakemedia.forge import ForgeConfig, forge
from fakemedia.pipelines.update import watch
from fakemedia.registry.promotion import history
from fakemedia.registry.update_record import outcomes
from fakemedia.scoring import onnx_export
from tests.pipeline.conftest import bootstrap, change, run
from tests.registries import new_registry

pytest.importorskip("mlflow")
pytest.importorskip("onnxscript")


@pytest.fixture
def invoke(ingested: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Return a function that calls our commands in a project whose champion is ridge on one task.

    A new task, `fresh`, is in the folder `inbox`.
    """
    change(ingested, {"sequences": {"tiny": {"tasks": ["latent", "gan"], "methods": {"ridge": {"tune": "head"}}}},
                      "gate": {"delta": 80.0, "false_alarms": 100.0}})
    monkeypatch.chdir(ingested)
    monkeypatch.setattr(onnx_export, "export", lambda folder, out: out.write_bytes(b"onnx"))
    bootstrap()
    from fakemedia.cli import cli

    run(ingested, tags=["ridge"])
    new_registry(ingested / "data/09_registry")

    def call(*arguments: str) -> Result:
        return CliRunner().invoke(cli, arguments)

    for arguments in (("register", "tiny/ridge/0/01_latent"), ("promote", "--by", "ada")):
        assert call(*arguments).exit_code == 0
    forge(ForgeConfig(size=32, per_class={"train": 80, "val": 30, "test": 100},
                      tasks={"fresh": {"family": "upsampling", "kernel": 3}}), ingested / "made", workers=1)
    shutil.copytree(ingested / "made/fresh", ingested / "inbox/fresh")
    (ingested / "inbox/fresh/sources.csv").unlink()  # The packaged photographs are too few to tell anything.
    return call


@pytest.mark.slow
def test_from_a_dropped_folder_to_the_champion_and_back(invoke: Callable[..., Result], ingested: Path,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    registry = load_context().open_registry()

    def killed(*arguments: object, **options: object) -> None:
        raise KeyboardInterrupt

    for step in ("store_folder", "learn_task", "register_candidate", "run_gate", "promote", "record_outcome"):
        with monkeypatch.context() as patch:
            patch.setattr(watch, step, killed)
            stopped = invoke("watch", "inbox", "--once")
        assert stopped.exit_code != 0, (step, stopped.output)
        assert outcomes(registry) == []
        assert registry.aliases()["champion"] == (2 if step == "record_outcome" else 1), step
    done = invoke("watch", "inbox", "--once")
    assert (done.exit_code, done.output) == (0, "fresh: promoted, version 2\n"), done.output
    assert [(each.before, each.after, each.by) for each in history(registry)] == [
        (None, 1, "ada"), (1, 2, "kedro watch")]
    assert len(history(registry)[1].gate_sha256) == 64
    assert invoke("rollback", "--by", "bob").exit_code == 0
    assert registry.aliases()["champion"] == 1
    again = invoke("watch", "inbox", "--once")
    assert (again.exit_code, again.output) == (0, "")
    assert registry.aliases()["champion"] == 1, "a rollback is not undone"
    assert len(outcomes(registry)) == 1


@pytest.mark.slow
def test_bad_folders_are_named_and_leave_the_champion(invoke: Callable[..., Result], ingested: Path) -> None:
    registry = load_context().open_registry()
    inbox = ingested / "inbox"
    shutil.copytree(inbox / "fresh", inbox / "latent")
    shutil.move(inbox / "fresh", inbox / "broken")
    next((inbox / "broken/train/1_fake").iterdir()).write_bytes(b"broken")
    (inbox / "empty").mkdir()
    (inbox / "a name").mkdir()
    found = invoke("watch", "inbox", "--once")
    assert found.exit_code == 3, found.output
    for part in ("broken: refused", "cannot be read", "empty: refused", "a name: refused", "latent: refused",
                 "knows the task 'latent' already"):
        assert part in found.output
    assert registry.aliases() == {"champion": 1}
    assert invoke("watch", "inbox", "--once").output == ""
    assert "does not exist" in invoke("watch", "nowhere", "--once").output
