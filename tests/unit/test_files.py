"""Files are whole or not there."""

import os

import pytest

from fakemedia.artefacts.files import check_writable, replacing, write_file
from fakemedia.core.errors import UserError


def test_a_file_is_replaced_as_a_whole(tmp_path):
    path = tmp_path / "new" / "a.json"
    write_file(path, b"old")

    def half() -> None:
        with replacing(path) as scratch:
            scratch.write_bytes(b"ne")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert path.read_bytes() == b"old"
    write_file(path, b"new")
    assert path.read_bytes() == b"new"
    assert os.listdir(path.parent) == ["a.json"]


def test_two_writers_do_not_meet(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    with replacing(path) as one:
        one.write_bytes(b"one")
        monkeypatch.setattr(os, "getpid", lambda: -1)
        write_file(path, b"two")
        assert path.read_bytes() == b"two"
    assert path.read_bytes() == b"one"


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"Writing failed[\s\S]*file/a.json"):
        write_file(tmp_path / "file" / "a.json", b"")
    with pytest.raises(UserError, match="Nothing can be written here"):
        check_writable(tmp_path / "file")
