"""Nothing silent: tables, names, permissions and archives as people have them are read, or named."""

from __future__ import annotations

import os
import unicodedata
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from fakemedia.core.errors import UserError
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.index import index_recipe, refreshed
from fakemedia.ingest.parts import read_index, write_index
from fakemedia.sources import walking
from tests.trees import FULL, TOTAL, checked, counts, open_source, packed, write_tree


def table_of(root: Path, *, header: tuple[str, ...] = ("path", "label", "split"), delimiter: str = ",",
             label: Callable[[int], str] = str, encoding: str = "utf-8", form: str = "NFC") -> None:
    lines = [delimiter.join(header)]
    for path in sorted(root.rglob("*.png")):
        name = unicodedata.normalize(form, path.relative_to(root).as_posix())
        lines.append(delimiter.join([name, label(int(path.parent.name[0])), path.parts[-3]]))
    (root / "images.csv").write_text("\n".join(lines), encoding=encoding)


@pytest.mark.parametrize("settings", [
    {"delimiter": ";"}, {"delimiter": "\t"}, {"encoding": "utf-16"}, {"encoding": "utf-8-sig"},
    {"header": ("Path", "Label", "Split")}, {"header": (" path ", "LABEL", '"split"')},
    {"label": lambda label: ("real", "fake")[label]}, {"label": lambda label: ("Real", "FAKE")[label]},
    {"label": lambda label: ("False", "True")[label]}, {"label": lambda label: f"{label}.0"},
])
def test_tables_as_people_have_them(tmp_path: Path, settings: dict) -> None:
    root = write_tree(tmp_path)
    table_of(root, **settings)
    index, findings = checked(open_source("table", root, table="images.csv"), "images")
    assert counts(index) == FULL
    assert (index["label"] == index["path"].str.contains("1_fake")).all()
    assert "unreadable" not in set(findings["finding"])


def test_a_line_that_names_the_separator_is_passed_over(tmp_path: Path) -> None:
    root = write_tree(tmp_path)
    table_of(root, delimiter=";")
    (root / "images.csv").write_text("sep=;\n" + (root / "images.csv").read_text())
    index, _ = checked(open_source("table", root, table="images.csv"), "images")
    assert counts(index) == FULL


@pytest.mark.parametrize("written", ["NFC", "NFD"])
@pytest.mark.parametrize("kept", ["NFC", "NFD"])
def test_two_spellings_of_an_accent_are_one_name(tmp_path: Path, written: str, kept: str) -> None:
    name = unicodedata.normalize(kept, "café")
    root = write_tree(tmp_path, name=lambda split, label, number: f"{name}{number:03d}.png")
    table_of(root, form=written)
    index, _ = checked(open_source("table", root, table="images.csv"), "images")
    assert (index["error"] == "").all()
    rows = [f"{unicodedata.normalize(written, path.relative_to(root / 'a').as_posix())},one"
            for path in (root / "a").rglob("*.png")]
    (root / "a/sources.csv").write_text("\n".join(["path,source", *rows]))
    index, _ = checked(open_source("folder", root))
    assert set(index["source"]) == {"one"}


@pytest.mark.parametrize("source", ["folder", "archive", "table"])
def test_a_name_that_is_no_utf8_is_read(tmp_path: Path, source: str) -> None:
    """Ingestion ended in a UnicodeEncodeError."""
    root = write_tree(tmp_path / "in")
    path = root / "a/train/0_real/000.png"
    os.rename(path, os.fsencode(path.parent) + b"/caf\xe9.png")
    settings = {}
    if source == "table":
        names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.png"))
        lines = [f"{name},{int('1_fake' in name)}".encode("utf-8", "backslashreplace").replace(b"\\udce9", b"\\xe9")
                 for name in names]
        (root / "images.csv").write_bytes(b"\n".join([b"path,label", *lines]))
        settings = {"table": "images.csv", "task": "a"}
    opened = open_source(source, root, **settings)
    index, findings = checked(opened)
    assert len(index) == TOTAL
    assert r"a/train/0_real/caf\xe9.png" in index["path"].tolist()
    assert not {"unreadable", "skipped"} & set(findings["finding"])
    write_index(index, tmp_path / "index", index_recipe("a", {"name": "folder"}))
    found = refreshed(read_index(tmp_path / "index"), opened, "a")
    assert found is not None
    build_store(found, opened, "train", tmp_path / "store", workers=1, progress=False).verify()


@pytest.mark.parametrize("closed", ["a/train/0_real", "a", "."])
@pytest.mark.parametrize("source", ["folder", "archive"])
def test_a_folder_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, closed: str,
                                              source: str) -> None:
    root, scandir = write_tree(tmp_path / "in"), os.scandir

    def listing(folder: str | Path):
        if Path(folder) == root / closed:  # An administrator may read everything.
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(walking.os, "scandir", listing)
    with pytest.raises(UserError, match=r"The folder cannot be read \(Permission denied\)"):
        assert "a" in open_source(source, root).tasks() and open_source(source, root).items("a")  # noqa: PT018


def test_a_table_of_sources_without_permission_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = write_tree(tmp_path / "in")
    (root / "a/sources.csv").write_text("path,source\n")

    def refused(path: Path, size: int) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fakemedia.sources.data_folders.read_regular", refused)
    with pytest.raises(UserError, match=r"table of sources cannot be read: Permission denied"):
        open_source("folder", root).items("a")


def test_a_zip_with_backslashes_is_read(tmp_path: Path) -> None:
    write_tree(tmp_path / "in")
    path = packed(tmp_path / "in", tmp_path / "a.zip", separator="\\")
    with zipfile.ZipFile(path, "a") as file:
        file.writestr("a\\train\\0_real\\", b"")
    index, findings = checked(open_source("archive", path))
    assert counts(index) == FULL
    assert findings.empty


@pytest.mark.parametrize(("name", "start", "kind"), [
    ("a.7z", b"7z\xbc\xaf\x27\x1c", "7z"), ("a.rar", b"Rar!\x1a\x07", "RAR"),
    ("a.tar.zst", b"\x28\xb5\x2f\xfd", "Zstandard"), ("a.zip", b"7z\xbc\xaf\x27\x1c", "7z"),
])
@pytest.mark.parametrize("alone", [True, False])
def test_an_archive_that_is_not_read_is_named(tmp_path: Path, name: str, start: bytes, kind: str, alone: bool) -> None:
    """It was said that the collection lacks the tasks."""
    root = tmp_path / "in"
    root.mkdir()
    (root / name).write_bytes(start + bytes(600))
    with pytest.raises(UserError, match=rf"(?s)a {kind} archive.*unpack it"):
        open_source("archive", root / name if alone else root).tasks()


def test_an_archive_that_is_not_read_beside_others_is_a_finding(tmp_path: Path) -> None:
    root = tmp_path / "archives"
    root.mkdir()
    packed(write_tree(tmp_path / "in"), root / "data.zip")
    (root / "more.7z").write_bytes(b"7z\xbc\xaf\x27\x1c")
    _, findings = checked(open_source("archive", root))
    assert findings[["finding", "severity", "path"]].to_numpy().tolist() == [["skipped", "warning", "more.7z"]]
