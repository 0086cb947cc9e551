"""Nothing silent: what users bring is read, or named."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from skimage.data import astronaut, chelsea, coffee, rocket

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS
from fakemedia.ingest.audit import accept, audit_task, shared_images, verdict
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.collection import AuditConfig
from fakemedia.ingest.index import build_index, read_index, refreshed, write_index
from fakemedia.ingest.sheets import tiles_of
from fakemedia.sources import walking
from fakemedia.sources.pictures import starts_like_picture
from fakemedia.sources.source import Source, listed

COUNTS = {"train": 20, "val": 8, "test": 8}
TOTAL = 72
Namer = Callable[[str, int, int], str]


def write_tree(root: Path, task: str = "a", *, splits: dict[str, str] | None = None,
               classes: tuple[str, str] = CLASS_FOLDERS, name: Namer = lambda split, label, number: f"{number:03d}.png",
               codec: str | None = None) -> Path:
    rng = np.random.default_rng(sum(map(ord, task)))
    for split, count in COUNTS.items():
        for label, folder in enumerate(classes):
            for number in range(count):
                path = root / task / (splits or {}).get(split, split) / folder / name(split, label, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
                coarse.resize((32, 32), Image.Resampling.BICUBIC).save(path, codec)
    return root


def packed(root: Path, to: Path, *, separator: str = "/") -> Path:
    with zipfile.ZipFile(to, "w") as file:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            file.writestr(path.relative_to(root).as_posix().replace("/", separator), path.read_bytes())
    return to


def open_source(name: str, root: Path, **settings: object) -> Source:
    return plugin.create("sources", name, {"root": str(root), **settings})


def checked(source: Source, task: str = "a", *, strict: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    index = build_index(source, task, workers=1, progress=False)
    return index, audit_task(index, AuditConfig(strict=strict))


def counts(index: pd.DataFrame) -> dict[str, int]:
    return dict(Counter(index["split"]))


FULL = {split: 2 * count for split, count in COUNTS.items()}


@pytest.mark.parametrize("source", ["folder", "archive"])
@pytest.mark.parametrize(("ending", "codec"), [("avif", "AVIF"), ("jfif", "JPEG"), ("jpe", "JPEG"), ("JPG", "JPEG"),
                                               ("jp2", "JPEG2000"), ("pgm", "PPM"), ("photo", "PNG"), ("txt", "JPEG")])
def test_pictures_are_told_by_their_content(tmp_path: Path, source: str, ending: str, codec: str) -> None:
    root = write_tree(tmp_path / "in", name=lambda split, label, number: f"{number:03d}.{ending}", codec=codec)
    if source == "archive":
        root = packed(root, tmp_path / "a.zip")
    index, findings = checked(open_source(source, root))
    assert counts(index) == FULL
    assert set(index["codec"]) == {codec.lower()}
    assert not {"unreadable", "skipped"} & set(findings["finding"])


@pytest.mark.parametrize("source", ["folder", "archive"])
@pytest.mark.parametrize(("head", "extra"), [(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", "heic"),
                                             (b"\0\0\0\x0cJXL \r\n\x87\n", "jxl"), (b"\xff\x0a\0\0", "jxl")])
def test_formats_of_extras_are_named(tmp_path: Path, source: str, head: bytes, extra: str) -> None:
    if importlib.util.find_spec({"heic": "pillow_heif", "jxl": "pillow_jxl"}[extra]):
        pytest.skip("the extra is installed")
    root = write_tree(tmp_path / "in")
    (root / f"a/train/0_real/phone.{extra}").write_bytes(head + bytes(200))
    if source == "archive":
        root = packed(root, tmp_path / "a.zip")
    index, findings = checked(open_source(source, root))
    bad = index.loc[index["error"] != ""]
    assert len(index) == TOTAL + 1
    assert bad["error"].str.contains(f"pip install -e '.[{extra}]'", regex=False).all()
    assert findings["finding"].tolist() == ["unreadable"]
    assert verdict(findings) == "fail"


@pytest.mark.parametrize("source", ["folder", "archive"])
def test_files_that_are_no_pictures_are_counted_by_class_folder(tmp_path: Path, source: str) -> None:
    root = write_tree(tmp_path / "in")
    for folder, names in (("train/0_real", ("a.psd", "b.psd", "c.exr")), ("val/1_fake", ("x.txt",)),
                          ("test/1_fake", ("Thumbs.db", ".hidden"))):
        for name in names:
            (root / "a" / folder / name).write_bytes(b"no picture")
    if source == "archive":
        root = packed(root, tmp_path / "a.zip")
    index, findings = checked(open_source(source, root))
    found = findings.loc[findings["finding"] == "skipped"]
    assert counts(index) == FULL
    assert ["/".join(path.split("/")[-2:]) for path in found["path"]] == ["train/0_real", "val/1_fake"]
    assert found["severity"].tolist() == ["warning", "note"]
    assert found["detail"].iloc[0] == "files that are no images that can be read: 1 .exr, 2 .psd"


@pytest.mark.parametrize("source", ["folder", "archive"])
def test_subfolders_of_a_class_folder_are_content_classes(tmp_path: Path, source: str) -> None:
    root = write_tree(tmp_path / "in", name=lambda split, label, number: f"cat/{number:03d}.png" if number else "0.png")
    (root / "a/train/0_real/cat/tabby/deep").mkdir(parents=True)
    Image.new("RGB", (9, 9), (1, 2, 3)).save(root / "a/train/0_real/cat/tabby/deep/x.png")
    if source == "archive":
        root = packed(root, tmp_path / "a.zip")
    index, findings = checked(open_source(source, root))
    assert len(index) == TOTAL + 1
    assert set(index["class_name"]) == {"", "cat", "cat/tabby/deep"}
    assert "skipped" not in set(findings["finding"])


@pytest.mark.parametrize("source", ["folder", "archive"])
@pytest.mark.parametrize(("splits", "classes"), [
    ({"train": "Train", "val": "validation", "test": "Test"}, CLASS_FOLDERS),
    ({"train": "training", "val": "Valid", "test": "TESTING"}, ("0_Real", "1_Fake")), ({}, ("real", "Fake")),
])
def test_usual_spellings_are_read_with_a_note(tmp_path: Path, source: str, splits: dict[str, str],
                                              classes: tuple[str, str]) -> None:
    """Archives dropped 16 to 48 of 80 pictures, and cut the rest again."""
    root = write_tree(tmp_path / "in", splits=splits, classes=classes)
    if source == "archive":
        root = packed(root, tmp_path / "a.zip")
    opened = open_source(source, root)
    assert opened.tasks() == ["a"]
    index, findings = checked(opened)
    assert counts(index) == FULL
    assert index["label"].value_counts().to_dict() == {0: 36, 1: 36}
    assert (index["cut"] == "").all()
    assert set(findings["finding"]) == {"spelling"}
    assert set(findings["severity"]) == {"note"}
    build_store(index, opened, "train", tmp_path / "store", workers=1, progress=False).verify()


@pytest.mark.parametrize("source", ["folder", "archive"])
@pytest.mark.parametrize("place", ["a/holdout/0_real", "a/train/2_other", "a/train", "a"])
def test_pictures_that_belong_to_nothing_are_named(tmp_path: Path, source: str, place: str) -> None:
    root = write_tree(tmp_path / "in")
    (root / place).mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (9, 9), (1, 2, 3)).save(root / place / "lost.png")
    if source == "archive":
        root = packed(root, tmp_path / "a.zip")
    index, findings = checked(open_source(source, root))
    assert len(index) == TOTAL
    found = findings.loc[findings["finding"] == "unplaced"]
    assert len(found) == 1
    assert place.removesuffix("/0_real") in found["path"].iloc[0]
    assert found["detail"].iloc[0].endswith("not read: 1")
    assert verdict(findings) == "warn"


def test_real_and_fake_folders_in_one_path_are_named(tmp_path: Path) -> None:
    root = write_tree(tmp_path / "in")
    (root / "a/train/fake/real").mkdir(parents=True)
    Image.new("RGB", (9, 9), (1, 2, 3)).save(root / "a/train/fake/real/x.png")
    index, findings = checked(open_source("archive", root))
    assert len(index) == TOTAL
    assert findings.loc[findings["finding"] == "unplaced", "path"].tolist() == ["a/train/fake/real"]


@pytest.mark.parametrize("source", ["folder", "archive"])
@pytest.mark.parametrize("name", ["sources.csv", "Sources.csv", "SOURCES.CSV"])
def test_a_source_in_two_splits_is_found_and_can_be_left_out(tmp_path: Path, name: str, source: str) -> None:
    root = write_tree(tmp_path / "in")
    paths = sorted(path.relative_to(root / "a").as_posix() for path in root.rglob("*.png"))
    rows = [f"{path},{'photo_1' if path.endswith('/000.png') else path}" for path in paths]
    (root / "a" / name).write_text("\n".join(["path,source", *rows]))
    if source == "archive":
        root = packed(root, tmp_path / "a.zip")
    index, findings = checked(open_source(source, root))
    leaks = findings.loc[findings["finding"] == "source_leak"]
    assert [path[-len("a/val/0_real/000.png"):].lstrip("/") for path in leaks["path"] if "val" in path] == [
        f"a/val/{label}/000.png" for label in CLASS_FOLDERS]
    assert len(leaks) == 4
    assert "photo_1" in leaks["detail"].iloc[0]
    assert verdict(findings) == "warn"
    config = AuditConfig(quarantine=("source_leak",))
    kept = accept(index, audit_task(index, config), config)
    assert kept.groupby("source")["split"].nunique().max() == 1
    assert len(kept) == TOTAL - 4


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
    write_index(index, tmp_path / "index.parquet")
    found = refreshed(read_index(tmp_path / "index.parquet"), opened, "a")
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

    def refused(path: Path) -> bytes:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("fakemedia.sources.folder.read_regular", refused)
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


def test_what_is_not_read_is_part_of_the_index(tmp_path: Path) -> None:
    """A file that comes later makes index and findings stale; what was found survives storing."""
    root = write_tree(tmp_path / "in")
    source = open_source("folder", root)
    index = build_index(source, "a", workers=1, progress=False)
    (root / "a/train/0_real/x.psd").write_bytes(b"")
    assert refreshed(index, source, "a") is None
    again = build_index(source, "a", workers=1, previous=index, progress=False)
    write_index(again, tmp_path / "index.parquet")
    found = read_index(tmp_path / "index.parquet")
    assert refreshed(found, source, "a") is not None
    assert audit_task(found, AuditConfig())["finding"].tolist() == ["skipped"]


def test_class_folders_of_other_names_are_named(tmp_path: Path) -> None:
    root = write_tree(tmp_path, classes=("nature", "ai"))
    with pytest.raises(UserError, match=r"train/0_real does not exist \(5 more are missing\); train holds ai, nature"):
        open_source("folder", root).items("a")
    (tmp_path / "b.zip").write_bytes(b"")
    with pytest.raises(UserError, match=r"b does not exist; .* holds a, b.zip"):
        open_source("folder", root).items("b")


def sheet(tiles: int, side: int, padding: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    period = side + padding
    made = Image.new("RGB", (tiles * period + padding, tiles * period + padding))
    for number in range(tiles * tiles):
        tile = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((side, side))
        made.paste(tile, (padding + number % tiles * period, padding + number // tiles * period))
    return np.asarray(made)


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize(("tiles", "side"), [(4, 64), (8, 32), (8, 96), (5, 50)])
def test_a_sample_sheet_is_noted(tmp_path: Path, tiles: int, side: int, padding: int) -> None:
    root = write_tree(tmp_path)
    Image.fromarray(sheet(tiles, side, padding)).save(root / "a/train/1_fake/sheet.png")
    _, findings = checked(open_source("folder", root))
    found = findings.loc[findings["finding"] == "sheet"]
    assert found[["path", "severity"]].to_numpy().tolist() == [["a/train/1_fake/sheet.png", "note"]]
    assert f"a grid of {tiles * tiles} equal tiles" in found["detail"].iloc[0]


def test_other_pictures_are_no_sheets() -> None:
    pictures = [np.asarray(Image.fromarray(picture).resize((256, 256)))
                for picture in np.random.default_rng(1).integers(0, 256, (40, 9, 9, 3), dtype=np.uint8)]
    pictures += [astronaut(), coffee(), chelsea(), rocket(), np.zeros((256, 256, 3), np.uint8),
                 np.random.default_rng(2).integers(0, 256, (512, 512, 3), dtype=np.uint8)]
    pictures += [picture[:256, :256].repeat(2, 0).repeat(2, 1) for picture in pictures[-6:]]
    assert [tiles_of(picture) for picture in pictures] == [0] * len(pictures)


def test_videos_follow_the_same_rules(tmp_path: Path) -> None:
    starts = {"clip.MP4": b"", "clip.wmv": b"", "clip.bin": b"\0\0\0\x18ftypisom", "cat/x": b"\x1a\x45\xdf\xa3",
              "notes.doc": b"no video", "photo.heic": b"\0\0\0\x18ftypheic"}
    for split in ("Train", "validation", "test"):
        for label in ("Real", "1_fake"):
            for name, data in starts.items():
                path = tmp_path / "faces" / split / label / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    (tmp_path / "faces/lost.mp4").write_bytes(b"")
    source = open_source("video", tmp_path, frames=2)
    assert source.tasks() == ["faces"]
    items, notes = listed(source, "faces")
    assert len(items) == 2 * 6 * 4
    assert Counter(item.split for item in items) == {"train": 16, "val": 16, "test": 16}
    assert {item.class_name for item in items} == {"", "cat"}
    found = {kind: [note for note in notes if note.kind == kind] for kind in ("skipped", "unplaced", "spelling")}
    assert [len(each) for each in found.values()] == [6, 1, 5]
    assert found["skipped"][0].detail == "files that are no videos that can be read: 1 .doc, 1 .heic"
    paths = sorted({item.path.partition("#")[0].removeprefix("faces/") for item in items})
    (tmp_path / "faces/sources.csv").write_text("\n".join(["path,source", *(f"{path},person" for path in paths)]))
    assert {item.source for item in listed(open_source("video", tmp_path), "faces")[0]} == {"person"}


def test_odd_metadata_are_not_told_on_the_terminal(tmp_path: Path) -> None:
    code = ("import io; from PIL import Image; from fakemedia.store.decode import decode; file = io.BytesIO()\n"
            "Image.new('RGB', (8, 8)).save(file, 'JPEG', exif=b'Exif\\0\\0II*\\0\\x08\\0\\0\\0\\xff\\0\\x12\\x01')\n"
            "print(decode(file.getvalue()).shape)")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("(8, 8, 3)\n", "")


@pytest.mark.parametrize(("head", "expected"), [
    (b"BM\x36\x10\0\0\0\0\0\0", True), (b"BMW is a car, not a picture", False), (b"P6 8 8 255\n", True),
    (b"Perhaps", False), (b"RIFF\0\0\0\0WAVE", False), (b"RIFF\0\0\0\0WEBP", True), (b"\0\0\0\x20ftypisom", False),
    (b"\0\0\0\x20ftypavif", True), (b"", False),
])
def test_first_bytes_tell_a_picture(head: bytes, expected: bool) -> None:
    assert starts_like_picture(head) is expected


def test_images_that_many_tasks_share_are_counted_pair_by_pair() -> None:
    def rows(task: str, ids: str, split: str) -> pd.DataFrame:
        return pd.DataFrame({"id": list(ids), "task": task, "split": split, "label": 0, "error": ""})

    notes = shared_images([rows("c", "xyz", "train"), rows("b", "yz", "test"), rows("a", "zw", "train")])
    assert notes[["task", "other"]].to_numpy().tolist() == [["c", "b"], ["c", "a"], ["b", "a"]]
    assert [detail.split(" images")[0] for detail in notes["detail"]] == ["2", "1", "1"]
    assert [detail.split("; ")[1].split(" of")[0] for detail in notes["detail"]] == ["2", "0", "1"]
    assert shared_images([]).empty
    assert shared_images([rows("a", "x", "train"), rows("b", "y", "train")]).empty
