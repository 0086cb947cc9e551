"""Scores in parts: resumed, refused, and the same as those of one file."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from filelock import FileLock

from fakemedia.core.errors import UserError
from fakemedia.scoring import file_list, score_parts
from fakemedia.scoring.command import score_pictures
from fakemedia.scoring.file_list import read_shard, shard_sizes, write_list
from fakemedia.scoring.score_parts import FILES, LOCK
from tests.scoring import cpu, write_checkpoint, write_pictures

Run = Callable[..., Path]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("models") / "convnet")


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder of seven files in four shards; one file is no picture."""
    monkeypatch.setattr(file_list, "SHARD", 2)
    write_pictures(tmp_path / "photos")
    shutil.copy(tmp_path / "photos/0.png", tmp_path / "photos/6.png")
    (tmp_path / "photos/5.png").write_text("no picture")
    return tmp_path / "photos"


@pytest.fixture
def run(checkpoint: Path, told: list[str], photos: Path, tmp_path: Path) -> Run:
    """Return a function that scores the photos into a file or folder beside them, and returns it."""
    def run(out: str, **changed: object) -> Path:
        given = {"batch_size": 2, "crops": 1, "frames": 16, "checkpoint": checkpoint, **changed}
        score_pictures([str(photos)], saliency=None, faces=None, runtime=cpu, echo=told.append, out=tmp_path / out,
                       **given)  # type: ignore[arg-type]
        return tmp_path / out

    return run


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*")
            if path.is_file() and path.name != LOCK}


def written(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in sorted(folder.glob("part-*"))}


def test_parts_have_the_rows_of_one_file(run: Run, told: list[str]) -> None:
    table = pd.read_csv(run("scores.csv"), keep_default_na=False, na_values={"novelty": "", "threshold": ""})
    out = run("scores.parquet")
    rows = pd.read_parquet(out)
    assert [len(pq.read_table(path)) for path in sorted(out.glob("part-*"))] == [2, 2, 2, 1]
    assert list(rows) == list(table)
    for column in ("path", "sha256", "verdict", "error", "crops", "width", "detector"):
        assert rows[column].tolist() == table[column].tolist(), column
    assert rows["logit"].round(4).fillna(9).tolist() == pd.to_numeric(table["logit"]).fillna(9).tolist()
    text = "\n".join(told)
    assert "Scored 7 of 7 files" in text
    assert "1 skipped:\n  " in text
    assert "photos/5.png: no image format is recognised" in text
    assert "6 scored: " in text


def test_a_stopped_scoring_goes_on_and_ends_as_one_that_was_not(run: Run, told: list[str], photos: Path,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    whole, real = run("whole.parquet"), score_parts.score_media

    def stopping(model, found, **options):
        if photos / "4.png" in found.files:
            raise KeyboardInterrupt
        return real(model, found, **options)

    monkeypatch.setattr(score_parts, "score_media", stopping)
    with pytest.raises(KeyboardInterrupt):
        run("killed.parquet")
    monkeypatch.undo()
    out = photos.parent / "killed.parquet"
    before = written(out)
    assert list(before) == ["part-000000.parquet", "part-000001.parquet"]
    shutil.copy(photos / "0.png", photos / "7.png")  # Not in the list that was made at the start.
    del told[:]
    run("killed.parquet")
    assert {name: written(out)[name] for name in before} == before
    assert "Scored before: 4 of 7 files" in told
    assert content(out).keys() == content(whole).keys()
    assert {name: data for name, data in content(out).items() if name.startswith("part")} == {
        name: data for name, data in content(whole).items() if name.startswith("part")}
    again = written(out)
    run("killed.parquet")
    assert written(out) == again


def test_a_damaged_part_is_scored_again(run: Run) -> None:
    out = run("scores.parquet")
    before, damaged = content(out), out / "part-000001.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-1])
    run("scores.parquet")
    assert content(out) == before
    (out / FILES).write_bytes(b"")
    with pytest.raises(UserError, match=r"(?s)missing, incomplete or was changed.*_files\.parquet"):
        run("scores.parquet")


def test_scores_of_another_detector_or_options_are_kept(run: Run, tmp_path: Path) -> None:
    out = run("scores.parquet")
    before = content(out)
    other = write_checkpoint(tmp_path / "other", settings={"pretrained": "none", "width": 4})
    for changed, named in (({"checkpoint": other}, "detector: "), ({"crops": 4}, "crops: 1 instead of 4"),
                           ({"frames": 3}, "frames: 16 instead of 3"), ({"batch_size": 1}, "batch_size")):
        with pytest.raises(UserError, match=rf"(?s)The folder holds scores with {named}.*choose another folder"):
            run("scores.parquet", **changed)
    assert content(out) == before


def test_a_folder_with_other_content_or_another_writer_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine.parquet").mkdir()
    (tmp_path / "mine.parquet/notes.txt").write_text("mine")
    with pytest.raises(UserError, match=r"(?s)other content.*notes\.txt"):
        run("mine.parquet")
    (tmp_path / "file.parquet").write_text("a table")
    with pytest.raises(UserError, match=r"(?s)Nothing can be written here.*file\.parquet"):
        run("file.parquet")
    out = run("scores.parquet")
    with FileLock(out / LOCK), pytest.raises(UserError, match="Another process writes scores"):
        run("scores.parquet")


def test_what_goes_with_parts_alone_is_named(run: Run, tmp_path: Path) -> None:
    from fakemedia.runtime.cluster import ClusterConfig

    with pytest.raises(UserError, match=r"(?s)A cluster writes scores in parts.*--out NAME\.parquet"):
        run("scores.csv", cluster=ClusterConfig(address="local"))
    with pytest.raises(UserError, match=r"ends in \.csv or \.parquet"):
        run("scores.txt")


def test_files_of_which_none_is_a_picture(run: Run, photos: Path) -> None:
    for path in photos.iterdir():
        path.write_text("no picture")
    with pytest.raises(UserError, match=r"(?s)No picture or video could be scored.*0\.png: no image format"):
        run("scores.parquet")


def test_the_list_of_files_is_that_of_their_folders(tmp_path: Path, photos: Path) -> None:
    (photos / "x.txt").touch()
    (photos / "clip.mp4").touch()
    found = write_list([str(photos), str(photos / "1.png")], tmp_path / "list.parquet")
    assert found.others == {".txt": 1}
    assert shard_sizes(tmp_path / "list.parquet") == [2, 2, 2, 2]
    shards = [read_shard(tmp_path / "list.parquet", number) for number in range(4)]
    assert [path.name for shard in shards for path in shard.files] == [f"{number}.png" for number in range(7)]
    assert [path for shard in shards for path in shard.clips] == [photos / "clip.mp4"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(UserError, match="There is no picture or video"):
        write_list([str(empty)], tmp_path / "none.parquet")
    assert not (tmp_path / "none.parquet").exists()
