"""Nothing silent: the pictures and videos that users bring are read, or named."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest
from PIL import Image

from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS
from fakemedia.ingest.audit import accept, audit_task, shared_images, verdict
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.collection import AuditConfig
from fakemedia.ingest.index import build_index, index_recipe, refreshed
from fakemedia.ingest.parts import read_index, write_index
from fakemedia.sources.pictures import starts_like_picture
from fakemedia.sources.source import listed
from tests.trees import FULL, TOTAL, checked, counts, open_source, packed, write_tree


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


def test_what_is_not_read_is_part_of_the_index(tmp_path: Path) -> None:
    """A file that comes later makes index and findings stale; what was found survives storing."""
    root = write_tree(tmp_path / "in")
    source = open_source("folder", root)
    index = build_index(source, "a", workers=1, progress=False)
    (root / "a/train/0_real/x.psd").write_bytes(b"")
    assert refreshed(index, source, "a") is None
    again = build_index(source, "a", workers=1, previous=index, progress=False)
    write_index(again, tmp_path / "index", index_recipe("a", {"name": "folder"}))
    found = read_index(tmp_path / "index")
    assert refreshed(found, source, "a") is not None
    assert audit_task(found, AuditConfig())["finding"].tolist() == ["skipped"]


def test_class_folders_of_other_names_are_named(tmp_path: Path) -> None:
    root = write_tree(tmp_path, classes=("nature", "ai"))
    with pytest.raises(UserError, match=r"train/0_real does not exist \(5 more are missing\); train holds ai, nature"):
        open_source("folder", root).items("a")
    (tmp_path / "b.zip").write_bytes(b"")
    with pytest.raises(UserError, match=r"b does not exist; .* holds a, b.zip"):
        open_source("folder", root).items("b")


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
