"""Promotion and rollback: who may, what is recorded, and what an interruption leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from filelock import FileLock

from fakemedia.core.errors import UserError
from fakemedia.registry import client
from fakemedia.registry.client import Registry, open_registry
from fakemedia.registry.promotion import history, promote, read_gate, roll_back
from fakemedia.registry.versions import Version, find_version, register
from tests.registries import new_registry, write_detector

pytest.importorskip("mlflow")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry("", new_registry(tmp_path / "registry"))


@pytest.fixture
def three(registry: Registry, tmp_path: Path) -> list[Version]:
    return [register(registry, write_detector(tmp_path / str(seed), seed), origin=str(seed)) for seed in range(3)]


def report(path: Path, candidate: Version, champion: Version | None, outcome: str = "pass") -> Path:
    path.write_text(json.dumps({"outcome": outcome, "candidate": candidate.content,
                                "champion": champion.content if champion else None, "tasks": {"one": 0.3}}))
    return path


def test_promotions_and_rollbacks_move_the_aliases_and_are_recorded(registry: Registry, three: list[Version],
                                                                    tmp_path: Path) -> None:
    one, two, three_ = three
    promote(registry, one, by="ada")
    gate = report(tmp_path / "gate.json", two, one)
    made = promote(registry, two, by="bob", gate=gate)
    assert registry.aliases() == {"champion": 2, "previous": 1, "candidate": 3}
    assert json.loads((registry.files(made.run) / "gate.json").read_text())["tasks"] == {"one": 0.3}
    promote(registry, three_, by="cyd", forced="urgent")
    assert registry.aliases() == {"champion": 3, "previous": 2}
    roll_back(registry, by="dan", reason="too many alarms")
    assert registry.aliases() == {"champion": 2, "previous": 1}
    roll_back(registry, by="dan")
    assert registry.aliases() == {"champion": 1}
    with pytest.raises(UserError, match="no earlier champion"):
        roll_back(registry, by="dan")
    rows = [(each.kind, each.by, each.before, each.after, each.reason, each.made) for each in history(registry)]
    assert rows == [
        ("promotion", "ada", None, 1, "the first champion", True), ("promotion", "bob", 1, 2, "", True),
        ("promotion", "cyd", 2, 3, "urgent", True), ("rollback", "dan", 3, 2, "too many alarms", True),
        ("rollback", "dan", 2, 1, "", True)]
    assert len(history(registry)[1].gate_sha256) == 64


def test_a_promotion_needs_a_gate_that_passed_for_these_two(registry: Registry, three: list[Version],
                                                            tmp_path: Path) -> None:
    one, two, three_ = three
    promote(registry, one, by="ada")
    path = tmp_path / "gate.json"
    with pytest.raises(UserError, match="needs the report of a gate"):
        promote(registry, two, by="ada")
    for outcome in ("fail", "too few to tell"):
        with pytest.raises(UserError, match=f"outcome is '{outcome}'"):
            promote(registry, two, by="ada", gate=report(path, two, one, outcome))
    with pytest.raises(UserError, match="judged another detector"):
        promote(registry, two, by="ada", gate=report(path, three_, one))
    with pytest.raises(UserError, match=r"another champion(?s:.*)version 1"):
        promote(registry, two, by="ada", gate=report(path, two, three_))
    path.write_text("not json")
    with pytest.raises(UserError, match="no report of a gate"):
        read_gate(path)
    with pytest.raises(UserError, match="champion already"):
        promote(registry, one, by="ada", forced="why not")
    with pytest.raises(UserError, match="needs a name"):
        promote(registry, two, by=" ", forced="why not")
    assert registry.aliases() == {"champion": 1, "candidate": 3}
    assert len(history(registry)) == 1


def test_a_promotion_through_a_loosened_gate_is_recorded_as_such(registry: Registry, three: list[Version],
                                                                 tmp_path: Path) -> None:
    one, two, _ = three
    promote(registry, one, by="ada")
    path = report(tmp_path / "gate.json", two, one)
    path.write_text(json.dumps({**json.loads(path.read_text()), "loosened": ["delta 50 instead of 2"]}))
    assert promote(registry, two, by="bob", gate=path).reason == "loosened gate: delta 50 instead of 2"
    assert history(registry)[-1].reason == "loosened gate: delta 50 instead of 2"


def test_a_foreign_run_among_the_records_is_named(registry: Registry, three: list[Version]) -> None:
    run = registry.record("promotions", "by hand", tags={"kind": "promotion"})
    with pytest.raises(UserError, match=f"not recorded by this project[\\s\\S]*{run}"):
        promote(registry, three[0], by="ada")
    assert "champion" not in registry.aliases()


def test_there_is_nothing_to_roll_back_to(registry: Registry, three: list[Version]) -> None:
    with pytest.raises(UserError, match="no champion yet"):
        roll_back(registry, by="ada")
    promote(registry, three[0], by="ada")
    with pytest.raises(UserError, match="no earlier champion"):
        roll_back(registry, by="ada")


def test_a_changed_version_is_neither_promoted_nor_gone_back_to(registry: Registry, three: list[Version]) -> None:
    one, two, _ = three
    (registry.files(two.run) / "README.md").write_text("changed")
    promote(registry, one, by="ada")
    with pytest.raises(UserError, match=r"README\.md of a registered detector was changed"):
        promote(registry, two, by="ada", forced="urgent")
    (registry.files(one.run) / "README.md").write_text("changed")
    promote(registry, three[2], by="ada", forced="urgent")
    with pytest.raises(UserError, match=r"README\.md of a registered detector was changed"):
        roll_back(registry, by="ada")
    assert registry.aliases()["champion"] == 3


@pytest.mark.parametrize("alias", ["champion", "previous"])
def test_an_interrupted_promotion_is_completed_or_not_made(registry: Registry, three: list[Version], alias: str,
                                                           monkeypatch: pytest.MonkeyPatch) -> None:
    one, two, three_ = three
    promote(registry, one, by="ada")

    def killed(self: Registry, name: str, number: int | None) -> None:
        if name == alias:
            raise KeyboardInterrupt
        return original(self, name, number)

    original = Registry.set_alias
    with monkeypatch.context() as patch:
        patch.setattr(Registry, "set_alias", killed)
        with pytest.raises(KeyboardInterrupt):
            promote(registry, two, by="bob", forced="urgent")
    assert registry.aliases()["champion"] == (1 if alias == "champion" else 2)
    assert [each.made for each in history(registry)] == [True, False]
    promote(registry, three_, by="cyd", forced="urgent")
    before = 1 if alias == "champion" else 2
    assert registry.aliases() == {"champion": 3, "previous": before}
    assert [each.made for each in history(registry)] == [True, alias == "previous", True]
    roll_back(registry, by="dan")
    assert find_version(registry, "champion").number == before


def test_two_at_once_is_one_message(registry: Registry, three: list[Version], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "LOCK_TIMEOUT", 0.1)
    with FileLock(registry.folder / ".lock"):
        for change in (lambda: promote(registry, three[0], by="ada"), lambda: roll_back(registry, by="ada")):
            with pytest.raises(UserError, match="Another command is changing this registry"):
                change()
    assert registry.aliases() == {"candidate": 3}
