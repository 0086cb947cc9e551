"""An index in several parts is that of one table: built, audited, split, stored; killed and damaged."""

from __future__ import annotations

import dataclasses
import os
import pickle
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from threading import Event, Thread
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fakemedia.artefacts.files import resumable_folder, write_file
from fakemedia.artefacts.manifest import make_manifest, read_manifest, write_manifest
from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.ingest import facts as measuring
from fakemedia.ingest import index as indexing
from fakemedia.ingest import listing, part_jobs, parts
from fakemedia.ingest.audit import accept, audit_task, shared_images
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.collection import AuditConfig
from fakemedia.ingest.index import Run, build_index, index_fingerprint, index_parts, index_recipe, refreshed
from fakemedia.ingest.listing import Listing
from fakemedia.ingest.parts import COLUMNS, Index, WrittenPart, index_content, read_index, write_index
from fakemedia.reporting.audit_page import audit_summary
from fakemedia.sources.folder import FolderSource
from fakemedia.sources.source import Item
from fakemedia.store.pool import Pool, Room

RECIPE = index_recipe("gan", {"name": "folder"})
CONFIG = AuditConfig(quarantine=("duplicate", "leak", "source_leak", "unreadable", "near_leak"))


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (parts, listing, part_jobs, indexing):
        monkeypatch.setattr(module, "PART_ROWS", 5)


@pytest.fixture
def source(tmp_path: Path) -> FolderSource:
    """Return 24 pictures: with parts of five rows, five parts."""
    rng = np.random.default_rng(0)
    for split in SPLITS:
        for name in CLASS_FOLDERS:
            folder = tmp_path / "raw/gan" / split / name
            folder.mkdir(parents=True)
            for number in range(4):
                Image.fromarray(rng.integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    return FolderSource(tmp_path / "raw")


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return a list that grows with each picture that is decoded."""
    seen, real = [], measuring.read_picture
    monkeypatch.setattr(measuring, "read_picture", lambda data: (seen.append(1), real(data))[1])
    return seen


def in_parts(source: FolderSource, folder: Path, previous: Index | None = None, run: Run | None = None,
             pool: Pool | None = None) -> Index:
    return index_parts(source, "gan", folder, RECIPE, workers=1, previous=previous, pool=pool, run=run,
                       progress=False)


@st.composite
def tables(draw: st.DrawFn) -> pd.DataFrame:
    """Return an index with copies, near copies, leaks, unreadable files and sheets, in the order of its paths."""
    rng = np.random.default_rng(draw(st.integers(0, 10**6)))
    size = draw(st.integers(1, 18))
    content, like = rng.integers(0, 12, size), rng.integers(0, 3, 12)
    bad, split = rng.random(size) < 0.1, rng.choice(SPLITS, size, p=[0.6, 0.2, 0.2])
    ids = np.where(bad, "", [f"{number:032x}" for number in content])
    named = rng.random(size) < 0.5
    table = pd.DataFrame({
        "id": ids, "path": [f"t/{number:03d}.png" for number in range(size)], "task": "t", "split": split,
        "label": rng.integers(0, 2, size), "class_name": "",
        "source": np.where(named, [f"s{number}" for number in rng.integers(0, 8, size)], ids),
        "codec": np.array(["png", "jpeg"])[content % 2], "mode": "RGB", "width": 9, "height": 8, "bytes": 7,
        "mtime_ns": 1, "quality": 0, "phash": [f"{(int(like[number]) << 40) + number % 4:016x}" for number in content],
        "mean": 50.0 + content % 3 * 4, "spread": np.where(content == 0, 0.5, 20.0), "tiles": content // 11 * 4,
        "cut": rng.choice(["", "rule"], size), "error": np.where(bad, "broken", ""),
    }).astype(COLUMNS)
    table.attrs["notes"] = []
    return table


@given(tables(), st.integers(1, 9))
@settings(max_examples=20)
def test_what_is_found_does_not_depend_on_the_parts(table: pd.DataFrame, rows: int) -> None:
    pieces = [table.iloc[start:start + rows] for start in range(0, len(table), rows)]
    index = Index(pieces, [len(piece) for piece in pieces], [])
    findings = audit_task(table, CONFIG)
    pd.testing.assert_frame_equal(audit_task(index, CONFIG), findings)
    assert audit_summary([index], findings) == audit_summary([table], findings)
    for split in SPLITS:
        assert index_fingerprint(index, split) == index_fingerprint(table, split)
    again = table.assign(task="u")
    pd.testing.assert_frame_equal(shared_images([index, again]), shared_images([table, again]))
    kept = []
    for rows_of in (index, table):
        try:
            kept.append(accept(rows_of, findings, CONFIG))
        except UserError as error:
            kept.append(str(error))
    if isinstance(kept[0], Index):
        pd.testing.assert_frame_equal(kept[0].frame(), kept[1])
        assert len(kept[0]) == len(kept[1])
    else:
        assert kept[0] == kept[1]


def test_an_index_in_parts_is_the_one_of_one_table(source: FolderSource, tmp_path: Path, small_parts: None) -> None:
    table, index = build_index(source, "gan", workers=1, progress=False), in_parts(source, tmp_path / "index")
    assert sorted(os.listdir(tmp_path / "index")) == [
        "manifest.json", "notes.json", *(f"part-{number:05d}.parquet" for number in range(5))]
    pd.testing.assert_frame_equal(index.frame(), table)
    manifest = read_manifest(tmp_path / "index", folder=True)
    assert manifest is not None
    assert manifest.content == index_content(index) == index_content(table)
    assert in_parts(source, tmp_path / "index", index) is index
    stores = [build_store(rows, source, "train", tmp_path / name, workers=1, progress=False)
              for rows, name in ((table, "a"), (index, "b"))]
    assert stores[0].fingerprint == stores[1].fingerprint
    assert (stores[0].folder / "pixels.u8").read_bytes() == (stores[1].folder / "pixels.u8").read_bytes()


def same_files(one: Path, other: Path) -> bool:
    def content(folder: Path) -> dict[Path, bytes]:
        return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}

    assert content(one)
    return content(one) == content(other)


def from_the_last(function: Callable[[Any], WrittenPart], jobs: Iterable[Any]) -> Iterator[WrittenPart]:
    """Make shards in another order than theirs, from copies, as other processes do."""
    return map(pickle.loads(pickle.dumps(function)), reversed(list(jobs)))


def pooled(work: Path) -> Pool:
    return Pool(work / "decoded", policy="native", room=Room())


def stored(index: Index, source: FolderSource, work: Path) -> list[str]:
    """Build all stores of an index from its pool; return their fingerprints."""
    return [build_store(index, source, split, work / split, pool=work / "decoded" / split, workers=1,
                        progress=False).fingerprint for split in SPLITS]


def test_shards_give_the_files_of_one_process(source: FolderSource, tmp_path: Path, small_parts: None) -> None:
    (source.root / "gan/train/0_real/9.png").write_bytes((source.root / "gan/train/1_fake/0.png").read_bytes())
    (source.root / "gan/val/0_real/9.png").write_bytes(b"broken")
    one, four = tmp_path / "one", tmp_path / "four"
    in_parts(source, one / "index", pool=pooled(one))
    in_parts(source, four / "index", run=from_the_last, pool=pooled(four))
    assert same_files(one, four)
    with ThreadPoolExecutor(4) as pool:
        in_parts(source, tmp_path / "threads/index", run=pool.map)
    assert same_files(one / "index", tmp_path / "threads/index")


def test_shards_that_were_made_are_not_measured_again(source: FolderSource, tmp_path: Path, small_parts: None,
                                                      decoded: list[int]) -> None:
    broken = "gan/test/0_real/0.png"
    (source.root / broken).write_bytes(b"broken")
    one, work = tmp_path / "one", tmp_path / "work"
    expected = stored(in_parts(source, one / "index", pool=pooled(one)).without([broken]), source, one)

    def stopped(function: Callable[[Any], WrittenPart], jobs: Iterable[Any]) -> Iterator[WrittenPart]:
        yield from map(function, islice(jobs, 3))
        raise KeyboardInterrupt

    decoded.clear()
    with pytest.raises(KeyboardInterrupt):
        in_parts(source, work / "index", run=stopped, pool=pooled(work))
    assert len(decoded) == 15
    assert not (work / "index").exists()
    index = in_parts(source, work / "index", run=from_the_last, pool=pooled(work))
    assert len(decoded) == 24 + 1  # The broken one is tried again.
    assert stored(index.without([broken]), source, work) == expected
    assert len(decoded) == 24 + 1
    assert same_files(one, work)
    assert not list(work.glob(".*"))


def test_shards_of_other_files_or_settings_are_not_used(source: FolderSource, tmp_path: Path, small_parts: None,
                                                        decoded: list[int]) -> None:
    def stopped(function: Callable[[Any], WrittenPart], jobs: Iterable[Any]) -> Iterator[WrittenPart]:
        yield from map(function, jobs)
        raise KeyboardInterrupt

    folder = tmp_path / "work/index"
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            in_parts(source, folder, run=stopped)
    assert len(decoded) == 24
    shutil.rmtree(source.root / "gan/test/0_real")
    (source.root / "gan/test/0_real").mkdir()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(source.root / "gan/test/0_real/new.png")
    part = next(tmp_path.glob("work/.index.unfinished-*/part-00003.parquet"))
    part.write_bytes(part.read_bytes()[:-9])
    decoded.clear()
    other = dataclasses.replace(RECIPE, version=RECIPE.version + 1)
    with pytest.raises(KeyboardInterrupt):
        index_parts(source, "gan", folder, other, workers=1, run=stopped, progress=False)
    assert len(decoded) == 21
    assert len(list(tmp_path.glob("work/.index.unfinished-*"))) == 1
    index = in_parts(source, folder, run=from_the_last)
    pd.testing.assert_frame_equal(index.frame(), build_index(source, "gan", workers=1, progress=False))
    assert len(os.listdir(folder)) == 5 + 2


def test_what_another_process_builds_is_left_alone(source: FolderSource, tmp_path: Path, small_parts: None) -> None:
    folder = tmp_path / "work/index"
    with resumable_folder(folder, RECIPE.fingerprint) as busy:
        (busy / "part-00000.parquet").write_bytes(b"half")
        in_parts(source, folder, run=from_the_last)
        assert os.listdir(busy) == ["part-00000.parquet"]
    in_parts(source, tmp_path / "one/index")
    assert same_files(folder, tmp_path / "one/index")


def test_only_what_changed_is_decoded_again(source: FolderSource, tmp_path: Path, small_parts: None,
                                            decoded: list[int]) -> None:
    index = in_parts(source, tmp_path / "index")
    decoded.clear()
    train = source.root / "gan/train/1_fake"
    (train / "0.png").rename(train / "renamed.png")
    os.utime(source.root / "gan/val/0_real/1.png", ns=(1, 1))
    (source.root / "gan/test/0_real/3.png").unlink()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(source.root / "gan/test/1_fake/new.png")
    assert refreshed(index, source, "gan") is None
    again = in_parts(source, tmp_path / "index", index).frame()
    assert len(decoded) == 1
    pd.testing.assert_frame_equal(again, build_index(source, "gan", workers=1, progress=False))


def test_touched_files_get_their_times_in_every_part(source: FolderSource, tmp_path: Path, small_parts: None) -> None:
    index = in_parts(source, tmp_path / "index")
    for path in source.root.rglob("*/1_fake/*.png"):
        os.utime(path, ns=(1, 1))
    found = refreshed(index, source, "gan")
    assert isinstance(found, Index)
    assert index_content(found) == index_content(index)
    written = write_index(found, tmp_path / "index", RECIPE)
    pd.testing.assert_frame_equal(written.frame(), build_index(source, "gan", workers=1, progress=False))
    assert refreshed(written, source, "gan") is written


@pytest.mark.parametrize("damage", ["changed", "cut off", "gone"])
def test_a_damaged_part_is_named(source: FolderSource, tmp_path: Path, small_parts: None, damage: str) -> None:
    in_parts(source, tmp_path / "index")
    part = tmp_path / "index/part-00003.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data[:-9] if damage == "cut off" else data)
    if damage == "gone":
        part.unlink()
    with pytest.raises(UserError, match=r"(?s)missing, incomplete or was changed.*index/part-00003\.parquet") as error:
        read_index(tmp_path / "index")
    assert str(error.value).count("\n") == 3


def test_readers_are_not_disturbed_when_an_index_is_replaced(tmp_path: Path, small_parts: None) -> None:
    """They met a missing part."""
    folder, end, lengths = tmp_path / "work/index", Event(), (23, 40)
    tables = [pd.DataFrame({name: pd.Series(range(length)).astype(kind) for name, kind in COLUMNS.items()
                            if name != "label"}).assign(label=1)[list(COLUMNS)] for length in lengths]
    opened = write_index(tables[0], folder, RECIPE)

    def replace_it() -> None:
        while not end.is_set():
            for table in reversed(tables):
                write_index(table, folder, RECIPE)

    thread = Thread(target=replace_it)
    thread.start()
    try:
        read = [read_index(folder).frame(["path", "width"]) for _ in range(60)]
    finally:
        end.set()
        thread.join()
    assert {len(frame) for frame in read} <= set(lengths)
    assert all(frame["width"].tolist() == list(range(len(frame))) for frame in read)
    assert len(opened.frame()) == lengths[0]


def test_the_single_file_of_an_earlier_version_is_removed(source: FolderSource, tmp_path: Path) -> None:
    former = tmp_path / "work/index.parquet"
    write_file(former, b"rows")
    write_manifest(make_manifest(RECIPE, {former.name: b"rows"}), former)
    in_parts(source, tmp_path / "work/index")
    assert not former.exists()
    assert read_manifest(former) is None


KILLED = """
import sys, time
from pathlib import Path
from fakemedia.ingest import index, listing, part_jobs, parts
from fakemedia.sources.folder import FolderSource
for module in (parts, listing, part_jobs, index):
    module.PART_ROWS = 5
real = part_jobs.write_part

def write(folder, number, frame):
    if number == 2:
        print("half", flush=True)
        time.sleep(60)
    return real(folder, number, frame)

part_jobs.write_part = write
recipe = index.index_recipe("gan", {"name": "folder"})
index.index_parts(FolderSource(Path(sys.argv[1])), "gan", Path(sys.argv[2]), recipe, workers=1, progress=False)
"""


def test_an_index_stays_when_the_next_is_killed(source: FolderSource, tmp_path: Path, small_parts: None) -> None:
    folder = tmp_path / "work/index"
    before = in_parts(source, folder).frame()
    shutil.rmtree(source.root / "gan/test/0_real")
    (source.root / "gan/test/0_real").mkdir()
    Image.new("RGB", (9, 9), (1, 2, 3)).save(source.root / "gan/test/0_real/new.png")
    process = subprocess.Popen([sys.executable, "-c", KILLED, str(source.root), str(folder)], stdout=subprocess.PIPE,
                               text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "half\n"
    half = [path for path in folder.parent.iterdir() if path != folder]
    assert [len(list(path.glob("part-*"))) for path in half] == [2]
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    pd.testing.assert_frame_equal(read_index(folder).frame(), before)
    after = in_parts(source, folder).frame()
    assert len(after) == 21
    assert os.listdir(folder.parent) == ["index"]


def test_only_parts_with_wanted_rows_are_read(source: FolderSource, tmp_path: Path, small_parts: None) -> None:
    index = in_parts(source, tmp_path / "index")
    table = index.frame()
    for number in (0, 1, 4):
        (tmp_path / f"index/part-{number:05d}.parquet").write_bytes(b"")
    found = index.take(np.array([11, 14, 16]))
    pd.testing.assert_frame_equal(found, table.iloc[[11, 14, 16]].reset_index(drop=True))


def test_a_sample_is_drawn_from_all_parts(small_parts: None) -> None:
    table = pd.DataFrame({name: pd.Series(range(200)).astype(kind) for name, kind in COLUMNS.items()
                          if name != "label"}).assign(label=0)
    index = Index.of(table)
    drawn = index.sample(40, ["width", "mean"])
    assert len(drawn) == drawn["width"].nunique() == 40
    assert drawn["width"].is_monotonic_increasing
    assert drawn["width"].max() - drawn["width"].min() > 150
    pd.testing.assert_frame_equal(drawn, index.sample(40, ["width", "mean"]))
    pd.testing.assert_frame_equal(index.sample(200, ["width"]), table[["width"]])


@settings(max_examples=40)
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), unique=True), st.integers(1, 9))
def test_a_listing_is_sorted_by_path(names: list[str], rows: int) -> None:
    items = [Item(path=name, split="val", label=number % 2, class_name=name[:1], source=name[1:], bytes=number,
                  mtime_ns=number) for number, name in enumerate(names)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(listing, "PART_ROWS", rows)
        made = Listing(iter(items), [])
        frame = pd.concat(made.parts(), ignore_index=True)
    ordered = sorted(items, key=lambda item: item.path)
    assert len(made) == len(items)
    for fact in ("path", "split", "label", "class_name", "source", "bytes", "cut", "mtime_ns"):
        assert frame[fact].tolist() == [getattr(item, fact) for item in ordered]
