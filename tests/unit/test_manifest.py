"""The manifest of an artefact: what it was made from, and whether it is still there as it was written."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from fakemedia.artefacts.manifest import (
    Recipe,
    file_sha256,
    is_current,
    make_manifest,
    manifest_path,
    read_checked,
    read_manifest,
    verify,
    write_manifest,
)
from fakemedia.core.errors import UserError

RECIPE = Recipe(producer="scores", version=1, settings={"crop": 64}, inputs={"checkpoint": "abc"})


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    path = tmp_path / "project" / "scores.parquet"
    path.parent.mkdir()
    path.write_bytes(b"scores")
    write_manifest(make_manifest(RECIPE, {path.name: path}), path)
    return path


def test_what_was_made_by_the_same_recipe_is_current(artefact: Path) -> None:
    assert is_current(artefact, RECIPE)


@pytest.mark.parametrize("change", [
    {"version": 2}, {"producer": "other"}, {"settings": {"crop": 32}}, {"settings": {}},
    {"inputs": {"checkpoint": "x"}},
])
def test_another_recipe_makes_it_stale(artefact: Path, change: dict) -> None:
    assert not is_current(artefact, replace(RECIPE, **change))


def test_it_is_current_after_a_copy_and_a_touch(artefact: Path, tmp_path: Path) -> None:
    shutil.copytree(artefact.parent, tmp_path / "copy")
    copied = tmp_path / "copy" / artefact.name
    os.utime(copied, (1, 1))
    assert is_current(copied, RECIPE)
    assert str(tmp_path) not in manifest_path(copied, folder=False).read_text()


@pytest.mark.parametrize("damage", [b"", b"score", b"scores and more"])
def test_another_size_or_a_missing_file_counts_as_missing(artefact: Path, damage: bytes) -> None:
    artefact.write_bytes(damage) if damage else artefact.unlink()
    assert not is_current(artefact, RECIPE)


def test_changed_bytes_are_found_when_the_content_is_read(artefact: Path) -> None:
    artefact.write_bytes(b"sc0res")
    manifest = read_manifest(artefact)
    assert manifest is not None
    with pytest.raises(UserError, match=r"scores\.parquet"):
        verify(artefact, manifest)


@pytest.mark.parametrize("text", ["", "{", "[]", '{"recipe": 1}', '{"files": {"a": 1}}'])
def test_a_damaged_manifest_is_none(artefact: Path, text: str) -> None:
    manifest_path(artefact, folder=False).write_text(text)
    assert read_manifest(artefact) is None
    assert not is_current(artefact, RECIPE)


def test_equal_content_has_an_equal_hash(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12")
    by_path, by_bytes = (make_manifest(RECIPE, {"a": data}) for data in (tmp_path / "a", b"12"))
    assert by_path == by_bytes
    assert by_path.files["a"] == (2, file_sha256(tmp_path / "a"))
    assert by_path.content != make_manifest(RECIPE, {"a": b"21"}).content


def test_a_folder_holds_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / "weights").write_bytes(b"w")
    write_manifest(make_manifest(RECIPE, {"weights": b"w"}), tmp_path / "model", folder=True)
    assert is_current(tmp_path / "model", RECIPE, folder=True)
    (tmp_path / "model" / "weights").unlink()
    assert not is_current(tmp_path / "model", RECIPE, folder=True)


def test_bytes_that_changed_after_the_manifest_count_as_missing(artefact: Path) -> None:
    artefact.write_bytes(b"sc0res")
    os.utime(artefact, ns=(0, manifest_path(artefact, folder=False).stat().st_mtime_ns + 1))
    assert not is_current(artefact, RECIPE)
    with pytest.raises(UserError, match=r"scores\.parquet"):
        read_checked(artefact)


def test_a_touched_file_is_compared_once(artefact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.utime(artefact, ns=(0, manifest_path(artefact, folder=False).stat().st_mtime_ns + 1))
    assert is_current(artefact, RECIPE)
    monkeypatch.setattr("fakemedia.artefacts.manifest._measured", None)
    assert is_current(artefact, RECIPE)


def test_a_flipped_bit_in_a_manifest_is_found(artefact: Path) -> None:
    path, before = manifest_path(artefact, folder=False), read_manifest(artefact)
    whole = path.read_bytes()
    for at in range(len(whole)):
        for bit in range(8):
            path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1:])
            assert read_manifest(artefact) in (None, before)
    with pytest.raises(UserError, match=r"\.manifest/scores\.parquet\.json"):
        read_checked(artefact)
