"""Files, folders and globs that a user names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fakemedia.artefacts.files import check_writable
from fakemedia.core.errors import UserError
from fakemedia.scoring.paths import check_file, find_media, shown


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_folders_are_searched_to_any_depth_and_files_taken_whatever_their_name(tmp_path: Path) -> None:
    wanted = [tmp_path / "a b.JPG", tmp_path / "deep/er/ü 雪.webp", tmp_path / "line\nbreak.png", tmp_path / "n.tiff"]
    touch(*wanted, tmp_path / "note.txt", tmp_path / "x.mp3", tmp_path / "y.mp3", tmp_path / ".hidden.png",
          tmp_path / ".cache/z.png", tmp_path / "Thumbs.db")
    (tmp_path / "picture").write_bytes(b"\x89PNG\r\n\x1a\n")
    found = find_media([str(tmp_path)])
    assert found.files == [wanted[0], wanted[2], wanted[3], tmp_path / "picture", wanted[1]]
    assert found.others == {".mp3": 2, ".txt": 1}
    assert find_media([str(tmp_path / "note.txt")]).files == [tmp_path / "note.txt"]


def test_videos_are_told_by_name_or_content(tmp_path: Path) -> None:
    touch(tmp_path / "a.png", tmp_path / "b.MP4", tmp_path / "c/d.webm")
    (tmp_path / "c/e").write_bytes(b"\0\0\0\x18ftypisom")
    found = find_media([str(tmp_path), str(tmp_path / "c/e")])
    assert found.files == [tmp_path / "a.png"]
    assert found.clips == [tmp_path / "b.MP4", tmp_path / "c/d.webm", tmp_path / "c/e"]
    assert find_media([str(tmp_path / "c/*")]).clips == found.clips[1:]


def test_what_is_named_twice_is_scored_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    touch(tmp_path / "in/a.png", tmp_path / "in/b.png")
    found = find_media(["in/b.png", str(tmp_path / "in"), "./in/../in/a.png", "in/*.png"])
    assert [path.name for path in found.files] == ["b.png", "a.png"]


def test_globs_and_names_that_look_like_globs(tmp_path: Path) -> None:
    touch(tmp_path / "a/1.png", tmp_path / "b/2.jpg", tmp_path / "b/c/3.jpg", tmp_path / "x[1].png")
    names = lambda pattern: [path.name for path in find_media([str(tmp_path / pattern)]).files]  # noqa: E731
    assert names("**/*.jpg") == ["2.jpg", "3.jpg"]
    assert names("[ab]") == ["1.png", "2.jpg", "3.jpg"]
    assert names("x[1].png") == ["x[1].png"]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path / "far/1.png", tmp_path / "in/2.png")
    (tmp_path / "in/far").symlink_to(tmp_path / "far")
    (tmp_path / "in/up").symlink_to(tmp_path / "in")
    assert [path.name for path in find_media([str(tmp_path / "in")]).files] == ["2.png", "1.png"]


def test_nothing_there(tmp_path: Path) -> None:
    touch(tmp_path / "1.png", tmp_path / "other/x.mp3")
    with pytest.raises(UserError, match=r"no such file or folder(?s:.*)nowhere"):
        find_media([str(tmp_path / "1.png"), str(tmp_path / "nowhere")])
    with pytest.raises(UserError, match=r"no such file(?s:.*)\*\.jpg"):
        find_media([str(tmp_path / "*.jpg")])
    with pytest.raises(UserError, match=r"no picture or video(?s:.*)found 1 \.mp3"):
        find_media([str(tmp_path / "other")])


def test_folders_that_cannot_be_listed_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path / "1.png", tmp_path / "closed/2.png")
    real = os.scandir

    def scandir(path: str | os.PathLike) -> object:
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    found = find_media([str(tmp_path)])
    assert found.files == [tmp_path / "1.png"]
    assert found.unreadable == {tmp_path / "closed": "Permission denied"}


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    touch(tmp_path / "file")
    (tmp_path / "folder.csv").mkdir()
    for path in (tmp_path / "file/scores.csv", tmp_path / "folder.csv"):
        with pytest.raises(UserError, match=r"Nothing can be written here"):
            check_file(path)
    with pytest.raises(UserError, match="Nothing can be written here"):
        check_writable(tmp_path / "file")
    check_file(tmp_path / "new/scores.csv")
    check_writable(tmp_path / "new/maps")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["file", "folder.csv", "maps", "new"]


def test_paths_are_shown_in_one_line() -> None:
    assert shown("a\nb\x1b[31m") == r"a\nb\x1b[31m"
    assert shown(Path(os.fsdecode(b"\xff.png"))) == r"\xff.png"
