"""The benchmark of GPUs runs on a CPU, so that it works when there is a GPU; processes exchange what they should."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]


def run(*words: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, f"benchmarks/{words[0]}", *words[1:]], cwd=ROOT, capture_output=True,
                          text=True, check=False, timeout=900)


@pytest.mark.slow
def test_it_runs_whole_on_a_cpu() -> None:
    found = run("gpu.py", "--device", "cpu", "--small")
    assert found.returncode == 0, found.stdout + found.stderr[-3000:]
    for name in ("training over its arithmetic, convnet 32 px, replay", "epoch of KD", "features over the forward pass",
                 "step with resident pixels", "memory over the estimate", "two processes on one device",
                 "step over step with torch.compile"):
        assert name in found.stdout
    numbers = {line[:58].strip(): float(line[58:70]) for line in found.stdout.splitlines()[1:-1]}
    assert numbers["largest difference of a weight, resumed, convnet"] == 0
    assert numbers["failed tests of the device (0: none, 1: some)"] == 0


@pytest.mark.slow
@pytest.mark.skipif(torch.cuda.is_available(), reason="needs a machine without a GPU")
def test_without_a_gpu_it_is_one_message() -> None:
    found = run("gpu.py")
    assert found.returncode == 1
    assert found.stderr.startswith("There is no cuda device on this machine")
    assert "Traceback" not in found.stderr


@pytest.mark.slow
def test_processes_exchange_the_gradients_of_all_weights_once_a_step() -> None:
    found = run("processes.py", "--processes", "1", "2", "--network", "convnet", "--images", "16", "--crop", "32",
                "--batch-size", "8", "--json")
    assert found.returncode == 0, found.stderr[-3000:]
    one, two = json.loads(found.stdout)
    weights = 109_426  # of convnet
    assert (one["reduced_bytes"], two["reduced_bytes"]) == (0, 4 * weights)
    assert two["sums_difference"] < 1e-9
