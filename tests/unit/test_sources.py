"""Every source on a small data set of its kind."""

from __future__ import annotations

import importlib.util
import io
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.ingest.index import build_index, check_index
from fakemedia.sources.source import Source
from tests.videos import shades, write_video


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def files(*folders: str, count: int = 3) -> dict[str, bytes]:
    names = [f"{folder}/{label}/{number:02d}.png" for folder in folders for label in CLASS_FOLDERS
             for number in range(count)]
    return {name: picture(seed) for seed, name in enumerate(names)}


def pack_zip(path: Path, content: dict[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in content.items():
            file.writestr(name, data)


def pack_tar(path: Path, content: dict[str, bytes], mode: str = "w") -> None:
    with tarfile.open(path, mode) as file:
        for name, data in content.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            file.addfile(info, io.BytesIO(data))


def pack_tar_zip(path: Path, content: dict[str, bytes]) -> None:
    tar = path.with_name("inner.tar")
    pack_tar(tar, content)
    pack_zip(path, {"inner.tar": tar.read_bytes()})
    tar.unlink()


def unpack(path: Path, content: dict[str, bytes]) -> None:
    for name, data in content.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(data)


def source_of(name: str, **settings) -> Source:
    return plugin.create("sources", name, settings)


def check(source: Source, task: str, images: int) -> pd.DataFrame:
    index = build_index(source, task, workers=2, progress=False)
    assert len(index) == images
    assert (index["error"] == "").all()
    return index


@pytest.mark.parametrize(("name", "pack"), [
    ("data.zip", pack_zip), ("data.tar", pack_tar),
    ("data.tar.gz", lambda path, content: pack_tar(path, content, "w:gz")),
    ("data.tgz", lambda path, content: pack_tar(path, content, "w:gz")), ("data.tar.zip", pack_tar_zip),
    ("data.tar.xz", lambda path, content: pack_tar(path, content, "w:xz")),
])
def test_archive(tmp_path: Path, name: str, pack) -> None:
    content = files(*(f"top/gan/{split}" for split in SPLITS))
    pack(tmp_path / name, content)
    for root in (tmp_path, tmp_path / name):
        source = source_of("archive", root=str(root))
        assert source.tasks() == ["gan"]
        index = check(source, "gan", 18)
        check_index(index)
        assert {path.split("/", 1)[1] for path in index["path"]} == set(content)
        assert all(source.reader(path)() == content[path.split("/", 1)[1]] for path in index["path"])
        assert (index["cut"] == "").all()


def test_an_archive_without_splits_is_cut(tmp_path: Path) -> None:
    pack_zip(tmp_path / "data.zip", files("wild", count=40))
    index = check(source_of("archive", root=str(tmp_path)), "wild", 80)
    check_index(index)
    assert (index["cut"] == "rule").all()


def test_cddb_in_folders_and_archives_of_tasks(tmp_path: Path) -> None:
    unpack(tmp_path / "CDDB", files("deepfake/train", "deepfake/val", count=8))
    pack_tar(tmp_path / "stargan_gf.tar.gz", files("stargan_gf/train/black_hair", "stargan_gf/val/black_hair"), "w:gz")
    source = source_of("cddb", root=str(tmp_path))
    assert source.tasks() == ["faceforensics", "stargan"]
    index = check(source, "faceforensics", 32)
    assert index.groupby("split").size().to_dict() == {"train": 12, "val": 4, "test": 16}
    assert set(check(source, "stargan", 12)["class_name"]) == {"black_hair"}


def test_forensynths(tmp_path: Path) -> None:
    unpack(tmp_path / "test", files("progan/airplane", "progan/cat", "deepfake", count=30))
    source = source_of("forensynths", root=str(tmp_path))
    assert source.tasks() == ["deepfake", "progan"]
    index = check(source, "progan", 120)
    check_index(index)
    assert set(index["class_name"]) == {"airplane", "cat"}
    pairs = index.assign(name=index["path"].str.rpartition("/")[2]).groupby("name")["split"].nunique()
    assert (pairs == 1).all()


@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_table(tmp_path: Path, kind: str) -> None:
    unpack(tmp_path, {f"{number}.png": picture(number) for number in range(40)})
    rows = pd.DataFrame({"path": [f"{number}.png" for number in range(40)], "label": [0, 1] * 20,
                         "source": [f"photo{number // 2}" for number in range(40)], "generator": ["", "sd"] * 20})
    rows.to_csv(tmp_path / "mine.csv", index=False) if kind == "csv" else rows.to_parquet(tmp_path / "mine.parquet")
    source = source_of("table", root=str(tmp_path), table=f"mine.{kind}")
    assert source.tasks() == ["mine"]
    index = check(source, "mine", 40)
    assert (index.groupby("source")["split"].nunique() == 1).all()
    assert set(index.loc[index["label"] == 1, "class_name"]) == {"sd"}


@pytest.mark.skipif(not importlib.util.find_spec("datasets"), reason="needs the extra huggingface")
def test_huggingface(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    for split, rows in (("train", 20), ("test", 5)):
        table = {column: [{"bytes": picture(hash((split, column, row)) % 2**32), "path": None} for row in range(rows)]
                 for column in ("image", "image_gen0", "image_gen1")}
        made = datasets.Dataset.from_dict(table)
        made.to_parquet(str(tmp_path / f"{split}-00000.parquet"))
    settings = {"root": str(tmp_path), "task": "elsa", "real": ["image"], "fake": ["image_gen0", "image_gen1"]}
    source = source_of("huggingface", **settings)
    index = check(source, "elsa", 75)
    assert index.groupby("label").size().to_dict() == {0: 25, 1: 50}
    assert (index.groupby("source")["split"].nunique() == 1).all()
    with pytest.raises(UserError, match="no column 'image_gen9'"):
        source_of("huggingface", **{**settings, "fake": ["image_gen9"]}).items("elsa")


@pytest.mark.skipif(not importlib.util.find_spec("av"), reason="needs the extra video")
def test_video(tmp_path: Path) -> None:
    for split in SPLITS:
        for label in CLASS_FOLDERS:
            write_video(tmp_path / "faces" / split / label / "clip.mp4", shades(20))
    (tmp_path / "faces/train/1_fake/broken.mp4").write_bytes(b"no video")
    source = source_of("video", root=str(tmp_path), frames=4)
    index = build_index(source, "faces", workers=2, progress=False)
    broken = index["path"].str.contains("broken")
    assert (index.loc[broken, "error"] != "").all()
    assert (index.loc[~broken, "error"] == "").all()
    assert len(index) == 28
    first = index[index["path"].str.startswith("faces/train/0_real")]
    assert first["mean"].is_monotonic_increasing
    assert first["source"].nunique() == 1


@pytest.mark.parametrize(("name", "package"), [("huggingface", "datasets"), ("video", "av")])
def test_a_missing_package_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str,
                                           package: str) -> None:
    monkeypatch.setitem(__import__("sys").modules, package, None)
    more = {"task": "a", "real": ["x"], "fake": ["y"]} if name == "huggingface" else {}
    unpack(tmp_path, {"a/0_real/clip.mp4": b""})
    source = source_of(name, root=str(tmp_path), **more)
    with pytest.raises(UserError, match=rf"pip install -e '\.\[{name}\]'"):
        source.reader("a/0_real/clip.mp4#0001-8")() if name == "video" else source.items("a")


@pytest.mark.parametrize("name", ["archive", "cddb", "forensynths", "video"])
def test_a_missing_root_or_task_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match="does not exist"):
        source_of(name, root=str(tmp_path / "nowhere")).tasks()
    with pytest.raises(UserError, match="of the task wild"):
        source_of(name, root=str(tmp_path)).items("wild")
