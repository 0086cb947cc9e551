"""Several processes learn what one learns."""

from __future__ import annotations

import os
import runpy
import socket
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
from fakemedia.runtime import device, launch, signals
from fakemedia.runtime.device import Runtime
from fakemedia.runtime.peers import check_same

SCRIPT = Path(__file__).with_name("two_processes.py")
TOLERANCE = 1e-5
"""Of weights and loss terms: sums of shares are rounded in another order."""
EXACT = 1e-9
"""Of the sums of closed forms, float64."""
BOUNDS = {2: (0.15, 10.0), 4: (0.35, 30.0)}
"""Of the losses, and of the accuracy in percent, with batch normalisation, by the number of processes: on the CPU these
take the statistics of their own shares, here of four pictures and of two."""

STATES = {2: [(0, 16), (0, 24), (1, 0), (1, 16), (1, 24), (2, 0)], 4: [(0, 12), (1, 0), (1, 12), (2, 0)]}
"""Epochs and steps of the states that a stage is resumed from, by the number of processes."""


def launches(machines: int, *command: object) -> list[subprocess.Popen]:
    """Start `command` in two processes on each of so many launches of torchrun, which find one another."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    meeting = ["--standalone"] if machines == 1 else [
        f"--nnodes={machines}", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]
    words = [sys.executable, "-m", "torch.distributed.run", *meeting, "--nproc_per_node=2", *map(str, command)]
    return [subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                             env={**os.environ, "OMP_NUM_THREADS": "1"}) for _ in range(machines)]


@pytest.mark.parametrize("machines", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_several_processes_match_one(noise_store, tmp_path: Path, machines: int) -> None:
    """Two, and two times two, as on two machines."""
    stores = {f"store{seed}": noise_store(images=24, size=16, sigma=30.0 + 20 * seed, seed=seed) for seed in range(2)}
    small, out = noise_store(images=8, size=16, sigma=60.0, seed=5), tmp_path / "several.pt"
    started = launches(machines, SCRIPT, *(store.folder for store in stores.values()), small.folder, out)
    for each in started:
        told, _ = each.communicate(timeout=400)
        assert each.returncode == 0, told
    learned = torch.load(out, weights_only=True)
    script = runpy.run_path(str(SCRIPT))
    for method, normalisation in script["CASES"]:
        one, several = script["learn"](method, normalisation, stores), learned[method, normalisation]
        assert (one["processes"], several["processes"]) == (1, 2 * machines)
        assert len(one["history"]) == 6
        if normalisation == "batch":
            assert_close_on_average(several["history"], one["history"], *BOUNDS[2 * machines])
        else:
            assert_same(several, one)
    for case in script["MEMORY_CASES"]:
        one = script["learn_memory"](case, {"large": stores["store0"], "small": small}, tmp_path / "one")
        if case == "statistics":  # The losses depend on those of each share.
            one, learned[case] = ({**found, "history": []} for found in (one, learned[case]))
        assert_same(learned[case], one)
    whole = learned["again"].pop("whole")
    assert list(learned["again"]) == [f"epoch {epoch}, step {step}" for epoch, step in STATES[2 * machines]]
    for state, resumed in learned["again"].items():
        assert resumed["history"] == whole["history"], state
        assert all(torch.equal(resumed["weights"][name], each) for name, each in whole["weights"].items()), state


def assert_same(found: dict, expected: dict) -> None:
    """Weights, state and losses are the same but for the rounding of sums, and those of closed forms to 1e-9."""
    for part in ("weights", "state"):
        for name, tensor in expected.get(part, {}).items():
            bound = EXACT if tensor.dtype == torch.float64 else TOLERANCE
            torch.testing.assert_close(found[part][name], tensor, rtol=bound, atol=bound, equal_nan=True, msg=name)
    assert [record["epoch"] for record in found["history"]] == [record["epoch"] for record in expected["history"]]
    for one, other in zip(found["history"], expected["history"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], abs=TOLERANCE)
        assert one.get("validation") == other.get("validation")


def assert_close_on_average(found: list[dict], expected: list[dict], loss: float, accuracy: float) -> None:
    """The statistics of a share are noisier than those of the whole batch, so the losses are close, not equal."""
    losses = [[record["loss"]["total"] for record in history] for history in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], abs=loss)
    assert found[-1]["accuracy"] == pytest.approx(expected[-1]["accuracy"], abs=accuracy)


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


@pytest.mark.parametrize(("started_as", "program"), [
    ("bin/fakemedia", "fakemedia"), ("fakemedia/__main__.py", "fakemedia"), ("kedro/__main__.py", "kedro")])
def test_several_processes_run_the_command_that_was_given(monkeypatch: pytest.MonkeyPatch, started_as: str,
                                                          program: str) -> None:
    started: list[list[str]] = []
    monkeypatch.setattr(os, "execv", lambda _, words: started.append(words))
    monkeypatch.setattr(sys, "argv", [started_as, "run", "--params", "runtime.devices=2"])
    monkeypatch.setenv("FAKEMEDIA_COMMAND", "")  # It is set for the processes, and restored after the test.
    launch.restart(2)
    assert started[0][-5:] == ["-m", program, "run", "--params", "runtime.devices=2"]
    assert os.environ["FAKEMEDIA_COMMAND"] == f"{program} run --params runtime.devices=2"
    assert "--nproc_per_node=2" in started[0]


def test_a_process_alone_in_a_job_of_several_tasks_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """In such a job of SLURM it ended: "You set `--ntasks=4` in your SLURM bash script"."""
    tasks = {"NTASKS": "4", "JOB_NAME": "job", "JOB_ID": "77777", "PROCID": "2", "LOCALID": "1", "NODEID": "1"}
    for name, value in tasks.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    fabric = Runtime(accelerator="cpu")._fabric
    assert (fabric.world_size, fabric.global_rank) == (1, 0)


def test_processes_that_differ_are_named() -> None:
    own = {"host": "a", "code of fakemedia": "123", "torch": "2.1"}
    check_same([own, {**own, "host": "b"}])
    with pytest.raises(UserError, match=r"rank 2 on b has code of fakemedia 456 instead of 123, torch None instead"):
        check_same([own, own, {"host": "b", "code of fakemedia": "456"}])


def test_a_killed_process_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKEMEDIA_COMMAND", "kedro run --tags kd")
    killed = launch.killed_message({0: SimpleNamespace(exitcode=-15), 1: SimpleNamespace(exitcode=-9)})
    assert killed is not None
    assert "killed: rank 1 by SIGKILL" in killed
    assert killed.endswith("resume with the same command: kedro run --tags kd")
    assert launch.killed_message({1: SimpleNamespace(exitcode=1)}) is None  # It has told its error itself.


def test_an_exchange_with_a_process_that_ended_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    lost = RuntimeError("[/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer")
    assert not launch.lost_peer(lost)
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert launch.lost_peer(lost)
    assert not launch.lost_peer(RuntimeError("shape mismatch"))


def test_of_several_processes_the_one_that_started_them_tells_that_they_stopped(monkeypatch) -> None:
    assert signals.reports()
    monkeypatch.setenv("FAKEMEDIA_COMMAND", "kedro run")
    assert not signals.reports()
    monkeypatch.delenv("FAKEMEDIA_COMMAND")
    monkeypatch.setenv("RANK", "1")
    assert not signals.reports()
