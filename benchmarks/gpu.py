"""What a GPU gives, in one table: training, distillation, features, feeding, memory, resuming, sharing, compilation.

    python benchmarks/gpu.py                          # on a machine with a GPU: under 8 minutes
    python benchmarks/gpu.py --device cpu --small     # the same code on a CPU, tiny: its numbers mean nothing

Rates are compared by turns in one run, and the fastest turn of each counts. Pictures and checkpoints are made in a
temporary folder. The first line names the machine; `misses` marks a number below its target. The last row runs the
tests that are marked `cuda`; on a CPU, the same tests for the CPU.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from features import rates
from throughput import METHODS, TASKS, Bench, fastest, machine, make_stores, peak_host_memory, write_pictures

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.plan import MethodPlan, Plugin
from fakemedia.learning.device_memory import stage_memory
from fakemedia.learning.trainer import StageTrainer
from fakemedia.networks.features import FeatureCache
from fakemedia.runtime.device import Runtime

ROOT = Path(__file__).resolve().parents[1]
MIB = 2**20
SHARED_EPOCHS = 4
"""Of each of two processes on one device."""


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """How much is measured."""

    networks: tuple[str, ...] = ("resnet50", "vit")
    crops: tuple[int, ...] = (128, 224)
    images: int = 1024
    """Training images a class."""
    batch_size: int = 64
    turns: int = 2


SMALL = Sizes(networks=("convnet",), crops=(32,), images=12, batch_size=8, turns=1)


@dataclass(frozen=True, kw_only=True)
class Row:
    """One number."""

    name: str
    value: float
    unit: str = ""
    least: float | None = None
    most: float | None = None

    def text(self, *, judged: bool) -> str:
        """Return the row as a line; `judged`: with a verdict on its target."""
        bound = f">= {self.least:g}" if self.least is not None else f"<= {self.most:g}" if self.most is not None else ""
        holds = (self.least is None or self.value >= self.least) and (self.most is None or self.value <= self.most)
        verdict = "" if not bound or not judged else "holds" if holds else "misses"
        return f"{self.name:58} {self.value:10.3g} {self.unit:6} {bound:9} {verdict}"


class Work:
    """The machine, the sizes and the folder of all measurements."""

    def __init__(self, folder: Path, sizes: Sizes, device: str) -> None:
        self.folder, self.sizes, self.device = folder, sizes, device

    def bench(self, network: str | None = None, crop: int | None = None, **runtime: Any) -> Bench:
        """Return a network at a crop, by default the first ones, with settings of the runtime."""
        return Bench(self.folder, network or self.sizes.networks[0], crop or self.sizes.crops[0],
                     self.sizes.batch_size, Runtime(accelerator=self.device, **runtime))  # type: ignore[arg-type]


def training(work: Work) -> Iterator[Row]:
    """The trainer's step against the same step on batches that are on the device already."""
    for network in work.sizes.networks:
        for crop in work.sizes.crops:
            bench = work.bench(network, crop)
            for method in METHODS:
                seconds = fastest(work.sizes.turns, limit=lambda: bench.limit(method),  # noqa: B023
                                  ours=lambda: bench.engine(method, {}, states=False)["step"])  # noqa: B023
                yield Row(name=f"training over its arithmetic, {network} {crop} px, {method}", least=0.90,
                          value=seconds["limit"] / seconds["ours"])
            yield Row(name=f"images a second, {network} {crop} px, finetune", unit="img/s",
                      value=work.sizes.batch_size / bench.engine("finetune", {}, states=False)["step"])


def distillation(work: Work) -> Iterator[Row]:
    """An epoch of KD with validation and states, against the style of the public code."""
    bench = work.bench()
    seconds = fastest(1, reference=bench.reference_epoch, ours=lambda: bench.engine("kd", bench.validation)["epoch"])
    yield Row(name="epoch of KD, times faster than the reference's style", least=10.0,
              value=seconds["reference"] / seconds["ours"])


def features(work: Work) -> Iterator[Row]:
    """Filling the store of features against the forward pass alone."""
    for network in work.sizes.networks:
        bench = work.bench(network)
        detector = bench.runtime.place(plugin.create("networks", network, {"pretrained": "none"}, 0))
        store, size = bench.train, min(bench.runtime.evaluation_batch(work.sizes.batch_size), len(bench.train))

        def make_cache(place: Path) -> FeatureCache:
            return FeatureCache(folder=place, detector=detector, crop=bench.config.crop,  # noqa: B023
                                runtime=bench.runtime, batch_size=size, progress=False)  # noqa: B023

        with tempfile.TemporaryDirectory(dir=work.folder) as place:
            bare, filled, _ = rates(detector, store, make_cache, Path(place))
        yield Row(name=f"features over the forward pass, {network}", value=filled / bare, least=0.9)


def feeding(work: Work) -> Iterator[Row]:
    """Batches copied from the host while the device computes, against pixels that are resident."""
    resident, fed = work.bench(), work.bench(resident_share=0.0)
    seconds = fastest(work.sizes.turns, **{name: lambda bench=bench: bench.engine("finetune", {}, states=False)["step"]
                                           for name, bench in (("resident", resident), ("fed", fed))})
    yield Row(name="step with resident pixels over step with copied ones", least=0.9,
              value=seconds["resident"] / seconds["fed"])


def compilation(work: Work) -> Iterator[Row]:
    """torch.compile: what it costs at a stage, and what a step gains."""
    plain, compiled = work.bench(), work.bench(compile=True)
    found = compiled.engine("finetune", {}, states=False, epochs=3)
    step = plain.engine("finetune", {}, states=False, epochs=3)["step"]
    yield Row(name="step over step with torch.compile", value=step / found["step"])
    yield Row(name="torch.compile, seconds of a stage beside its steps", unit="s",
              value=found["stage"] - 3 * found["step"] * compiled.batches().steps)


def memory(work: Work) -> Iterator[Row]:
    """The peak memory of a stage against what `kedro plan` says, pixels not resident."""
    for network in work.sizes.networks:
        for method in ("finetune", "replay"):
            bench = work.bench(network, resident_share=0.0)
            planned = MethodPlan(label=method, method=method, settings={}, tune="all", training=bench.config,
                                 network=Plugin(name=network, settings={"pretrained": "none"}))
            estimate = stage_memory(planned, bench.runtime) / MIB
            before = bench.runtime.memory_mib() if work.device == "cpu" else 0.0
            with peak_host_memory() as host:
                bench.engine(method, bench.validation)
            peak = host[0] - before if work.device == "cpu" else bench.runtime.memory_mib()
            yield Row(name=f"memory over the estimate of kedro plan, {network}, {method}", most=1.0,
                      value=peak / estimate)
            yield Row(name=f"memory, {network}, {method}", unit="MiB", value=peak)


def resuming(work: Work) -> Iterator[Row]:
    """The largest difference of a weight between a stage that was stopped and resumed, and one that was not."""
    for network in work.sizes.networks:
        bench = work.bench(network)
        whole = _learned(bench, None)
        with tempfile.TemporaryDirectory(dir=work.folder) as place:
            stopped = Path(place) / "stage"
            try:
                _learned(bench, stopped, stop=True)
            except KeyboardInterrupt:
                resumed = _learned(bench, stopped)
        again = _learned(bench, None)
        for name, other in (("repeated", again), ("resumed", resumed)):
            yield Row(name=f"largest difference of a weight, {name}, {network}", most=0.0,
                      value=max(float((whole[key] - other[key]).abs().max()) for key in whole))


def _learned(bench: Bench, folder: Path | None, *, stop: bool = False) -> dict[str, torch.Tensor]:
    torch.manual_seed(0)  # It draws the Fisher information.
    network, method = bench.prepared("ewc")

    def end(_: object) -> None:
        if stop:
            raise KeyboardInterrupt

    StageTrainer(config=replace(bench.config, epochs=2, select_on="none"), runtime=bench.runtime, seed=0, folder=folder,
                 on_epoch=end).train(method, bench.data(method), network)
    return {name: value.detach().cpu().double() for name, value in network.state_dict().items()}


def sharing(work: Work) -> Iterator[Row]:
    """Two processes that train on one device at the same time, against one."""
    alone, together = (max(_seconds(work, count)) for count in (1, 2))
    yield Row(name="two processes on one device, images a second over one", value=2 * alone / together)


def _seconds(work: Work, count: int) -> list[float]:
    """Return the seconds of the same training in `count` processes, which begin together."""
    command = [sys.executable, __file__, "--device", work.device, "--worker", str(work.folder),
               *(["--small"] if work.sizes == SMALL else [])]
    started = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
               for _ in range(count)]
    for each in started:
        assert each.stdout is not None
        each.stdout.readline()
    for each in started:
        assert each.stdin is not None
        each.stdin.write("go\n")
        each.stdin.flush()
    return [float(each.communicate()[0]) for each in started]


def worker(work: Work) -> None:
    """Train once when told to, and print its seconds."""
    bench = work.bench()
    bench.engine("finetune", {}, states=False, epochs=1)
    print("ready", flush=True)
    sys.stdin.readline()
    begun = time.perf_counter()
    bench.engine("finetune", {}, states=False, epochs=SHARED_EPOCHS)
    print(time.perf_counter() - begun, flush=True)


def tests(work: Work) -> Iterator[Row]:
    """The tests that run on a GPU."""
    chosen = ["tests/unit/test_devices.py", "-k", "cpu"] if work.device == "cpu" else ["tests", "-m", "cuda"]
    found = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *chosen], cwd=ROOT,
                           capture_output=True, text=True, check=False)
    if found.returncode:
        print(found.stdout[-6000:])
    yield Row(name="failed tests of the device (0: none, 1: some)", value=float(found.returncode), most=0.0)


PARTS = {"tests": tests, "training": training, "distillation": distillation, "features": features, "feeding": feeding,
         "memory": memory, "resuming": resuming, "sharing": sharing, "compilation": compilation}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
    parser.add_argument("--small", action="store_true", help="tiny sizes: whether it runs, not how fast")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    runtime = Runtime(accelerator=options.device)
    try:
        runtime.check()
    except UserError as error:
        raise SystemExit(f"{error}\n  Or try it on a CPU: --device cpu --small") from None
    sizes = SMALL if options.small else Sizes()
    if options.worker is not None:
        worker(Work(options.worker, sizes, options.device))
        return
    begun = time.perf_counter()
    print(", ".join(f"{name} {value}" for name, value in machine(runtime).items()))
    with tempfile.TemporaryDirectory() as temporary:
        work = Work(Path(temporary), sizes, options.device)
        write_pictures(work.folder / "raw", sizes.images)
        make_stores(work.folder / "raw", work.folder / "stores")
        for part in options.parts:
            for row in PARTS[part](work):
                print(row.text(judged=not options.small), flush=True)
            if options.device == "cuda":
                torch.cuda.empty_cache()
    print(f"{time.perf_counter() - begun:.0f} seconds, on {len(TASKS)} tasks, {2 * sizes.images} images a stage")


if __name__ == "__main__":
    main()
