"""What several processes cost on the CPU: bytes and seconds of all-reduce in a step beside its computation, and ridge.

    python benchmarks/processes.py [--processes 1 2 4] [--network resnet18] [--crop 64] [--batch-size 32] [--json]

Each number of processes trains the same epochs of the same batches by fine-tuning, divided among them, and computes the
sums of ridge over the same pictures and over SUMS synthetic features. All processes run on this machine; more than it
has cores are started as if on several machines. Wall time falls only as far as there are cores, and not on a busy
machine: what tells is the processor time of all processes together over that of one, which is 1 if the cost is linear,
and the bytes, which do not depend on the machine. All-reduce sums the gradients of every step, as many bytes as the
trained weights have, of which each process sends and receives 2 (n - 1) / n times as many.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.distributed
from throughput import TASKS, make_stores, write_pictures
from torch import Tensor, nn
from torch.optim import Optimizer

from fakemedia.core import plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.trainer import StageTrainer
from fakemedia.methods.method import StageData
from fakemedia.methods.moments import FromSums, moments
from fakemedia.runtime.device import Runtime
from fakemedia.runtime.threads import cores
from fakemedia.store.pixels import PixelStore

SUMS = (16_384, 1280)
"""Pictures and features."""
MIB = 2**20


class WatchedRuntime(Runtime):
    """A runtime that notes the bytes and seconds of all-reduce."""

    notes: list[tuple[int, float]]

    def setup(self, network: nn.Module, optimizer: Optimizer) -> tuple[Callable[[Tensor], Tensor], Optimizer]:
        """Return forward pass and optimiser; gradients are averaged as before, but watched."""
        forward, stepper = super().setup(network, optimizer)
        notes: list[tuple[int, float]] = []
        object.__setattr__(self, "notes", notes)
        if self.world > 1:
            def averaged(_, bucket):  # Without annotations, which torch would read.
                values, begun = bucket.buffer().div_(self.world), time.perf_counter()
                work = torch.distributed.all_reduce(values, async_op=True)

                def note(future: Any) -> Tensor:
                    notes.append((values.nbytes, time.perf_counter() - begun))
                    return future.value()[0]

                return work.get_future().then(note)

            forward._forward_module.register_comm_hook(None, averaged)  # type: ignore[attr-defined]
        return forward, stepper


def worker(folder: Path, network: str, crop: int, batch_size: int) -> None:
    """Measure as one of several processes; the first prints the numbers of all as JSON."""
    torch.set_num_threads(1)
    runtime = WatchedRuntime(accelerator="cpu", precision="float32")
    store = PixelStore.open(folder / TASKS[-1] / "train")
    config = TrainingConfig(epochs=2, batch_size=batch_size, crop=crop, schedule="constant", lr=1e-4, flip=False)
    stage, = make_stages([(TASKS[-1],)])
    data = StageData(**vars(stage), train={store.task: store})
    detector = runtime.place(plugin.create("networks", network, {"pretrained": "none"}, 0))
    measured: dict[str, float] = {}

    def clocked(name: str, work: Callable[[], object], times: int = 1) -> None:
        runtime.wait()
        begun, used = time.perf_counter(), time.process_time()
        work()
        measured[f"{name}_seconds"] = (time.perf_counter() - begun) / times
        measured[f"{name}_cpu"] = (time.process_time() - used) / times

    steps = config.epochs * (len(store) // batch_size)
    trainer = StageTrainer(config=config, runtime=runtime, seed=0)
    clocked("step", lambda: trainer.train(plugin.create("methods", "finetune", {}, 0), data, detector), steps)
    measured["reduced_bytes"] = sum(size for size, _ in runtime.notes) / steps
    measured["reduce_seconds"] = sum(seconds for _, seconds in runtime.notes) / steps

    ridge: FromSums = plugin.create("methods", "ridge", {"strength": 1.0}, 0)
    clocked("ridge", lambda: ridge.review(data, detector.eval(), StageTrainer(config=config, runtime=runtime, seed=0)))
    features = torch.randn(SUMS, generator=torch.Generator().manual_seed(0))
    labels, counts = torch.arange(SUMS[0]) % 2, torch.tensor([SUMS[0] // 2] * 2)
    mine = slice(runtime.rank * SUMS[0] // runtime.world, (runtime.rank + 1) * SUMS[0] // runtime.world)
    found: list[Any] = []
    clocked("sums", lambda: found.append(moments("a", features[mine], labels[mine], counts).summed(runtime.total)))
    whole = moments("a", features, labels) if runtime.rank == 0 else None
    totals = {name: float(runtime.total(torch.tensor(value, dtype=torch.float64))) for name, value in measured.items()}
    if whole is not None:
        scale = float(whole.scatter.abs().max())
        print(json.dumps({"processes": runtime.world, **{
            name: value if name.endswith("_cpu") else value / runtime.world for name, value in totals.items()},
            "sums_difference": float((found[0].scatter - whole.scatter).abs().max()) / scale}))


def measure(processes: int, *words: str) -> dict[str, float]:
    """Return what so many processes measure."""
    machines = -(-processes // cores())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "torch.distributed.run", f"--nnodes={machines}", "--rdzv-backend=c10d",
               f"--rdzv-endpoint=127.0.0.1:{port}", f"--nproc_per_node={processes // machines}", __file__, *words]
    started = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                env={**os.environ, "OMP_NUM_THREADS": "1"}) for _ in range(machines)]
    told = [each.communicate() for each in started]
    lines = [line for out, _ in told for line in out.splitlines() if line.startswith("{")]
    if len(lines) != 1:
        raise SystemExit("\n".join(error[-2000:] for _, error in told))
    return json.loads(lines[0])


def table(results: list[dict[str, float]]) -> str:
    """Return the results as text, what is compared with one process as a ratio."""
    one = results[0]
    lines = [
        "processes  step s  CPU s of all  over one   all-reduce MiB  sent MiB      s  of step   ridge: CPU over one  "
        "sums: CPU over one  difference"]
    for each in results:
        count, mib = int(each["processes"]), each["reduced_bytes"] / MIB
        step, ridge, sums = (each[f"{name}_cpu"] / one[f"{name}_cpu"] for name in ("step", "ridge", "sums"))
        lines.append(
            f"{count:9}  {each['step_seconds']:6.3f}  {each['step_cpu']:12.3f}  {step:8.2f}   {mib:14.1f}"
            f"  {2 * (count - 1) / count * mib:8.1f}  {each['reduce_seconds']:5.3f}"
            f"  {each['reduce_seconds'] / each['step_seconds']:7.0%}   {ridge:19.2f}  {sums:18.2f}"
            f"  {each['sums_difference']:10.1e}")
    return "\n".join([*lines, f"This machine has {cores()} cores: more processes than that take turns, so that wall "
                      "time does not fall; all-reduce seconds then hold the wait for the others."])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2, 4])
    parser.add_argument("--network", default="resnet18", choices=plugin.names("networks"))
    parser.add_argument("--crop", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--images", type=int, default=96, help="training images a class")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker is not None:
        worker(options.worker, options.network, options.crop, options.batch_size)
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_pictures(folder / "raw", options.images)
        make_stores(folder / "raw", folder / "stores")
        results = [measure(count, "--worker", str(folder / "stores"), "--network", options.network, "--crop",
                           str(options.crop), "--batch-size", str(options.batch_size)) for count in options.processes]
    print(json.dumps(results, indent=2) if options.json else table(results))


if __name__ == "__main__":
    main()
