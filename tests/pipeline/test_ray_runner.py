"""The runner for clusters: the same results as the sequential one, also where a worker is lost or the user stops it."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from fakemedia.context.context import Context
from tests.failure.test_faults import made
from tests.pipeline.conftest import change, run

pytest.importorskip("ray")
SOURCE = Path(__file__).parents[2] / "src"
ON_TWO = "cluster.address=local,cluster.workers=2"


def start(project: Path, *options: str, params: str = ON_TWO) -> subprocess.Popen[str]:
    """Start `kedro run` on a cluster of two workers with one thread each."""
    command = [sys.executable, "-m", "kedro", "run", *options, "--params", params]
    path = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen(command, cwd=project, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
                            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})


def workers(driver: int, function: str = "compute") -> list[int]:
    """Return the processes below `driver` that compute a call of `function`."""
    parents: dict[int, int] = {}
    computing = set()
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parents[int(folder.name)] = int(folder.joinpath("stat").read_text().rpartition(")")[2].split()[1])
            if folder.joinpath("cmdline").read_bytes().startswith(f"ray::{function}".encode()):
                computing.add(int(folder.name))
        except OSError:
            continue

    def below(process: int) -> bool:
        return process == driver or (process in parents and below(parents[process]))

    return [process for process in computing if below(process)]


def until(done: Callable[[], object], process: subprocess.Popen[str]) -> None:
    while not done():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.005)


def checkpoints(project: Path) -> dict[str, bytes]:
    return {name: data for name, data in made(project).items() if "resume" not in name}


@pytest.fixture
def prepared(ingested: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return an ingested project, whose stages take some time, and a copy."""
    change(ingested, {"sequences": {"tiny": {"training": {"epochs": 40}}}, "runtime": {"accelerator": "cpu"}})
    return ingested, shutil.copytree(ingested, tmp_path_factory.mktemp("copy"), dirs_exist_ok=True)


def test_a_copy_of_the_context_leaves_out_what_depends_on_the_machine() -> None:
    context = Context(root=Path("/project"), parameters={"runtime": {"accelerator": "cpu"}}, catalog={})
    assert context.runtime.device.type == "cpu"
    copy = pickle.loads(pickle.dumps(context))
    assert copy == context
    assert "runtime" not in vars(copy)


@pytest.mark.slow
def test_a_whole_run_gives_the_same_files_and_a_line_for_each_run(project: Path,
                                                                 tmp_path_factory: pytest.TempPathFactory) -> None:
    alone = shutil.copytree(project, tmp_path_factory.mktemp("alone"), dirs_exist_ok=True)
    process = start(project)
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    assert [output.count(f"Run tiny/{label} seed 0: done; ") for label in ("finetune", "kd", "ewc", "joint")] == [1] * 4
    assert "4 of 4 runs" in output
    assert "Report: " in output
    run(alone)
    assert made(project) == made(alone)
    tables = "data/08_reporting/tiny/metrics.csv"
    assert (project / tables).read_bytes() == (alone / tables).read_bytes()


@pytest.mark.slow
def test_a_killed_worker_loses_its_own_node_alone(prepared: tuple[Path, Path]) -> None:
    project, alone = prepared
    process = start(project, "--tags", "training")
    models = project / "data/06_models/tiny"
    until(lambda: list(models.glob("*/seed0/02_latent.resume.pt")), process)
    finished = {path: path.stat().st_mtime_ns for path in models.glob("*/seed0/01_gan/checkpoint.json")}
    killed = workers(process.pid)[0]
    os.kill(killed, signal.SIGKILL)
    output, _ = process.communicate(timeout=500)
    assert process.returncode == 0, output
    assert finished
    assert {path: path.stat().st_mtime_ns for path in finished} == finished
    run(alone, tags=["training"])
    assert made(project) == made(alone)


@pytest.mark.slow
def test_a_node_lost_at_every_retry_is_one_message_and_finished_work_is_kept(prepared: tuple[Path, Path]) -> None:
    project, _ = prepared
    process = start(project, "--tags", "kd", params=f"{ON_TWO},cluster.retries=0")
    models = project / "data/06_models/tiny/kd/seed0"
    until(lambda: (models / "02_latent.resume.pt").exists(), process)
    for worker in workers(process.pid):
        os.kill(worker, signal.SIGKILL)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 1, output
    assert output.count("Error: The worker was lost that computed tiny-kd.") == 1
    assert "Traceback" not in output
    assert (models / "01_gan/checkpoint.json").exists()


@pytest.mark.slow
def test_ctrl_c_ends_cleanly_and_the_same_command_resumes(prepared: tuple[Path, Path]) -> None:
    project, alone = prepared
    process = start(project, "--tags", "kd")
    until(lambda: (project / "data/06_models/tiny/kd/seed0/01_gan.resume.pt").exists(), process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert output.count("Stopped.") == 1
    assert "Traceback" not in output
    for each in (project, alone):
        run(each, tags=["kd"])
    assert made(project) == made(alone)
