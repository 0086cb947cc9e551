"""Ctrl-C in the middle of a real run, and the same command again."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.failure.test_faults import made
from tests.pipeline.conftest import change, run

SOURCE = Path(__file__).parents[2] / "src"


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_the_same_command_goes_on(project: Path) -> None:
    change(project, {"sequences": {"tiny": {"training": {"epochs": 60}}},
                     "runtime": {"save_minutes": 1000}})
    run(project, tags=["ingestion"])
    whole = project.with_name("whole")
    shutil.copytree(project, whole)
    run(whole, tags=["kd"])

    process = subprocess.Popen(
        [sys.executable, "-m", "kedro", "run", "--tags", "kd"], cwd=project, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])})
    state = project / "data/06_models/tiny/kd/seed0/01_gan.resume.pt"
    while not state.exists() and process.poll() is None:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 130, output
    assert output.count("Stopped.") == 1
    assert "resume with the same command: kedro run --tags kd" in output
    assert "Traceback" not in output
    assert state.exists()
    assert not [name for name in made(project) if "checkpoint.json" in name]

    run(project, tags=["kd"])
    assert made(project) == made(whole)
