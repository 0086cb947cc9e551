"""`kedro watch`: from a dropped folder to the champion, refused data, and what a kill leaves."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from fakemedia.context.loading import load_context
from fakemedia.core.errors import UserError
from fakemedia.pipelines.update import watch
from fakemedia.registry.promotion import history
from fakemedia.registry.update_record import Outcome, outcomes
from tests.pipeline.conftest import Invoke, change, forge_fresh, promote_first

pytest.importorskip("mlflow")
pytest.importorskip("onnxscript")


@pytest.fixture(autouse=True)
def inbox(invoke: Invoke, learned: Path) -> None:
    """Let ridge on one task serve behind a loose gate, and put a new task, `fresh`, into `inbox`."""
    change(learned, {"gate": {"delta": 80.0, "false_alarms": 100.0}})
    promote_first(invoke)
    fresh = forge_fresh(learned / "inbox", train=80, val=30, test=100)
    (fresh / "sources.csv").unlink(missing_ok=True)  # The packaged photographs are too few to tell anything.
    (fresh.parent / "sources.csv").unlink(missing_ok=True)


@pytest.mark.slow
def test_from_a_dropped_folder_to_the_champion_and_back(invoke: Invoke, learned: Path,
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
    assert (done.exit_code, done.output.splitlines()) == (0, [
        "fresh: learning it, then comparing with the champion", "fresh: promoted, version 2"]), done.output
    assert [(each.before, each.after, each.by) for each in history(registry)] == [
        (None, 1, "ada"), (1, 2, "kedro watch")]
    assert len(history(registry)[1].gate_sha256) == 64

    stored = {path: path.read_bytes() for path in (learned / "data").rglob("update/fresh/**/manifest.json")}
    shutil.copytree(learned / "inbox/fresh", learned / "other/fresh")
    next((learned / "other/fresh/test/1_fake").iterdir()).unlink()
    other = invoke("watch", "other", "--once")
    assert other.exit_code == 3
    assert "knows the task 'fresh' already, from other pictures" in other.output
    assert stored
    assert all(path.read_bytes() == held for path, held in stored.items()), "what the champion needs was replaced"

    assert invoke("rollback", "--by", "bob").exit_code == 0
    assert registry.aliases()["champion"] == 1
    again = invoke("watch", "inbox", "--once")
    assert (again.exit_code, again.output) == (0, "")
    assert registry.aliases()["champion"] == 1, "a rollback is not undone"
    assert [each.outcome for each in outcomes(registry)] == ["promoted", "refused"]

    next((learned / "other/fresh/test/1_fake").iterdir()).unlink()
    for command in (("watch", "other", "--once"), ("update", "--task", "fresh", "--data", "other/fresh")):
        other = invoke(*command)
        assert other.exit_code in (1, 3), other.output
        assert "former champion knows the task 'fresh' already, from other pictures" in other.output
    assert all(path.read_bytes() == held for path, held in stored.items()), "what the former champion needs"


def test_trouble_of_the_machine_does_not_refuse_a_folder(invoke: Invoke, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr("os.replace", full)
        stopped = invoke("watch", "inbox", "--once")
    assert stopped.exit_code == 1, stopped.output
    assert "Writing failed" in stopped.output
    registry = load_context().open_registry()
    assert outcomes(registry) == []
    assert registry.aliases() == {"champion": 1}


def test_an_error_of_one_folder_does_not_stop_the_others(invoke: Invoke, learned: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    (learned / "inbox/early").mkdir()

    def take(context: object, folder: Path, files: str, by: str) -> Outcome:
        if folder.name == "early":
            raise UserError("pictures are missing")
        return Outcome(task=folder.name, files=files, outcome="fail", version=2, reason="worse")

    monkeypatch.setattr(watch, "take", take)
    stopped = invoke("watch", "inbox", "--once")
    assert stopped.exit_code == 1
    assert stopped.output.splitlines() == [
        "early: learning it, then comparing with the champion",
        "fresh: learning it, then comparing with the champion",
        "fresh: fail, version 2", "  worse", "Error: pictures are missing."]
    assert [each.task for each in outcomes(load_context().open_registry())] == ["fresh"]


@pytest.mark.slow
def test_bad_folders_are_named_and_leave_the_champion(invoke: Invoke, learned: Path) -> None:
    registry = load_context().open_registry()
    inbox = learned / "inbox"
    shutil.copytree(inbox / "fresh", inbox / "gan")
    shutil.move(inbox / "fresh", inbox / "broken")
    next((inbox / "broken/train/1_fake").iterdir()).write_bytes(b"broken")
    (inbox / "empty").mkdir()
    (inbox / "a name").mkdir()
    found = invoke("watch", "inbox", "--once")
    assert found.exit_code == 3, found.output
    for part in ("broken: refused", "cannot be read", "empty: refused", "a name: refused", "gan: refused",
                 "knows the task 'gan' already"):
        assert part in found.output
    assert registry.aliases() == {"champion": 1}
    assert invoke("watch", "inbox", "--once").output == ""
    assert "does not exist" in invoke("watch", "nowhere", "--once").output
