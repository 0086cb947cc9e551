"""Storage in a bucket of a real server: what works with memory:// works there, and what goes wrong is told."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakemedia.artefacts.storage import Storage, StorageConfig
from fakemedia.core.errors import UserError
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
