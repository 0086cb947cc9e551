"""A project behind a real S3 server: pictures and results in a bucket, killed, its folder lost, resumed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pipeline.conftest import change, make_project
from tests.s3_server import BUCKET, keys, put_folder, s3_server

SOURCE = Path(__file__).parents[2] / "src"
REPORTS = ("metrics.csv", "headline.txt", "calibration.csv", "tables/summary.csv", "tables/matrices.csv")


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with s3_server() as url:
        yield url


def start(project: Path, *arguments: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(SOURCE), os.environ.get("PYTHONPATH", "")])
    return subprocess.Popen([sys.executable, "-m", "kedro", *arguments], cwd=project, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                            env={**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"})


def finished(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=900)
    assert process.returncode == 0, output
    return output


def killed_when(key: str, process: subprocess.Popen[str]) -> None:
    """Kill the run as soon as the bucket has `key`."""
    while key not in keys():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()


def reports(project: Path) -> dict[str, bytes]:
    return {name: (project / "data/08_reporting/tiny" / name).read_bytes() for name in REPORTS}


@pytest.mark.slow
def test_pictures_and_results_in_a_bucket_give_what_a_local_project_gives(server: str, tmp_path: Path) -> None:
    alone, project = tmp_path / "alone", tmp_path / "project"
    alone.mkdir()
    change(make_project(alone), {"runtime": {"accelerator": "cpu"}, "sequences": {"tiny": {
        "training": {"epochs": 20}, "labels": ["kd"], "measures": []}}})
    finished(start(alone, "run"))
    shutil.copytree(alone, project, ignore=shutil.ignore_patterns("data", "logs"))
    put_folder(alone / "data/01_raw/tiny", "pictures")
    change(project, {"storage": {"address": f"s3://{BUCKET}/mine", "cache_gib": 0.0},
                     "collections": {"tiny": {"forge": None, "source": {"root": f"s3://{BUCKET}/pictures"}}}})
    for moment in ("03_primary/tiny/gan/train/manifest.json", "06_models/tiny/kd/seed0/01_gan.resume.pt",
                   "06_models/tiny/kd/seed0/02_latent.resume.pt"):
        killed_when(f"mine/data/{moment}", start(project, "run", "--only-missing-outputs"))
        shutil.rmtree(project / "data")
    assert "Skipped: " in finished(start(project, "run", "--only-missing-outputs"))
    assert reports(project) == reports(alone)
    assert not [key for key in keys() if ".resume.pt" in key or ".best" in key or ".probe" in key]
    assert not list(project.glob("data/06_models/**/01_gan/weights.safetensors"))

    shutil.rmtree(project / "data")
    shutil.copytree(alone / "data/01_raw/tiny/gan/test/1_fake", tmp_path / "pictures")
    for each in (alone, project):
        finished(start(each, "score", "../pictures", "--checkpoint", "tiny/kd", "--out", "scores.csv"))
    assert (project / "scores.csv").read_bytes() == (alone / "scores.csv").read_bytes()
    assert "-tiny-" in finished(start(project, "compare"))
