"""Results at an address: uploaded, fetched, evicted, damaged, refused."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import fsspec
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from fakemedia.artefacts.cache import is_reduced
from fakemedia.artefacts.files import write_file
from fakemedia.artefacts.manifest import Recipe, is_current, make_manifest, read_manifest, write_manifest
from fakemedia.artefacts.storage import Storage, StorageConfig
from fakemedia.catalog.artefact import Artefact, Currency
from fakemedia.core.errors import MachineError, UserError

RECIPE = Recipe(producer="test", version=1)
MODELS, TABLE = "data/06_models/demo", "data/07_model_output/demo/01_gan.parquet"
WEIGHTS = bytes(2**20)


@pytest.fixture(autouse=True)
def memory() -> Iterator[MemoryFileSystem]:
    """Return the memory that is behind memory://, empty."""
    system = fsspec.filesystem("memory", use_listings_cache=False)
    system.store.clear()
    yield system
    system.store.clear()


def storage(root: Path, gib: float | None = None) -> Storage:
    return Storage(StorageConfig(address="memory://bucket/mine", cache_gib=gib), root)


def folder(root: Path, name: str, weights: bytes = WEIGHTS, version: int = 1) -> Path:
    """Make the folder of a checkpoint, with a calibration and a history."""
    place = root / MODELS / name
    files = {"weights.safetensors": weights, "checkpoint.json": name.encode()}
    for file, data in files.items():
        write_file(place / file, data)
    write_manifest(make_manifest(Recipe(producer="test", version=version), files), place, folder=True)
    write_file(place.with_name(f"{name}.history.jsonl"), b"{}\n")
    return place


def table(root: Path, data: bytes = b"scores") -> Path:
    path = root / TABLE
    write_file(path, data)
    write_manifest(make_manifest(RECIPE, {path.name: data}), path)
    return path


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*"))
            if path.is_file() and not path.match("data/.storage*/*")}


def test_what_is_uploaded_is_fetched_by_another_machine(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    place, path = folder(here, "01_gan"), table(here)
    write_file(place / "calibration.json", b"{}")
    write_manifest(make_manifest(RECIPE, {"calibration.json": b"{}"}), place / "calibration.json")
    mine = storage(here)
    mine.upload(place, folder=True)
    mine.upload(path, folder=False)
    theirs = storage(there)
    assert theirs.folders() == [there / MODELS / "01_gan"]
    assert theirs.fetch(there / MODELS / "01_gan", folder=True)
    assert theirs.fetch(there / TABLE, folder=False)
    assert content(there) == content(here)
    assert is_current(there / TABLE, RECIPE)
    assert is_current(there / MODELS / "01_gan", RECIPE, folder=True)
    assert not theirs.fetch(there / MODELS / "02_other", folder=True)


def test_the_manifest_is_written_last_and_removed_first(tmp_path: Path, memory: MemoryFileSystem,
                                                        monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder(tmp_path, "01_gan")
    storage(tmp_path).upload(place, folder=True)
    folder(tmp_path, "01_gan", b"other" * 10, version=2)
    real = MemoryFileSystem.put_file

    def lost(self: MemoryFileSystem, lpath: str, rpath: str, **options: Any) -> None:
        if rpath.endswith("weights.safetensors"):
            raise ConnectionResetError("the connection was lost")
        real(self, lpath, rpath, **options)

    monkeypatch.setattr(MemoryFileSystem, "put_file", lost)
    with pytest.raises(UserError, match=r"(?s)cannot be reached.*connection was lost.*memory://bucket/mine/data/06_"):
        storage(tmp_path).upload(place, folder=True)
    assert storage(tmp_path / "there").folders() == []
    assert not storage(tmp_path / "there").fetch(tmp_path / "there" / MODELS / "01_gan", folder=True)
    monkeypatch.undo()
    storage(tmp_path).upload(place, folder=True)
    assert storage(tmp_path / "there").fetch(tmp_path / "there" / MODELS / "01_gan", folder=True)
    assert (tmp_path / "there" / MODELS / "01_gan" / "weights.safetensors").read_bytes() == b"other" * 10


def test_a_result_that_was_replaced_leaves_nothing_of_the_older_one(tmp_path: Path, memory: MemoryFileSystem) -> None:
    place = folder(tmp_path, "01_gan")
    write_file(place / "calibration.json", b"{}")
    mine = storage(tmp_path)
    mine.upload(place, folder=True)
    (place / "calibration.json").unlink()
    folder(tmp_path, "01_gan", b"newer", version=2)
    mine.upload(place, folder=True)
    assert sorted(key.rpartition("01_gan/")[2] for key in memory.find("/bucket/mine") if "01_gan/" in key) == [
        "checkpoint.json", "manifest.json", "weights.safetensors"]


def test_damage_at_the_address_is_one_message_and_then_counts_as_missing(tmp_path: Path,
                                                                        memory: MemoryFileSystem) -> None:
    place, there = folder(tmp_path / "here", "01_gan"), tmp_path / "there"
    storage(tmp_path / "here").upload(place, folder=True)
    memory.pipe_file(f"/bucket/mine/{MODELS}/01_gan/checkpoint.json", b"01_gam")
    with pytest.raises(UserError, match=r"(?s)damaged.*memory://bucket/mine/data/06_models/demo/01_gan"):
        storage(there).fetch(there / MODELS / "01_gan", folder=True)
    assert content(there) == {}
    assert storage(there).manifest(there / MODELS / "01_gan", folder=True) is None
    storage(tmp_path / "here").upload(place, folder=True)
    assert storage(there).fetch(there / MODELS / "01_gan", folder=True)


def test_a_fetch_replaces_what_is_damaged_or_missing_here(tmp_path: Path) -> None:
    place = folder(tmp_path, "01_gan")
    storage(tmp_path).upload(place, folder=True)
    written = content(tmp_path)
    (place / "weights.safetensors").unlink()
    (place / "checkpoint.json").write_bytes(b"01_gam")
    assert storage(tmp_path).fetch(place, folder=True)
    assert content(tmp_path) == written


def test_a_light_fetch_leaves_weights_away(tmp_path: Path) -> None:
    storage(tmp_path / "here").upload(folder(tmp_path / "here", "01_gan"), folder=True)
    there = tmp_path / "there" / MODELS / "01_gan"
    assert storage(tmp_path / "there").fetch(there, folder=True, light=True)
    assert sorted(path.name for path in there.iterdir()) == [".reduced", "checkpoint.json", "manifest.json"]
    assert not is_current(there, RECIPE, folder=True)
    storage(tmp_path / "there").upload(there, folder=True)
    assert storage(tmp_path / "there").fetch(there, folder=True)
    assert is_current(there, RECIPE, folder=True)
    assert not is_reduced(there)


def test_of_processes_that_fetch_one_result_at_once_one_reads_it(tmp_path: Path,
                                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    storage(tmp_path / "here").upload(folder(tmp_path / "here", "01_gan"), folder=True)
    place, read, started = tmp_path / "there" / MODELS / "01_gan", MemoryFileSystem.get, []

    def slowly(system: MemoryFileSystem, *args: Any, **kwargs: Any) -> None:
        started.append(args)
        time.sleep(0.3)
        read(system, *args, **kwargs)

    monkeypatch.setattr(MemoryFileSystem, "get", slowly)
    with ThreadPoolExecutor() as pool:
        assert all(pool.map(lambda each: each.fetch(place, folder=True),
                            [storage(tmp_path / "there") for _ in range(2)]))
    assert len(started) == 1
    assert content(tmp_path / "there") == content(tmp_path / "here")


def test_the_state_in_training_goes_on_elsewhere_and_the_newer_one_counts(tmp_path: Path) -> None:
    here, there = (tmp_path / name / MODELS / "01_gan" for name in ("here", "there"))
    write_file(here.with_name("01_gan.best1.pt"), b"best")
    write_file(here.with_name("01_gan.resume.pt"), b"epoch 1")
    mine, theirs = storage(tmp_path / "here"), storage(tmp_path / "there")
    mine.upload_beside(here)
    theirs.fetch_beside(there)
    assert there.with_name("01_gan.resume.pt").read_bytes() == b"epoch 1"
    there.with_name("01_gan.best1.pt").unlink()
    write_file(there.with_name("01_gan.resume.pt"), b"epoch 2")
    theirs.upload_beside(there)
    mine.fetch_beside(here)
    assert here.with_name("01_gan.resume.pt").read_bytes() == b"epoch 2"
    write_file(here.with_name("01_gan.resume.pt"), b"epoch 3, not uploaded")
    mine.fetch_beside(here)
    assert here.with_name("01_gan.resume.pt").read_bytes() == b"epoch 3, not uploaded"
    assert not list(storage(tmp_path)._files.glob("/bucket/mine/**/*best1.pt"))


def test_the_cache_removes_the_weights_used_longest_ago(tmp_path: Path) -> None:
    names = ["01_a", "02_b", "03_c"]
    mine = storage(tmp_path, gib=2.5 / 1024)
    for name in names[:2]:
        mine.upload(folder(tmp_path, name), folder=True)
    mine.fetch(tmp_path / MODELS / "01_a", folder=True)
    mine.upload(folder(tmp_path, "03_c"), folder=True)
    assert _held(tmp_path) == ["01_a", "03_c"]
    assert mine.fetch(tmp_path / MODELS / "02_b", folder=True)
    assert _held(tmp_path) == ["02_b", "03_c"]


def test_the_cache_keeps_what_is_not_uploaded_or_held(tmp_path: Path, memory: MemoryFileSystem,
                                                      caplog: pytest.LogCaptureFixture) -> None:
    mine, other = storage(tmp_path, gib=1.5 / 1024), storage(tmp_path, gib=1.5 / 1024)
    mine.upload(folder(tmp_path, "01_a"), folder=True)
    mine.hold(tmp_path / MODELS / "01_a")
    with caplog.at_level(logging.WARNING):
        other.upload(folder(tmp_path, "02_b"), folder=True)
        other.upload(folder(tmp_path, "03_c"), folder=True)
    assert _held(tmp_path) == ["01_a", "03_c"]
    assert "more than storage.cache_gib" in caplog.text
    memory.rm_file(f"/bucket/mine/{MODELS}/03_c/weights.safetensors")
    other.upload(folder(tmp_path, "04_d"), folder=True)
    assert _held(tmp_path) == ["01_a", "03_c", "04_d"]


def _held(root: Path) -> list[str]:
    return sorted(path.parent.name for path in (root / MODELS).glob("*/weights.safetensors"))


def test_a_result_that_does_not_hold_is_not_replaced_by_an_older_one(tmp_path: Path) -> None:
    mine = storage(tmp_path)
    mine.upload(table(tmp_path, b"older"), folder=False)
    path = table(tmp_path, b"newer, not uploaded")
    growing = Artefact(path=path, recipe=lambda _: RECIPE, holds=lambda: False)
    currency = Currency(storage(tmp_path))
    assert currency.content(growing) is None
    currency.fetch(growing)
    assert path.read_bytes() == b"newer, not uploaded"
    path.write_bytes(b"damaged")
    assert currency.content(Artefact(path=path, recipe=lambda _: RECIPE)) is not None
    assert path.read_bytes() == b"older"


@pytest.mark.parametrize(("error", "said"), [
    (PermissionError("Forbidden"), r"Access is refused \(PermissionError: Forbidden\).*AWS_ACCESS_KEY_ID"),
    (FileNotFoundError("The specified bucket does not exist"), "bucket or the file does not exist.*create the bucket"),
    (TimeoutError("too slow"), r"cannot be reached \(TimeoutError: too slow\).*AWS_ENDPOINT_URL"),
])
def test_the_probe_names_address_and_reason(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception,
                                            said: str) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise error

    storage(tmp_path).check()
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", refuse)
    with pytest.raises(UserError, match=rf"(?s){said}") as told:
        storage(tmp_path).check()
    assert "Where: memory://bucket/mine/.probe-" in str(told.value)


def test_an_address_that_never_answers_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    end = Event()
    monkeypatch.setattr(MemoryFileSystem, "pipe_file", lambda *_: end.wait(20))
    monkeypatch.setattr("fakemedia.artefacts.storage.TIMEOUT", 0.1)
    begun = time.monotonic()
    with pytest.raises(UserError, match=r"(?s)no answer within 0\.1 seconds.*memory://bucket/mine/.probe-"):
        storage(tmp_path).check()
    assert time.monotonic() - begun < 10
    end.set()


def test_manifests_that_cannot_be_read_do_not_count_as_missing(tmp_path: Path, memory: MemoryFileSystem,
                                                               monkeypatch: pytest.MonkeyPatch) -> None:
    """They were left out, and finished work was done again."""
    storage(tmp_path).upload(folder(tmp_path, "01_gan"), folder=True)
    real = MemoryFileSystem.cat_file

    def lost(self: MemoryFileSystem, path: str, **options: Any) -> bytes:
        if path.endswith("manifest.json"):
            raise ConnectionResetError("the connection was lost")
        return real(self, path, **options)

    monkeypatch.setattr(MemoryFileSystem, "cat_file", lost)
    with pytest.raises(MachineError, match=r"(?s)cannot be reached.*connection was lost.*memory://bucket/mine"):
        storage(tmp_path).folders()


def test_a_slow_upload_goes_on_while_something_arrives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = MemoryFileSystem.put_file
    monkeypatch.setattr(MemoryFileSystem, "put_file", lambda *given, **options: (time.sleep(0.2),
                                                                                real(*given, **options)))
    monkeypatch.setattr("fakemedia.artefacts.addresses.TIMEOUT", 0.4)
    for number in range(5):
        write_file(tmp_path / f"tree/{number}", b"x")
    storage(tmp_path).upload_tree(tmp_path / "tree")
    monkeypatch.setattr("fakemedia.artefacts.addresses.TIMEOUT", 0.05)
    with pytest.raises(MachineError, match=r"no answer within 0\.05 seconds"):
        storage(tmp_path).upload_tree(tmp_path / "tree")


def test_a_probe_leaves_nothing_behind(tmp_path: Path, memory: MemoryFileSystem) -> None:
    storage(tmp_path).check()
    assert memory.find("/bucket/mine") == []


@pytest.mark.parametrize(("address", "said"), [
    ("s4://bucket", "no such kind of address"), ("s3://", "names no bucket"), ("data/storage", "address must be none"),
])
def test_an_address_that_is_none(tmp_path: Path, address: str, said: str) -> None:
    with pytest.raises((UserError, ValueError), match=said):
        Storage(StorageConfig(address=address), tmp_path).check()


def test_a_missing_package_is_named_with_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: object, **__: object) -> None:
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setattr("fsspec.core.url_to_fs", absent)
    with pytest.raises(UserError, match=r"(?s)not installed \(Install s3fs.*s3://bucket/x.*\[storage\]"):
        Storage(StorageConfig(address="s3://bucket/x"), tmp_path).check()


def test_a_shared_folder_serves_as_an_address_too(tmp_path: Path) -> None:
    config = StorageConfig(address=f"file://{tmp_path}/share")
    place = folder(tmp_path / "here", "01_gan")
    Storage(config, tmp_path / "here").upload(place, folder=True)
    assert Storage(config, tmp_path / "there").fetch(tmp_path / "there" / MODELS / "01_gan", folder=True)
    assert read_manifest(tmp_path / "there" / MODELS / "01_gan", folder=True) == read_manifest(place, folder=True)
