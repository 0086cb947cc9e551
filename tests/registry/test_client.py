"""The registry's client: what is stored is found again, and every error is one message within seconds."""

from __future__ import annotations

import socket
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fakemedia.core.errors import UserError
from fakemedia.registry import database
from fakemedia.registry.client import DATABASE, FINISHED, RUNNING, Registry, open_registry
from tests.registries import new_registry

pytest.importorskip("mlflow")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder of a new registry."""
    return new_registry(tmp_path / "registry")


@pytest.fixture
def registry(folder: Path) -> Registry:
    return open_registry("", folder)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "SECONDS", 0.2)


def test_a_run_with_files_becomes_a_version(registry: Registry, tmp_path: Path) -> None:
    (tmp_path / "made/sub").mkdir(parents=True)
    (tmp_path / "made/sub/a.txt").write_text("a")
    run = registry.record("versions", "first", tags={"kind": "test"}, params={"epochs": 3}, metrics={"auc": 0.5})
    registry.keep_files(run, tmp_path / "made")
    assert registry.add_version(run, {"content": "c"}) == 1
    registry.set_alias("candidate", 1)
    assert registry.aliases() == {"candidate": 1}
    registry.set_alias("candidate", None)
    assert registry.aliases() == {}
    (entry,) = registry.entries()
    assert (entry.number, entry.run, entry.tags) == (1, run, {"content": "c"})
    (record,) = registry.records("versions")
    assert (record.params, record.metrics, record.status) == ({"epochs": "3"}, {"auc": 0.5}, FINISHED)
    assert record.tags["kind"] == "test"
    assert (registry.files(run) / "sub/a.txt").read_text() == "a"


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_every_change_gives_another_stamp(folder: Path, mode: str) -> None:
    with closing(sqlite3.connect(folder / DATABASE)) as database:
        database.execute(f"PRAGMA journal_mode={mode}")
        registry = Registry(f"sqlite:///{folder / DATABASE}", folder)
        stamps = [registry.stamp()]
        for number in range(20):
            database.execute("UPDATE experiments SET name = ? WHERE experiment_id = 0", [str(number)])
            database.commit()
            stamps += [registry.stamp(), registry.stamp()]
        assert len(set(stamps)) == 21
    (folder / DATABASE).unlink()
    assert registry.stamp() is None
    assert Registry("http://127.0.0.1:1", folder).stamp() is None


def test_a_registry_may_be_moved(registry: Registry, folder: Path, tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    (tmp_path / "made/a.txt").write_text("a")
    run = registry.record("versions", "first")
    registry.keep_files(run, tmp_path / "made")
    folder.rename(tmp_path / "elsewhere")
    other = open_registry("", tmp_path / "elsewhere")
    assert (other.files(run) / "a.txt").read_text() == "a"
    second = other.record("versions", "second")
    other.keep_files(second, tmp_path / "made")
    assert (other.files(second) / "a.txt").exists()
    assert not folder.exists()


def test_runs_are_listed_in_their_order_beyond_one_page(registry: Registry) -> None:
    assert registry.records("nothing") == []
    for number in range(3):
        registry.record("many", str(number), status=RUNNING)
    first, *_, last = registry.records("many")
    assert (first.name, last.name, last.status) == ("0", "2", RUNNING)
    registry.finish(last.run)
    assert registry.records("many")[-1].status == FINISHED


def test_a_locked_database_is_one_message(registry: Registry, folder: Path, impatient: None) -> None:
    other = sqlite3.connect(folder / DATABASE, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    start = time.monotonic()
    with pytest.raises(UserError, match="locked by another program"):
        open_registry("", folder)
    with pytest.raises(UserError, match="locked by another program"):
        registry.set_alias("champion", 1)
    assert time.monotonic() - start < 3
    other.close()


@pytest.mark.parametrize("damage", ["text", "middle"])
def test_a_damaged_database_is_one_message(folder: Path, damage: str) -> None:
    path = folder / DATABASE
    data = bytearray(path.read_bytes())
    data[:] = b"no database at all" * 100 if damage == "text" else data
    data[len(data) // 4:] = b"\xff" * (len(data) - len(data) // 4)
    path.write_bytes(data)
    start = time.monotonic()
    with pytest.raises(UserError, match="damaged"):
        open_registry("", folder)
    assert time.monotonic() - start < 3


def test_what_a_full_disk_says_is_one_message(registry: Registry, folder: Path) -> None:
    limited = sqlite3.connect(folder / DATABASE)
    limited.execute("PRAGMA max_page_count = 1")
    with pytest.raises(sqlite3.OperationalError) as said:
        limited.execute("CREATE TABLE big AS SELECT randomblob(1000000) AS blob")
    limited.close()
    assert "the disk is full" in str(database.database_error(str(said.value), folder))


@pytest.mark.parametrize("uri", ["nonsense", "sqlite:///relative.db", "postgresql://host/x", "http://"])
def test_an_address_that_is_none(uri: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no address of a registry"):
        open_registry(uri, tmp_path)


def test_the_password_of_an_address_is_not_shown() -> None:
    assert database.shown("http://me:secret@host:5000/db") == "http://host:5000/db"


@pytest.fixture
def silent() -> Iterator[int]:
    """Return the port of a server that accepts connections and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("kind", ["closed", "silent"])
def test_a_server_that_does_not_answer(kind: str, silent: int, tmp_path: Path, impatient: None) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        closed = server.getsockname()[1]
    start = time.monotonic()
    with pytest.raises(UserError, match="does not answer"):
        open_registry(f"http://127.0.0.1:{silent if kind == 'silent' else closed}", tmp_path)
    assert time.monotonic() - start < 3


def test_one_change_at_a_time(registry: Registry, folder: Path) -> None:
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        from filelock import FileLock

        with FileLock(folder / ".lock"):
            held.set()
            done.wait(5)

    thread = threading.Thread(target=hold)
    thread.start()
    held.wait(5)
    with pytest.raises(UserError, match="Another command is changing"), registry.changing():
        pass
    done.set()
    thread.join()
    with registry.changing(), registry.changing():
        pass
