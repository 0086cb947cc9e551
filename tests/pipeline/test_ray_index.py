"""The index of a large task on a cluster has the files of the sequential runner, also after a lost worker or Ctrl-C."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.pipeline.conftest import change
from tests.pipeline.test_ray_runner import ON_TWO, start, until, workers
from tests.trees import TOTAL, write_tree

pytest.importorskip("ray")
PART, PICTURES = 8, TOTAL + 6
"""Rows of a part here; pictures of both tasks."""
SLOW_AND_SMALL = f"""
import os, sys, time
from fakemedia.ingest import parts
parts.PART_ROWS = {PART}
from fakemedia.ingest import facts
real = facts.read_picture

def read_picture(data):
    log = os.open(os.environ["DECODED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(log, b".")
    os.close(log)
    time.sleep(0.1 if "slow" in os.environ["DECODED"] else 0)
    return real(data)

facts.read_picture = read_picture
"""
"""For every process: small parts, and a file that grows with each picture that is decoded."""
Start = Callable[..., tuple[subprocess.Popen[str], Path]]


@pytest.fixture
def large(project: Path) -> Path:
    """Return a project with a task of several parts, `a`, and one of a single part."""
    for task in ("a", "b"):
        write_tree(project / "data/01_raw/own", task)
    for path in (project / "data/01_raw/own/b").rglob("*.png"):
        if int(path.stem) > 0:
            path.unlink()
    change(project, {"collections": {"own": {"source": {"name": "folder", "root": "data/01_raw/own"}}},
                     "sequences": {"tiny": {"collection": "own", "tasks": ["a", "b"]}}})
    return project


@pytest.fixture
def ingest(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return a function that starts the ingestion of a project, and returns the file that counts pictures, too."""
    place = tmp_path_factory.mktemp("site")
    (place / "sitecustomize.py").write_text(SLOW_AND_SMALL)
    monkeypatch.setenv("PYTHONPATH", str(place))

    def started(project: Path, name: str, params: str) -> tuple[subprocess.Popen[str], Path]:
        monkeypatch.setenv("DECODED", str(place / name))
        return start(project, "--tags", "ingestion", params=params), place / name

    return started


def files(project: Path) -> dict[Path, bytes]:
    """Return the indexes and the stores."""
    return {path.relative_to(project): path.read_bytes() for part in ("02_intermediate", "03_primary")
            for path in (project / "data" / part).rglob("*") if path.is_file()}


def ended(process: subprocess.Popen[str], status: int = 0) -> str:
    output, _ = process.communicate(timeout=300)
    assert process.returncode == status, output
    return output


def kill_worker(process: subprocess.Popen[str], function: str) -> None:
    until(lambda: workers(process.pid, function), process)
    os.kill(workers(process.pid, function)[0], signal.SIGKILL)


@pytest.mark.slow
def test_shards_on_a_cluster_give_the_same_files(large: Path, ingest: Start,
                                                 tmp_path_factory: pytest.TempPathFactory) -> None:
    alone, stopped = (shutil.copytree(large, tmp_path_factory.mktemp(name), dirs_exist_ok=True)
                      for name in ("alone", "stopped"))
    process, count = ingest(alone, "alone", "cluster.address=none")
    ended(process)
    assert count.stat().st_size == PICTURES
    expected = files(alone)
    assert len([path for path in expected if path.name.startswith("part-")]) == TOTAL // PART + 1

    process, count = ingest(large, "slow, killed", ON_TWO)
    unfinished = "data/*/own/a/.index.unfinished-*/part-*"
    until(lambda: list(large.glob(unfinished)), process)
    kill_worker(process, "call")
    until(lambda: len(list(large.glob(unfinished))) > 2, process)
    kill_worker(process, "compute")  # The one that hands out the shards.
    ended(process)
    assert PICTURES <= count.stat().st_size <= PICTURES + 3 * PART
    assert files(large) == expected

    process, _ = ingest(stopped, "slow, stopped", ON_TWO)
    until(lambda: len(list(stopped.glob(unfinished))) > 3, process)
    process.send_signal(signal.SIGINT)
    assert ended(process, 130).count("Stopped.") == 1
    kept = len(list(stopped.glob(unfinished)))
    process, count = ingest(stopped, "resumed", ON_TWO)
    ended(process)
    assert count.stat().st_size <= PICTURES - PART * (kept - 1)
    assert files(stopped) == expected
