"""Images worked off by several threads and process_pool."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fakemedia import sources
from fakemedia.artefacts.files import read_regular
from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, SPLITS, check_name
from fakemedia.ingest.build_store import ensure_store
from fakemedia.ingest.facts import measure
from fakemedia.ingest.index import build_index
from fakemedia.ingest.process_pool import picture_map
from fakemedia.runtime.threads import thread_map
from fakemedia.sources.folder import FolderSource
from fakemedia.store.pool import Pool, Room

SIDES = (3, 20, 9, 12, 60, 5, 31)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make few images worth several processes: chunks of 3, handed over in halves of 3000 bytes."""
    monkeypatch.setattr("fakemedia.ingest.process_pool.CHUNK", 3)
    monkeypatch.setattr("fakemedia.ingest.process_pool.HALF", 3000)


def test_results_of_threads_come_in_order_and_few_wait() -> None:
    running = []

    def slow(number: int) -> int:
        running.append(number)
        time.sleep(0.001 * (number % 3))
        return number

    results = thread_map(slow, range(200), workers=2, title="", total=200, progress=False)
    assert next(results) == 0
    time.sleep(0.05)
    assert len(running) <= 9
    assert list(results) == list(range(1, 200))


def write_pictures(folder: Path, count: int, seed: int = 0) -> list[Path]:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    for number in range(count):
        pixels = rng.integers(0, 256, (SIDES[number % len(SIDES)], 20, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:03d}.png")
    return sorted(folder.iterdir())


def jobs_of(paths: list[Path]) -> list[partial[bytes]]:
    return [partial(read_regular, path) for path in paths]


def ingest(source: FolderSource, work: Path, workers: int) -> pd.DataFrame:
    with Pool(work / "decoded", policy="native", room=Room()) as pool:
        index = build_index(source, "gan", workers=workers, pool=pool, progress=False)
    for split in SPLITS:
        ensure_store(index, source, split, work / split, pool=work / "decoded" / split, workers=workers, progress=False)
    ensure_store(index, source, "train", work / "again", workers=workers, progress=False)
    return index


def test_results_are_those_of_one_process_in_order(tmp_path: Path, small_parts: None) -> None:
    paths = write_pictures(tmp_path / "in", 40)
    paths[5].write_bytes(b"no picture")
    paths[6].unlink()
    found = [[(known, None if pixels is None else pixels.copy()) for known, pixels in picture_map(
        partial(measure, policy="native"), jobs_of(paths), workers=workers, title="", progress=False)]
        for workers in (1, 3)]
    assert len(found[0]) == 40
    assert [pixels is None for _, pixels in found[0]] == [number in (5, 6) for number in range(40)]
    for (known, pixels), (expected, picture) in zip(*found, strict=True):
        assert known == expected
        np.testing.assert_array_equal(pixels, picture)


def test_index_and_stores_are_the_same_whatever_the_workers(tmp_path: Path, small_parts: None) -> None:
    for seed, (split, name) in enumerate((split, name) for split in SPLITS for name in CLASS_FOLDERS):
        write_pictures(tmp_path / "in/gan" / split / name, 9, seed)
    source = FolderSource(tmp_path / "in")
    alone, together = (ingest(source, tmp_path / str(workers), workers) for workers in (1, 3))
    pd.testing.assert_frame_equal(alone, together)
    for path in (path for folder in (*SPLITS, "again") for path in (tmp_path / "1" / folder).iterdir()):
        assert (tmp_path / "3" / path.relative_to(tmp_path / "1")).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("job", "message"), [
    (partial(check_name, "a/b"), "The task name 'a/b' cannot be used"), (partial(int, "x"), "invalid literal"),
    (partial(os._exit, 3), r"ended \(status 3\)"),
])
def test_what_goes_wrong_there_is_raised_here(tmp_path: Path, small_parts: None, job: partial, message: str) -> None:
    jobs = [*jobs_of(write_pictures(tmp_path / "in", 20)), job, *jobs_of(write_pictures(tmp_path / "more", 20))]
    with pytest.raises((UserError, RuntimeError), match=message):
        list(picture_map(partial(measure, policy="native"), jobs, workers=2, title="", progress=False))


STOPPED = """
import os, sys, time
from functools import partial
from pathlib import Path
from fakemedia import sources
from fakemedia.ingest import process_pool
from fakemedia.artefacts.files import read_regular
from fakemedia.ingest.facts import measure
process_pool.CHUNK = 3
process_pool.HALF = 3000
jobs = [partial(read_regular, path) for path in sorted(Path(sys.argv[1]).iterdir())]
results = process_pool.picture_map(partial(measure, policy="native"), jobs, workers=2, title="", progress=False)
next(results)
print(Path(f"/proc/self/task/{os.getpid()}/children").read_text(), flush=True)
time.sleep(60)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc")
def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    write_pictures(tmp_path / "in", 40)
    process = subprocess.Popen([sys.executable, "-c", STOPPED, str(tmp_path / "in")], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    children = process.stdout.readline().split()
    assert len(children) == 2
    process.send_signal(signal.SIGKILL)
    process.wait()
    for _ in range(3000):
        if not any(running(child) for child in children):
            break
        time.sleep(0.01)
    else:
        pytest.fail("a process goes on alone")


def running(process: str) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_a_source_outside_the_package(tmp_path: Path, small_parts: None, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = write_pictures(tmp_path / "pictures", 14)
    (tmp_path / "sources").mkdir(parents=True)
    (tmp_path / "sources/mine.py").write_text(
        "from dataclasses import dataclass\nfrom functools import partial\n@dataclass(frozen=True, kw_only=True)\n"
        "class Config:\n    pass\ndef read(path):\n    return path.read_bytes()\n"
        "def build(config):\n    return partial(partial, read)\n")
    monkeypatch.setattr(plugin, "_roots", list(plugin._roots))
    monkeypatch.setattr(sources, "__path__", list(sources.__path__))
    plugin.add_folder(tmp_path)
    try:
        reader = plugin.create("sources", "mine", {})
        results = list(picture_map(partial(measure, policy=None), [reader(path) for path in paths], workers=2, title="",
                                   progress=False))
    finally:
        sys.modules.pop("fakemedia.sources.mine", None)
        plugin.names.cache_clear()
    assert [facts["error"] for (facts, _), _ in results] == [""] * len(paths)
