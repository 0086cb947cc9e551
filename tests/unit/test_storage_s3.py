"""Storage in a bucket of a real server: what works with memory:// works there, and what goes wrong is told."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from threading import Thread

import pytest

from fakemedia.artefacts import addresses
from fakemedia.artefacts.storage import Storage, StorageConfig
from fakemedia.core.errors import MachineError, UserError
from tests.s3_server import BUCKET, as_stranger, keys, s3_server
from tests.unit.test_storage import MODELS, TABLE, content, folder, table


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Let no test use the connection of another one."""
    s3fs = pytest.importorskip("s3fs", reason="the client for S3 is in the extra storage")
    s3fs.S3FileSystem.clear_instance_cache()
    yield
    s3fs.S3FileSystem.clear_instance_cache()


def storage(root: Path, bucket: str = BUCKET) -> Storage:
    return Storage(StorageConfig(address=f"s3://{bucket}/mine"), root)


def test_results_go_to_a_bucket_and_back(server: str, tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    mine = storage(here)
    mine.check()
    assert keys() == {}
    mine.upload(folder(here, "01_gan"), folder=True)
    mine.upload(table(here), folder=False)
    assert {key.removeprefix("mine/"): size for key, size in keys().items()} == {
        name: len(data) for name, data in content(here).items()}
    theirs = storage(there)
    theirs.read_all_manifests()
    assert theirs.fetch(there / MODELS / "01_gan", folder=True)
    assert theirs.fetch(there / TABLE, folder=False)
    assert content(there) == content(here)
    folder(here, "01_gan", b"newer", version=2)
    mine.upload(here / MODELS / "01_gan", folder=True)
    theirs.forget(there / MODELS / "01_gan", folder=True)
    assert theirs.fetch(there / MODELS / "01_gan", folder=True)
    assert content(there) == content(here)


def test_a_bucket_that_does_not_exist(server: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"(?s)does not exist.*s3://absent/mine/.probe-"):
        storage(tmp_path, "absent").check()


def test_a_bucket_without_permission(server: str, tmp_path: Path) -> None:
    with as_stranger(server), pytest.raises(UserError, match=r"(?s)Access is refused.*s3://runs/mine/.probe-"):
        storage(tmp_path).check()


def test_no_credentials(server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "none"))
    with pytest.raises(UserError, match=r"(?s)Access is refused.*redential"):
        storage(tmp_path).check()


def test_a_server_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"(?s)cannot be reached.*127.0.0.1:9"):
        storage(tmp_path).check()
    assert time.monotonic() - begun < 60


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start a server that accepts connections and never answers, with short limits for it."""
    for name, value in {"connect_timeout": 1, "read_timeout": 0.3, "retries": {"total_max_attempts": 1}}.items():
        monkeypatch.setitem(addresses.S3_READS, name, value)
    monkeypatch.setattr(addresses, "TIMEOUT", 0.5)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    accepted = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        def accept() -> None:
            with suppress(OSError):
                while True:
                    accepted.append(listener.accept()[0])

        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{listener.getsockname()[1]}")
        thread = Thread(target=accept, daemon=True)
        thread.start()
        yield
        listener.shutdown(socket.SHUT_RDWR)
        thread.join()
    for each in accepted:
        each.close()


CALLS: dict[str, Callable[[Storage, Path], object]] = {
    "list": lambda mine, root: mine.read_all_manifests(),
    "read": lambda mine, root: mine.fetch(root / TABLE, folder=False),
    "write": lambda mine, root: mine.upload_tree(table(root).parent),
    "write much": lambda mine, root: mine.upload_tree(folder(root, "01_gan", bytes(2**22))),
    "list beside": lambda mine, root: mine.fetch_beside(root / MODELS / "01_gan"),
    "a picture": lambda mine, root: addresses.read_file("s3://runs/pictures/1.png"),
    "pictures": lambda mine, root: addresses.list_files("s3://runs/pictures"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_server_that_stalls_at_any_call_is_one_message(silent: None, tmp_path: Path, call: str) -> None:
    """Writing waited for ever, other calls for many minutes."""
    begun = time.monotonic()
    with pytest.raises(MachineError, match=r"(?s)cannot be reached.*s3://runs/.*the same command resumes"):
        CALLS[call](storage(tmp_path), tmp_path)
    assert time.monotonic() - begun < 20
