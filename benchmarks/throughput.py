"""Training against its arithmetic: the same step on tensors that are already on the device, and the reference's style.

    python benchmarks/throughput.py [--measure training costs validation reference] [--network resnet18] [--json]
    python benchmarks/throughput.py --measure costs --network resnet50
    python benchmarks/throughput.py --network resnet50 --batch-size 64 256 --json      # on a GPU

Files, stores and checkpoints are made in a temporary folder. Rates are those of this machine at this moment; the ratios
count: what is compared runs by turns, and the fastest turn of each counts, as other programs can only slow one down.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data as photographs
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from fakemedia.core import plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import CLASS_FOLDERS, Stage, make_stages
from fakemedia.evaluation.predict import evaluating
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.index import build_index
from fakemedia.learning.optimizers import make_optimizer
from fakemedia.learning.trainer import StageTrainer
from fakemedia.memory.budget import Budget
from fakemedia.memory.memory import Memory, update_memory
from fakemedia.methods.ewc import QuadraticPenalty, fisher_diagonal
from fakemedia.methods.method import GradientMethod, StageData
from fakemedia.networks.detector import Detector
from fakemedia.runtime.device import Runtime
from fakemedia.sources.folder import FolderSource
from fakemedia.store.batches import TrainBatches
from fakemedia.store.pixels import PixelStore

METHODS = ("finetune", "kd", "ewc", "replay")
TASKS = ("first", "second", "third", "fourth")
SIDE = 256
"""Of the pictures, pixels, as in CDDB."""
TURNS = 3
MANY = 12
"""Tasks of a long sequence."""


def write_pictures(root: Path, images: int) -> None:
    """Write JPEG crops of the packaged photographs: `images` a class to train on for the last task, and for all tasks
    a third as many to validate on, as in a split of 60 to 20."""
    sources = [np.asarray(getattr(photographs, name)()) for name in ("astronaut", "coffee", "chelsea", "rocket")]
    rng = np.random.default_rng(0)
    for task in TASKS:
        for split, count in (("train", images if task == TASKS[-1] else 1), ("val", max(images // 3, 1)), ("test", 1)):
            for name in CLASS_FOLDERS:
                folder = root / task / split / name
                folder.mkdir(parents=True)
                for number in range(count):
                    source = sources[number % len(sources)]
                    top, left = (rng.integers(0, side - SIDE + 1) for side in source.shape[:2])
                    Image.fromarray(source[top:top + SIDE, left:left + SIDE]).save(folder / f"{number}.jpg", quality=95)


def make_stores(root: Path, work: Path) -> None:
    """Make the store to train on and the stores to validate on."""
    source = FolderSource(root)
    for task in TASKS:
        index = build_index(source, task, workers=2, progress=False)
        for split in ("train", "val"):
            build_store(index, source, split, work / task / split, workers=2, progress=False)


@contextmanager
def peak_host_memory() -> Iterator[list[float]]:
    """Yield a list that holds at the end the most memory of this process beside mapped files, MiB."""
    found, done, host = [0.0], threading.Event(), Runtime(accelerator="cpu")

    def watch() -> None:
        while not done.wait(0.01):
            found[0] = max(found[0], host.memory_mib())

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield found
    finally:
        done.set()
        watcher.join()


class Bench:
    """One network, batch size and runtime over the stores of the fourth task, and all that is measured with them."""

    def __init__(self, folder: Path, network: str, crop: int, batch_size: int, runtime: Runtime) -> None:
        self.folder, self.runtime = folder, runtime
        self.train, self.validation = (PixelStore.open(folder / "stores" / TASKS[-1] / "train"),
                                       {task: PixelStore.open(folder / "stores" / task / "val") for task in TASKS})
        self.config = TrainingConfig(epochs=2, batch_size=batch_size, crop=crop, schedule="constant", lr=1e-4,
                                     flip=False)
        self.stage: Stage = make_stages([(task,) for task in TASKS])[-1]
        kept = {task: store for task, store in self.validation.items() if task != TASKS[-1]}
        self.memory = update_memory(Memory(), kept, Budget(pictures=500), seed=0, features=lambda store: np.empty(0))
        self.start: Detector = plugin.create("networks", network, {"pretrained": "none"}, 0)

    def batches(self) -> TrainBatches:
        train = TrainBatches([self.train], batch_size=self.config.batch_size, crop=self.config.crop, flip=False, seed=0)
        return train.to(self.runtime.device, self.runtime.room())

    def prepared(self, method: str) -> tuple[Detector, GradientMethod]:
        """Return the network and the method as they begin the fourth stage."""
        network = self.runtime.place(deepcopy(self.start))
        fitted: GradientMethod = plugin.create("methods", method, {}, 0)
        if method == "ewc":
            fitted.load_state_dict({name: torch.rand_like(value) for name, value in network.named_parameters()})
        fitted.before_stage(self.data(fitted), network)
        return network, fitted

    def data(self, method: GradientMethod, **settings: Any) -> StageData:
        """Return the fourth stage, with pictures of the tasks before if `method` keeps some."""
        trainer = StageTrainer(config=self.config, runtime=self.runtime, seed=0)
        held = trainer.memory_batches(self.memory, seed=0) if method.memory is not None else None
        return StageData(**vars(self.stage), train={self.train.task: self.train}, memory=held, **settings)

    def seconds(self, steps: int, step: Callable[[int], object]) -> float:
        """Return what a step takes, seconds, after one that does not count."""
        step(0)
        self._finish()
        start = time.perf_counter()
        for number in range(steps):
            step(number)
        self._finish()
        return (time.perf_counter() - start) / steps

    def _finish(self) -> None:
        if self.runtime.device.type == "cuda":
            torch.cuda.synchronize()

    def limit(self, method: str) -> float:
        """Return the seconds of the bare step on batches on the device."""
        network, fitted = self.prepared(method)
        batches = [fitted.mix(batch, number) for number, batch in enumerate(self.batches().epoch(0))]
        optimizer = make_optimizer(network, self.config)
        forward = torch.compile(network) if self.runtime.compile else network
        network.train()

        def step(number: int) -> None:
            batch = batches[number]
            batch = replace(batch, inputs=network.prepare(batch.images))
            with self.runtime.autocast():
                logits = forward(batch.inputs)
                terms = fitted.loss(network, batch, logits.float())
            terms["total"].backward()
            optimizer.step()
            optimizer.zero_grad()

        with self.runtime.reproducible():
            return self.seconds(len(batches), step)

    def engine(self, method: str, validation: dict[str, PixelStore], *, epochs: int = 2,
               states: bool = True) -> dict[str, float]:
        """Return the seconds of a step of the trainer in its last epoch, those of that epoch with its validation and
        the saving of its state, if `states` are saved, and those of the whole stage."""
        network, fitted = self.prepared(method)
        ends, steps = [time.perf_counter()], []

        def note(record: Mapping[str, Any]) -> None:
            ends.append(time.perf_counter())
            steps.append(self.config.batch_size / record["images_per_second"])

        with tempfile.TemporaryDirectory(dir=self.folder) as folder:
            stage = self.data(fitted, validation=validation)
            StageTrainer(config=replace(self.config, epochs=epochs), runtime=self.runtime, seed=0, on_epoch=note,
                         folder=Path(folder) / "stage" if states else None).train(fitted, stage, network)
        return {"step": steps[-1], "epoch": ends[-1] - ends[-2], "stage": time.perf_counter() - ends[0]}

    def forward(self) -> float:
        """Return the seconds of a forward pass over a batch in inference mode."""
        network = self.runtime.place(deepcopy(self.start))
        inputs = [network.prepare(batch.images) for batch in self.batches().epoch(0)]

        def step(number: int) -> None:
            with self.runtime.autocast():
                network(inputs[number])

        with evaluating(network), torch.inference_mode(), self.runtime.reproducible():
            return self.seconds(len(inputs), step)

    def penalty(self) -> float:
        """Return the seconds of the penalty of EWC and its gradient."""
        network = self.runtime.place(deepcopy(self.start))
        parameters = list(network.parameters())
        fisher = [torch.rand_like(parameter) for parameter in parameters]
        anchor = [parameter.detach().clone() for parameter in parameters]

        def step(_: int) -> None:
            (10 * QuadraticPenalty.apply(fisher, anchor, *parameters)).backward()

        step(0)  # Gradients exist from here on, as after the loss.
        with self.runtime.reproducible():
            return self.seconds(20, step)

    def fisher(self) -> float:
        """Return the seconds that the Fisher information of an image takes."""
        network = self.runtime.place(deepcopy(self.start)).eval()
        batch = next(self.batches().epoch(0))
        inputs = network.prepare(batch.images)
        with self.runtime.reproducible():
            return self.seconds(1, lambda _: fisher_diagonal(network, inputs, batch.labels)) / len(inputs)

    def reference_epoch(self) -> float:
        """Return the seconds of an epoch of KD with all four tasks validated, in the style of the public code.

        float32, contiguous tensors, both networks run with gradients, files decoded again in two worker processes,
        every image of every task validated.
        """
        network, teacher = (deepcopy(self.start).to(self.runtime.device) for _ in range(2))
        optimizer = torch.optim.SGD(network.parameters(), lr=self.config.lr, momentum=0.1)
        criterion = torch.nn.KLDivLoss(reduction="batchmean")
        started = time.perf_counter()
        network.train()
        teacher.eval()
        for inputs, labels in self._loader(TASKS[-1], "train"):
            logits, taught = network(inputs), teacher(inputs)
            loss = F.cross_entropy(logits, labels) + criterion(F.log_softmax(logits / 20, 1), F.softmax(taught / 20, 1))
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        network.eval()
        with torch.no_grad():
            right = [int((network(inputs).argmax(1) == labels).sum())
                     for task in TASKS for inputs, labels in self._loader(task, "val")]
        assert sum(right) > 0
        return time.perf_counter() - started

    def _loader(self, task: str, split: str) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        pictures = Pictures(self.folder / "raw" / task / split, self.config.crop)
        for inputs, labels in DataLoader(pictures, self.config.batch_size, shuffle=split == "train", num_workers=2,
                                         drop_last=split == "train"):
            yield inputs.to(self.runtime.device), labels.to(self.runtime.device)


class Pictures(Dataset):
    """The files of a split, decoded, cropped and normalised one by one."""

    def __init__(self, folder: Path, crop: int) -> None:
        self.files = [(path, label) for label, name in enumerate(CLASS_FOLDERS)
                      for path in sorted((folder / name).iterdir())]
        self.change = v2.Compose([v2.RandomCrop(crop), v2.ToImage(), v2.ToDtype(torch.float32, scale=True),
                                  v2.Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))])

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int) -> tuple[torch.Tensor, int]:
        path, label = self.files[i]
        return self.change(Image.open(path).convert("RGB")), label


def fastest(turns: int = TURNS, **measured: Callable[[], float]) -> dict[str, float]:
    """Return the least that each measured in `turns` turns."""
    found = [{name: measure() for name, measure in measured.items()} for _ in range(turns)]
    return {name: min(turn[name] for turn in found) for name in measured}


def measure_training(bench: Bench) -> dict[str, float]:
    """Training from a store against the same step on tensors on the device; the host's memory.

    No states are saved here: the loop bounds their share of the time, but that of a state among the few steps of these
    epochs says nothing about longer ones.
    """
    found, size = {}, bench.config.batch_size
    for method in METHODS:
        seconds = fastest(limit=lambda method=method: bench.limit(method),
                          ours=lambda method=method: bench.engine(method, {}, states=False)["step"])
        found |= {f"{method}_limit_images_per_second": size / seconds["limit"],
                  f"{method}_images_per_second": size / seconds["ours"],
                  f"{method}_over_limit": seconds["limit"] / seconds["ours"]}
    with peak_host_memory() as peak:
        bench.engine("kd", bench.validation)
    found["peak_host_memory_mib"] = peak[0]
    if bench.runtime.device.type == "cuda":
        found["peak_device_memory_mib"] = bench.runtime.memory_mib()
    return found


def measure_costs(bench: Bench) -> dict[str, float]:
    """What the methods add to a step of fine-tuning, and what the Fisher information of an image costs."""
    seconds = fastest(plain=lambda: bench.limit("finetune"), kd=lambda: bench.limit("kd"),
                      ewc=lambda: bench.limit("ewc"), forward=bench.forward, penalty=bench.penalty, fisher=bench.fisher)
    plain = seconds["plain"]
    return {"finetune_step_seconds": plain,
            "kd_step_over_step_and_forward_pass": seconds["kd"] / (plain + seconds["forward"]),
            "ewc_penalty_over_step": seconds["penalty"] / plain,
            "ewc_step_over_step": seconds["ewc"] / plain,
            "fisher_image_over_trained_image": seconds["fisher"] / (plain / bench.config.batch_size)}


def measure_validation(bench: Bench) -> dict[str, float]:
    """A sequence of MANY stages that validate all tasks seen against the same stages without validation."""
    stores = [store for _ in range(MANY // len(TASKS)) for store in bench.validation.values()]
    sums = {"with": 0.0, "without": 0.0}
    for stage in range(1, MANY + 1):
        seen = {f"task{number}": store for number, store in enumerate(stores[:stage])}
        seconds = fastest(2, **{"with": lambda seen=seen: bench.engine("finetune", seen, epochs=1)["stage"],
                                "without": lambda: bench.engine("finetune", {}, epochs=1)["stage"]})
        sums = {name: sums[name] + seconds[name] for name in sums}
    return {f"{MANY}_stages_validated_over_without": sums["with"] / sums["without"]}


def measure_reference(bench: Bench) -> dict[str, float]:
    """An epoch of KD at the fourth task in the reference's style against ours, with its validation and its state."""
    seconds = fastest(reference=bench.reference_epoch, ours=lambda: bench.engine("kd", bench.validation)["epoch"])
    return {"reference_epoch_seconds": seconds["reference"], "kd_epoch_seconds": seconds["ours"],
            "reference_over_kd_epoch": seconds["reference"] / seconds["ours"]}


PARTS = {"training": measure_training, "costs": measure_costs, "validation": measure_validation,
         "reference": measure_reference}


def machine(runtime: Runtime) -> dict[str, Any]:
    """Return what the rates depend on."""
    if runtime.device.type == "cuda":
        name = torch.cuda.get_device_name(runtime.device)
    else:
        cpus = Path("/proc/cpuinfo")
        models = [line.split(":")[1].strip() for line in cpus.read_text().splitlines()
                  if line.startswith("model name")] if cpus.exists() else []
        name = models[0] if models else platform.processor()
    return {"machine": name, "threads": torch.get_num_threads(), "torch": torch.__version__,
            "device": runtime.device.type, "precision": runtime.resolved_precision, "compile": runtime.compile}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--measure", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--network", default="resnet18", choices=plugin.names("networks"))
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32])
    parser.add_argument("--images", type=int, help="training images a class (default: 192, on a GPU 4096)")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--resident-share", type=float, default=0.5, help="0: batches are copied to the GPU")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    runtime = Runtime(precision=options.precision, compile=options.compile, resident_share=options.resident_share)
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_pictures(folder / "raw", options.images or (4096 if runtime.device.type == "cuda" else 192))
        make_stores(folder / "raw", folder / "stores")
        for batch_size in options.batch_size:
            bench = Bench(folder, options.network, options.crop, batch_size, runtime)
            result = {**machine(runtime), "network": options.network, "crop": options.crop, "batch_size": batch_size}
            for part in options.measure:
                result |= PARTS[part](bench)
            results.append(result)
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        for name, value in result.items():
            print(f"{name:40} {value:.3f}" if isinstance(value, float) else f"{name:40} {value}")


if __name__ == "__main__":
    main()
