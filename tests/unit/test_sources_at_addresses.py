"""Sources at an address: the same pictures, notes and messages as in a folder."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import fsspec
import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from fakemedia.artefacts.addresses import READS
from fakemedia.context.context import Context
from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.index import build_index
from fakemedia.ingest.parts import index_content
from fakemedia.sources.layout import check_layout
from fakemedia.sources.source import listed
from fakemedia.store.batches import EvalBatches

ADDRESS = "memory://bucket/data"


@pytest.fixture
def memory() -> Iterator[MemoryFileSystem]:
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Return a folder with two tasks, files of other kinds, and pictures in no class."""
    rng = np.random.default_rng(0)
    for task in ("gan", "wild"):
        for split in SPLITS:
            for name in CLASS_FOLDERS:
                folder = tmp_path / task / split / name / "cat"
                folder.mkdir(parents=True)
                for number in range(2):
                    pixels = rng.integers(0, 256, (8, 8, 3), np.uint8)
                    Image.fromarray(pixels).save(folder / f"{number}.png")
    place = tmp_path / "gan" / "train"
    (place / "0_real" / "cat" / "0.png").rename(place / "0_real" / "without_ending")
    (place / "0_real" / "notes.txt").write_text("text")
    (place / "0_real" / ".hidden.png").write_bytes(b"")
    (place / "0_real" / "empty").write_bytes(b"")
    (place / "other").mkdir()
    (place / "1_fake" / "cat" / "1.png").rename(place / "other" / "1.png")
    (tmp_path / "wild" / "test").rename(tmp_path / "wild" / "Testing")
    return tmp_path


def mirrored(folder: Path, memory: MemoryFileSystem) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            memory.pipe_file(f"/bucket/data/{path.relative_to(folder).as_posix()}", path.read_bytes())


@pytest.mark.parametrize(("name", "settings"), [
    ("folder", {}), ("archive", {}), ("table", {"table": "table.csv"}),
])
def test_a_source_at_an_address_lists_and_reads_what_a_folder_does(name: str, settings: dict, data: Path,
                                                                   memory: MemoryFileSystem) -> None:
    rows = [f"{path.relative_to(data).as_posix()},{path.parts[-3][0]},{path.parts[-5]}"
            for path in sorted(data.glob("*/*/*/cat/*.png"))]
    (data / "table.csv").write_text("\n".join(["path,label,task", *rows]))
    mirrored(data, memory)
    local = plugin.create("sources", name, {"root": str(data), **settings})
    remote = plugin.create("sources", name, {"root": ADDRESS, **settings})
    assert remote.tasks() == local.tasks() == ["gan", "wild"]
    for task in local.tasks():
        (items, notes), (theirs, their_notes) = listed(local, task), listed(remote, task)
        assert [replace(item, mtime_ns=0) for item in theirs] == [replace(item, mtime_ns=0) for item in items]
        assert their_notes == notes
        assert all(item.mtime_ns > 0 for item in theirs)
        reader = pickle.loads(pickle.dumps(remote.reader(items[0].path)))
        assert reader() == local.reader(items[0].path)()
        indexes = [build_index(source, task, workers=1, progress=False) for source in (local, remote)]
        assert index_content(indexes[0]) == index_content(indexes[1])
    with pytest.raises(OSError, match="absent"):
        remote.reader("absent.png")()


def test_what_is_missing_is_told_as_in_a_folder(data: Path, memory: MemoryFileSystem) -> None:
    mirrored(data, memory)
    check_layout(ADDRESS, ["gan", "wild"])
    with pytest.raises(UserError) as told:
        check_layout(ADDRESS, ["gan", "san"])
    with pytest.raises(UserError) as told_of_folder:
        check_layout(data, ["gan", "san"])
    assert str(told.value).replace(ADDRESS, str(data)).partition(";")[0] == str(told_of_folder.value).partition(";")[0]
    for name in ("folder", "archive"):
        with pytest.raises(UserError, match=r"(?s)folder of the data does not exist.*memory://bucket/nowhere"):
            plugin.create("sources", name, {"root": "memory://bucket/nowhere"}).tasks()


def test_an_archive_at_an_address_is_named(memory: MemoryFileSystem) -> None:
    memory.pipe_file("/bucket/data/cddb.zip", b"PK")
    with pytest.raises(UserError, match=r"cddb\.zip is an archive at an address, which is not read"):
        plugin.create("sources", "cddb", {"root": ADDRESS}).tasks()


def test_a_lost_connection_is_no_damaged_picture(data: Path, memory: MemoryFileSystem,
                                                 monkeypatch: pytest.MonkeyPatch) -> None:
    mirrored(data, memory)

    def lost(*_: object, **__: object) -> bytes:
        raise ConnectionResetError("the connection was lost")

    monkeypatch.setattr(MemoryFileSystem, "cat_file", lost)
    source = plugin.create("sources", "folder", {"root": ADDRESS})
    with pytest.raises(UserError, match=r"(?s)cannot be reached.*Where: memory://bucket/data/wild/"):
        build_index(source, "wild", workers=1, progress=False)


def test_an_address_is_kept_as_it_is_and_refused_by_the_forge() -> None:
    settings = {"source": {"name": "folder", "root": ADDRESS}}
    context = Context(root=Path("/project"), catalog={}, parameters={"collections": {
        "mine": settings, "made": {**settings, "forge": {"tasks": {"gan": {"family": "upsampling"}}}}}})
    assert context.collection_parameters("mine")["source"]["root"] == ADDRESS
    assert context.forge_config("mine") is None
    with pytest.raises(UserError, match="not to an address"):
        context.forge_config("made")


def test_files_at_an_address_are_read_ahead(data: Path, memory: MemoryFileSystem, tmp_path: Path,
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    mirrored(data, memory)
    read = MemoryFileSystem.cat_file
    waiting, together = threading.Semaphore(0), threading.Event()

    def wait_for_others(self: MemoryFileSystem, path: str, **options: object) -> bytes:
        waiting.release()
        together.wait(10)
        return read(self, path, **options)

    def expect(reads: int) -> None:
        """Let reads go on once so many wait at the same time."""
        together.clear()
        threading.Thread(target=lambda: all(waiting.acquire(timeout=10) for _ in range(reads)) and together.set(),
                         daemon=True).start()

    monkeypatch.setattr(MemoryFileSystem, "cat_file", wait_for_others)
    source = plugin.create("sources", "folder", {"root": ADDRESS})
    expect(5)
    index = build_index(source, "wild", workers=1, progress=False)
    assert together.is_set()
    store = build_store(index, source, "train", tmp_path / "store", stream=True, workers=1)
    while waiting.acquire(blocking=False):
        pass
    expect(3)
    list(EvalBatches(store, batch_size=1, crop=8))
    assert together.is_set()
    local = plugin.create("sources", "folder", {"root": str(data)})
    assert build_store(build_index(local, "wild", workers=1), local, "train", tmp_path / "local", stream=True,
                       workers=1).readers < READS
