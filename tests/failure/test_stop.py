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
    whole = project.with_name(f"{project.name}_whole")
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


@pytest.mark.slow
def test_a_killed_process_of_two_is_one_message_and_the_same_command_goes_on(project: Path) -> None:
    change(project, {"runtime": {"accelerator": "cpu", "save_minutes": 0},
                     "sequences": {"tiny": {"training": {"epochs": 10}}}})
    run(project, tags=["ingestion"])
    whole = project.with_name(f"{project.name}_whole")
    shutil.copytree(project, whole)
    command = [sys.executable, "-m", "kedro", "run", "--tags", "kd", "--params", "runtime.devices=2"]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])}
    subprocess.run(command, cwd=whole, check=True, capture_output=True, env=environment)

    process = subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                               env=environment)
    state = project / "data/06_models/tiny/kd/seed0/02_latent.resume.pt"
    while not state.exists() and process.poll() is None:
        time.sleep(0.01)
    os.kill(second(process.pid), signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert output.count("What to do") == 1
    assert "A process of this run was killed: rank 1 by SIGKILL" in output
    assert "resume with the same command: kedro run --tags kd --params runtime.devices=2" in output
    assert "Traceback" not in output
    assert state.exists()

    subprocess.run(command, cwd=project, check=True, capture_output=True, env=environment)
    assert made(project) == made(whole)


def second(launcher: int) -> int:
    """Return the number of the process with rank 1 that `launcher` started."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return next(int(child) for child in children
                if b"\0RANK=1\0" in b"\0" + Path(f"/proc/{child}/environ").read_bytes())
