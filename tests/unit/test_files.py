"""Files are whole or not there."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from fakemedia.artefacts.files import check_writable, remove_leftovers, replacing, scratch_folder, write_file
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


def test_two_writers_do_not_meet(tmp_path):
    path = tmp_path / "a.json"
    with replacing(path) as one:
        one.write_bytes(b"one")
        write_file(path, b"two")
        assert path.read_bytes() == b"two"
    assert path.read_bytes() == b"one"


WRITER = """
import sys, time
from pathlib import Path
from fakemedia.artefacts.files import replacing, scratch_folder
if sys.argv[2] == "file":
    with replacing(Path(sys.argv[1], "a.json")) as scratch:
        scratch.write_bytes(b"half")
        print(scratch, flush=True)
        time.sleep(60)
else:
    with scratch_folder(Path(sys.argv[1], "store")) as scratch:
        (scratch / "pixels.u8").write_bytes(b"half")
        print(scratch, flush=True)
        time.sleep(60)
"""


@contextmanager
def writer(folder: Path, what: str) -> Iterator[tuple[subprocess.Popen, Path]]:
    """Start a process that writes to `folder`; yield it, and where it writes."""
    process = subprocess.Popen([sys.executable, "-c", WRITER, str(folder), what], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield process, Path(process.stdout.readline().rstrip())
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("what", ["file", "folder"])
@pytest.mark.parametrize("next_writer", ["same file", "other file", "folder", "none"])
def test_what_a_killed_writer_left_is_removed(tmp_path, what, next_writer):
    """Its partial file stayed forever."""
    with writer(tmp_path, what) as (process, scratch):
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert scratch.exists()
    if next_writer == "folder":
        with scratch_folder(tmp_path / "other"):
            pass
    elif next_writer == "none":
        remove_leftovers(tmp_path)
    else:
        write_file(tmp_path / ("a.json" if next_writer == "same file" else "b.json"), b"")
    assert not scratch.exists()
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("what", ["file", "folder"])
def test_a_living_writer_is_left_alone(tmp_path, what):
    with writer(tmp_path, what) as (_, scratch):
        write_file(tmp_path / "a.json", b"whole")
        with scratch_folder(tmp_path / "store"):
            assert scratch.exists()


def test_hidden_files_of_others_stay(tmp_path):
    for name in (".gitkeep", ".a.json", ".partial", "notes.partial"):
        (tmp_path / name).write_bytes(b"")
    write_file(tmp_path / "a.json", b"")
    assert len(os.listdir(tmp_path)) == 5


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(UserError, match=r"Writing failed[\s\S]*file/a.json"):
        write_file(tmp_path / "file" / "a.json", b"")
    with pytest.raises(UserError, match="Nothing can be written here"):
        check_writable(tmp_path / "file")
