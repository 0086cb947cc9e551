"""Versions: what is registered is found again, and a changed file is never served."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from fakemedia.artefacts.manifest import Recipe
from fakemedia.core.errors import UserError
from fakemedia.networks.checkpoint import load, save
from fakemedia.registry import versions
from fakemedia.registry.client import Registry, open_registry
from fakemedia.registry.versions import find_version, list_versions, open_version, register
from tests.registries import new_registry, write_detector
from tests.scoring import calibration, write_calibration

pytest.importorskip("mlflow")


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return open_registry("", new_registry(tmp_path / "registry"))


def say(folder: Path, **facts: object) -> None:
    """Write the checkpoint in `folder` again, with further facts."""
    read = load(folder)
    save(replace(read, meta={**read.meta, **facts}), folder, Recipe(producer="stage", version=1))


def test_a_detector_becomes_a_version(registry: Registry, tmp_path: Path) -> None:
    folder = write_detector(tmp_path / "one")
    meta = json.loads((folder / "checkpoint.json").read_text())
    say(folder, data={"two": {"train": "aa", "val": "bb"}})
    sha256 = meta["weights_sha256"]
    write_calibration(folder, calibration(sha256))
    made = register(registry, folder, origin="demo/kd/seed0/02_b")
    assert (made.number, made.aliases, made.facts.parent) == (1, ("candidate",), None)
    assert (made.facts.origin, made.facts.network) == ("demo/kd/seed0/02_b", "convnet")
    assert made.facts.tasks == ("one", "two")
    assert made.facts.data == {"two train": "aa", "two val": "bb"}
    assert made.facts.weights_sha256 == sha256
    assert made.facts.calibration is not None
    assert made.facts.calibration["threshold"] == 0.5
    assert versions.hashes(open_version(registry, made)) == made.files == versions.hashes(folder)
    assert open_version(registry, made) != folder


def test_the_newest_is_the_candidate_and_the_same_is_not_stored_twice(registry: Registry, tmp_path: Path) -> None:
    first = register(registry, write_detector(tmp_path / "one"), origin="one")
    second = register(registry, write_detector(tmp_path / "two", 1), origin="two")
    assert [each.aliases for each in list_versions(registry)] == [(), ("candidate",)]
    again = register(registry, tmp_path / "one", origin="one")
    assert (again.number, again.aliases) == (first.number, ("candidate",))
    registry.set_alias("champion", second.number)
    assert register(registry, tmp_path / "two", origin="two").aliases == ("champion",)
    assert len(list_versions(registry)) == 2


def test_the_parent_is_the_version_that_the_checkpoint_was_learned_from(registry: Registry, tmp_path: Path) -> None:
    first = register(registry, write_detector(tmp_path / "one"), origin="one")
    child = write_detector(tmp_path / "two", 1)
    say(child, parent=first.facts.checkpoint)
    assert register(registry, child, origin="two").facts.parent == 1
    other = register(registry, write_detector(tmp_path / "three", 2), origin="three", parent=2)
    assert other.facts.parent == 2


@pytest.mark.parametrize(("change", "said"), [
    (lambda file: file.write_bytes(file.read_bytes()[:-1] + b"?"), "weights.safetensors of a registered detector was "
     "changed"),
    (lambda file: file.unlink(), "weights.safetensors of a registered detector is missing"),
    (lambda file: (file.parent / "extra.json").write_text("{}"), "extra.json of a registered detector was added"),
], ids=["changed", "missing", "added"])
def test_a_version_whose_files_changed_is_refused(registry: Registry, tmp_path: Path, change, said: str) -> None:
    version = register(registry, write_detector(tmp_path / "one"), origin="one")
    change(registry.files(version.run) / "weights.safetensors")
    with pytest.raises(UserError, match=said):
        open_version(registry, version)


def test_files_that_mlflow_dropped_are_noticed_at_once(registry: Registry, tmp_path: Path,
                                                       monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Registry, "keep_files", lambda self, run, source: self.files(run).mkdir(parents=True))
    with pytest.raises(UserError, match="is missing"):
        register(registry, write_detector(tmp_path / "one"), origin="one")
    assert list_versions(registry) == []
    assert registry.aliases() == {}


def test_what_does_not_exist(registry: Registry, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no champion yet(?s:.*)kedro register"):
        find_version(registry, "champion")
    with pytest.raises(UserError, match="no versions yet"):
        find_version(registry, "candidate")
    register(registry, write_detector(tmp_path / "one"), origin="one")
    with pytest.raises(UserError, match=r"no champion yet(?s:.*)kedro promote"):
        find_version(registry, "champion")
    with pytest.raises(UserError, match=r"Unknown version '7'(?s:.*)one of 1, candidate"):
        find_version(registry, 7)
    with pytest.raises(UserError, match="no checkpoint"):
        register(registry, tmp_path, origin="nothing")


def test_versions_of_others_are_not_ours(registry: Registry) -> None:
    registry.add_version(registry.record("other", "x"), {"content": "y"})
    with pytest.raises(UserError, match="not registered by this project"):
        list_versions(registry)
