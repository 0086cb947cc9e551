"""Several processes learn what one learns."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from kedro.io import DataCatalog
from kedro.pipeline import Pipeline, node

from fakemedia.core.errors import UserError
from fakemedia.pipelines.runner import ProjectRunner
from fakemedia.runtime import device, launch
from fakemedia.runtime.device import Runtime

SCRIPT = Path(__file__).with_name("two_processes.py")
TOLERANCE = 1e-5
"""Of weights and loss terms: sums of shares are rounded in another order."""
BOUND = 0.15
"""Of the losses with batch normalisation, whose statistics processes on the CPU take of their own shares."""


def test_two_processes_match_one(noise_store, tmp_path: Path) -> None:
    stores = {f"store{seed}": noise_store(images=24, size=12, sigma=30.0 + 20 * seed, seed=seed) for seed in range(2)}
    small, out = noise_store(images=8, size=12, sigma=60.0, seed=5), tmp_path / "two.pt"
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    subprocess.run([*launch, SCRIPT, *(store.folder for store in stores.values()), small.folder, out],
                   check=True, capture_output=True, timeout=240, env={**os.environ, "OMP_NUM_THREADS": "1"})
    learned = torch.load(out, weights_only=True)
    script = runpy.run_path(str(SCRIPT))
    for method, normalisation in script["CASES"]:
        one, two = script["learn"](method, normalisation, stores), learned[method, normalisation]
        assert (one["processes"], two["processes"]) == (1, 2)
        assert len(one["history"]) == 6
        if normalisation == "batch":
            assert_close_on_average(two["history"], one["history"])
            continue
        for name, expected in one["weights"].items():
            torch.testing.assert_close(two["weights"][name], expected, rtol=0, atol=TOLERANCE)
        for found, expected in zip(two["history"], one["history"], strict=True):
            assert found["loss"] == pytest.approx(expected["loss"], abs=TOLERANCE)
            assert found["validation"] == expected["validation"]


    for method, tune in script["MEMORY_CASES"]:
        one = script["learn_memory"](method, tune, {"large": stores["store0"], "small": small}, tmp_path / "one")
        two = learned[method, tune]
        assert (one["processes"], two["processes"]) == (1, 2)
        assert [record["epoch"] for record in two["history"]] == [record["epoch"] for record in one["history"]]
        for name, expected in one["weights"].items():
            torch.testing.assert_close(two["weights"][name], expected, rtol=0, atol=TOLERANCE)
        for found, expected in zip(two["history"], one["history"], strict=True):
            assert found["loss"] == pytest.approx(expected["loss"], abs=TOLERANCE)


def assert_close_on_average(found: list[dict], expected: list[dict]) -> None:
    """The statistics of half a batch are noisier than those of the whole, so the losses are close, not equal."""
    losses = [[record["loss"]["total"] for record in history] for history in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], abs=BOUND)
    assert found[-1]["accuracy"] == pytest.approx(expected[-1]["accuracy"], abs=10.0)


def test_more_devices_than_there_are_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "cores", lambda: 2)
    with pytest.raises(UserError, match=r"There are fewer devices than requested: 2 \(cpu\)"):
        _ = Runtime(accelerator="cpu", devices=3).device


class FakeCatalog(DataCatalog):
    """A catalog whose lineage has a runtime that notes when it waits."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        runtime = SimpleNamespace(wait=lambda: events.append("wait"))
        self.lineage = SimpleNamespace(context=SimpleNamespace(runtime=runtime))


def test_no_process_writes_before_all_have_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits as often; the first alone runs what is not training, the others what training needs in memory."""
    told: dict[str, list[str]] = {"0": [], "1": []}
    for rank, events in told.items():
        monkeypatch.setenv("RANK", rank)
        monkeypatch.setenv("WORLD_SIZE", "2")
        made = Pipeline([
            node(lambda: events.append("store") or 1, None, "store", name="store"),  # noqa: B023
            node(lambda store: events.append("gather") or 1, "store", "suite", name="gather"),  # noqa: B023
            node(lambda suite: events.append("train") or 1, "suite", "model", name="train_1"),  # noqa: B023
            node(lambda model: events.append("draw") or 1, "model", "report", name="draw"),  # noqa: B023
        ])
        monkeypatch.setattr("fakemedia.pipelines.runner.pipelines", {"whole": made})
        monkeypatch.setattr(ProjectRunner, "_follow", lambda *_: None)  # It prints.
        ProjectRunner().run(made, cast(Any, FakeCatalog(events)))
    assert told["0"] == ["wait", "store", "wait", "gather", "wait", "train", "draw", "wait"]
    assert told["1"] == ["wait", "wait", "store", "wait", "gather", "train", "wait"]


@pytest.mark.parametrize(("package", "program"), [("fakemedia", "fakemedia"), ("kedro", "kedro"), (None, "kedro")])
def test_several_processes_run_the_command_that_was_given(monkeypatch: pytest.MonkeyPatch, package: str | None,
                                                          program: str) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, words: started.append(words))
    monkeypatch.setattr(sys, "argv", ["main", "--params", "runtime.devices=2"])
    spec = None if package is None else SimpleNamespace(parent=package)
    monkeypatch.setitem(sys.modules, "__main__", SimpleNamespace(__spec__=spec))
    launch.restart(2)
    assert started[0][-4:] == ["-m", program, "--params", "runtime.devices=2"]
    assert "--nproc_per_node=2" in started[0]


def test_a_process_alone_in_a_job_of_several_tasks_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """In such a job of SLURM it ended: "You set `--ntasks=4` in your SLURM bash script"."""
    tasks = {"NTASKS": "4", "JOB_NAME": "job", "JOB_ID": "77777", "PROCID": "2", "LOCALID": "1", "NODEID": "1"}
    for name, value in tasks.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    fabric = Runtime(accelerator="cpu")._fabric
    assert (fabric.world_size, fabric.global_rank) == (1, 0)
