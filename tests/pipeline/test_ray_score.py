"""`kedro score` over a cluster: the parts of one process, also where a worker is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pipeline.test_ray_runner import SOURCE, until, workers
from tests.scoring import write_checkpoint, write_pictures

pytest.importorskip("ray")


def start(folder: Path, out: str, *options: str) -> subprocess.Popen[str]:
    """Start `fakemedia score` of the pictures in `folder`, two to a part, with one thread."""
    program = ("import sys; from fakemedia.scoring import file_list; file_list.SHARD = 2; "
               "from fakemedia.__main__ import main; main()")
    command = [sys.executable, "-c", program, "score", "in", "--checkpoint", "model", "--out", out, *options]
    path = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})


@pytest.mark.slow
def test_a_cluster_writes_the_parts_of_one_process_though_a_worker_is_killed(tmp_path: Path) -> None:
    for number in range(60):
        write_pictures(tmp_path / f"in/{number:02d}")
    write_checkpoint(tmp_path / "model")
    alone = start(tmp_path, "alone.parquet")
    assert alone.wait(timeout=300) == 0, alone.communicate()[0]
    together = start(tmp_path, "together.parquet", "--cluster", "local")
    until(lambda: list(tmp_path.glob("together.parquet/part-*")), together)
    os.kill(workers(together.pid, "score_shard")[0], signal.SIGKILL)
    output, _ = together.communicate(timeout=300)
    assert together.returncode == 0, output
    assert "Scored 300 of 300 files" in output
    parts = [{path.name: path.read_bytes() for path in tmp_path.glob(f"{name}.parquet/part-*")}
             for name in ("alone", "together")]
    assert len(parts[0]) == 150
    assert parts[0] == parts[1]
