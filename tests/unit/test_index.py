"""Folders in the reference layout, and the index made of them."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.ingest.index import (
    build_index,
    check_index,
    index_fingerprint,
    index_recipe,
    is_current,
)
from fakemedia.ingest.parts import COLUMNS, read_index, write_index
from fakemedia.sources.folder import Config, FolderSource, build
from fakemedia.sources.layout import check_layout

RECIPE = index_recipe("gan", {"name": "folder"})


def write_task(root: Path, task: str = "gan", images: int = 2, suffix: str = "png") -> None:
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for name in CLASS_FOLDERS:
            folder = root / task / split / name
            folder.mkdir(parents=True)
            for number in range(images):
                pixels = rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{number}.{suffix}")


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    write_task(tmp_path)
    return build(Config(root=str(tmp_path)))


def index_of(source: FolderSource, task: str = "gan", workers: int = 2) -> pd.DataFrame:
    return build_index(source, task, workers=workers, progress=False)


def test_index_has_one_row_an_image(source: FolderSource) -> None:
    index = index_of(source)
    assert list(index.columns) == list(COLUMNS)
    assert {name: str(index[name].dtype) for name in ("label", "width", "height", "bytes", "mtime_ns")} == {
        "label": "int8", "width": "int64", "height": "int64", "bytes": "int64", "mtime_ns": "int64"}
    assert index["path"].tolist() == sorted(index["path"])
    assert index.groupby(["split", "label"]).size().to_dict() == {
        (split, label): 2 for split in SPLITS for label in (0, 1)}
    for row in index.itertuples():
        data = (source.root / str(row.path)).read_bytes()
        assert hashlib.sha256(data).hexdigest().startswith(str(row.id))
        assert len(str(row.id)) == 32
        assert (row.task, row.codec, row.mode, row.width, row.height) == ("gan", "png", "RGB", 9, 6)
        assert (row.bytes, row.source, row.error) == (len(data), row.id, "")
    check_index(index)


def test_index_does_not_depend_on_the_workers(source: FolderSource) -> None:
    pd.testing.assert_frame_equal(index_of(source, workers=1), index_of(source, workers=4))


def test_tasks_are_the_folders_with_splits(source: FolderSource) -> None:
    (source.root / "notes").mkdir()
    assert source.tasks() == ["gan"]
    with pytest.raises(UserError, match="does not exist"):
        FolderSource(source.root / "nowhere").tasks()


def test_table_of_sources_groups_images(source: FolderSource) -> None:
    rows = [f"{path.relative_to(source.root / 'gan').as_posix()},photo{path.stem}"
            for path in sorted(source.root.rglob("*.png"))]
    table = source.root / "gan" / "sources.csv"
    table.write_text("\n".join(["path,source", *rows]) + "\n")
    assert set(index_of(source)["source"]) == {"photo0", "photo1"}
    for content, what in (("path,source\n" + rows[0] + "\n", "has no row"), ("path;source\n1;2\n", "has no row"),
                          ("file,source\n", "its columns are file, source"),
                          ("\n".join(["path,source", *rows, rows[0]]), "Row 14"), ("path,source\na,\n", "Row 2")):
        table.write_text(content)
        with pytest.raises(UserError, match=what):
            source.items("gan")
    table.write_bytes(b"path,source\n\xff\xfe,1\n")
    with pytest.raises(UserError, match="cannot be read"):
        source.items("gan")


def test_other_files_are_left_alone(source: FolderSource) -> None:
    folder = source.root / "gan" / "train" / "0_real"
    (folder / "notes.txt").write_text("no image")
    (folder / ".hidden.png").write_text("no image")
    (folder / "folder.png").mkdir()
    Image.new("RGB", (4, 4)).save(folder / "a b\nü.PNG")
    paths = index_of(source)["path"].tolist()
    assert [path for path in paths if path.startswith("gan/train/0_real/")] == [
        "gan/train/0_real/0.png", "gan/train/0_real/1.png", "gan/train/0_real/a b\nü.PNG"]


def test_fingerprint_follows_content_labels_and_sources(source: FolderSource) -> None:
    index = index_of(source)
    found = index_fingerprint(index, "train")
    later = index.assign(mtime_ns=index["mtime_ns"] + 1, path="x/" + index["path"])
    assert index_fingerprint(later, "train") == found
    for changed in (index.assign(label=1 - index["label"]), index.assign(source="one"), index.iloc[::-1],
                    index.assign(id=index["id"].iloc[0]), index.iloc[:-5]):
        assert index_fingerprint(changed, "train") != found
    assert index_fingerprint(index, "val") != found


def test_layout_errors_name_the_topmost_missing_folder_and_count_the_others(tmp_path: Path) -> None:
    write_task(tmp_path, "a")
    check_layout(tmp_path, ["a"])
    (tmp_path / "b" / "train" / "0_real").mkdir(parents=True)
    for root, tasks, message in ((tmp_path / "no", ["a", "b"], f"{tmp_path / 'no'} does not exist"),
                                 (tmp_path, ["a", "b", "c"],
                                  f"{tmp_path / 'b' / 'train' / '1_fake'} does not exist (3 more are missing)")):
        with pytest.raises(UserError) as caught:
            check_layout(root, tasks)
        assert message in str(caught.value)


def test_layout_errors_name_the_first_missing_folder(source: FolderSource) -> None:
    check_layout(source.root, ["gan"])
    with pytest.raises(UserError) as caught:
        check_layout(source.root, ["gan", "wild", "san"])
    message = str(caught.value)
    assert f"{source.root / 'wild'} does not exist (1 more" in message
    assert "<task>/{train,val,test}/{0_real,1_fake}/" in message
    assert "docs/how-to/own-data.md" in message
    with pytest.raises(UserError, match="cannot be used"):
        check_layout(source.root, ["a/b"])
    fakes = source.root / "gan" / "val" / "1_fake"
    for path in fakes.iterdir():
        path.unlink()
    with pytest.raises(UserError, match="holds no image file"):
        check_layout(source.root, ["gan"])
    fakes.rmdir()
    with pytest.raises(UserError, match="1_fake does not exist"):
        index_of(source)


def test_layout_is_checked_without_heavy_imports() -> None:
    code = "import sys, fakemedia.sources.layout; print({'torch', 'pandas', 'PIL'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_unreadable_images_are_rows_and_then_one_error(source: FolderSource) -> None:
    train = source.root / "gan" / "train"
    whole = (train / "0_real" / "0.png").read_bytes()
    (train / "0_real" / "0.png").write_bytes(whole[:60])
    (train / "0_real" / "1.png").write_bytes(b"")
    (train / "1_fake" / "0.png").write_text("text")
    (train / "1_fake" / "1.png").unlink()
    (train / "1_fake" / "1.png").symlink_to("nowhere.png")
    (train / "1_fake" / "2.png").symlink_to("2.png")
    index = index_of(source)
    bad = index[index["error"] != ""]
    assert len(bad) == 5
    assert (bad[["width", "height"]] == 0).to_numpy().all()
    with pytest.raises(UserError, match=r"(?s)4 more images.*gan/train/0_real/0\.png"):
        check_index(index)


@pytest.mark.parametrize(("keep", "what"), [
    (lambda i: i["split"] != "val", "val split is empty"),
    (lambda i: (i["split"] != "test") | (i["label"] == 0), "test split has no image of the class 1_fake"),
    (lambda i: i["path"] == "", "train split is empty"),
])
def test_empty_splits_and_classes_are_errors(source: FolderSource, keep, what: str) -> None:
    index = index_of(source)
    with pytest.raises(UserError, match=what):
        check_index(index[keep(index)])


def test_index_comes_back_as_it_was_written(source: FolderSource, tmp_path: Path) -> None:
    index, folder = index_of(source), tmp_path / "indexes" / "gan"
    write_index(index, folder, RECIPE)
    pd.testing.assert_frame_equal(read_index(folder).frame(), index)
    assert os.listdir(folder.parent) == ["gan"]
    with pytest.raises(UserError, match="No index"):
        read_index(tmp_path / "none")


def test_index_is_current_until_a_file_changes(source: FolderSource) -> None:
    index = index_of(source)
    assert is_current(index, source, "gan")
    image = source.root / "gan" / "val" / "0_real" / "0.png"
    os.utime(image, ns=(1, 1))
    assert is_current(index, source, "gan")
    index = index_of(source)
    image.rename(image.with_name("9.png"))
    assert not is_current(index, source, "gan")
    index = index_of(source)
    rows = [f"{path.relative_to(source.root / 'gan').as_posix()},one" for path in source.root.rglob("*.png")]
    (source.root / "gan" / "sources.csv").write_text("\n".join(["path,source", *rows]))
    assert not is_current(index, source, "gan")
    assert is_current(index_of(source), source, "gan")
