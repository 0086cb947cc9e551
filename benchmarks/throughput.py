"""Training against its arithmetic: the same step on tensors that already lie on the device, and the reference's style.

    python benchmarks/throughput.py [--network resnet18] [--crop 128] [--batch-size 32] [--json]
    python benchmarks/throughput.py --network resnet50 --batch-size 64 256      # on a GPU

Files, stores and checkpoints are made in a temporary folder. Rates are those of this machine at this moment; the ratios
count: what is compared runs by turns, and the medians of the turns are divided.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from skimage import data as photographs
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import v2

from fakemedia.core import plugin
from fakemedia.core.plan import TrainingConfig
from fakemedia.core.types import CLASS_FOLDERS, SPLITS, Stage, make_stages
from fakemedia.data.batches import Batch, TrainBatches
from fakemedia.data.index import build_index
from fakemedia.data.pixels import PixelStore, build_store
from fakemedia.data.sources.folder import FolderSource
from fakemedia.evaluation.predict import evaluating
from fakemedia.networks.base import Detector
from fakemedia.strategies.base import Strategy
from fakemedia.strategies.ewc import QuadraticPenalty
from fakemedia.training.loop import make_optimizer, train_stage
from fakemedia.training.runtime import Runtime

TASKS = ("first", "second", "third", "fourth")
SIDE = 256
"""Of the pictures, pixels, as in CDDB."""
TURNS = 3
MANY = 12
"""Tasks of a long sequence."""


def write_pictures(root: Path, images: dict[str, int]) -> None:
    """Write JPEG crops of the packaged photographs for every task, `images` a class of each split."""
    sources = [np.asarray(getattr(photographs, name)()) for name in ("astronaut", "coffee", "chelsea", "rocket")]
    rng = np.random.default_rng(0)
    for task in TASKS:
        for split, count in images.items():
            for name in CLASS_FOLDERS:
                folder = root / task / split / name
                folder.mkdir(parents=True)
                for number in range(count):
                    source = sources[number % len(sources)]
                    top, left = (rng.integers(0, side - SIDE + 1) for side in source.shape[:2])
                    Image.fromarray(source[top:top + SIDE, left:left + SIDE]).save(folder / f"{number}.jpg", quality=95)


def open_stores(root: Path, work: Path) -> dict[str, dict[str, PixelStore]]:
    """Return the pixel stores of all tasks by split and task."""
    source = FolderSource(root)
    indexes = {task: build_index(source, task, workers=2, progress=False) for task in TASKS}
    return {split: {task: build_store(indexes[task], source, split, work / task / split, workers=2, progress=False)
                    for task in TASKS} for split in SPLITS[:2]}


class Bench:
    """One network, batch size and runtime over the stores of the fourth task, and all that is measured with them."""

    def __init__(self, stores: dict[str, dict[str, PixelStore]], root: Path, network: str, crop: int, batch_size: int,
                 runtime: Runtime) -> None:
        self.stores, self.root, self.runtime = stores, root, runtime
        self.config = TrainingConfig(epochs=1, batch_size=batch_size, crop=crop, schedule="constant", lr=1e-4,
                                     flip=False)
        self.stage: Stage = make_stages([(task,) for task in TASKS])[-1]
        self.start: Detector = plugin.create("networks", network, {"pretrained": "none"}, 0)

    def batches(self) -> TrainBatches:
        train = TrainBatches([self.stores["train"]["fourth"]], batch_size=self.config.batch_size,
                             crop=self.config.crop, flip=False, seed=0)
        return train.to(self.runtime.device, self.runtime.room())

    def prepared(self, method: str, runtime: Runtime) -> tuple[Detector, Strategy]:
        """Return the network and the method as they begin the fourth stage."""
        network = runtime.place(deepcopy(self.start))
        strategy = plugin.create("strategies", method, {}, 0)
        if method == "ewc":
            strategy.load_state_dict({name: torch.rand_like(value) for name, value in network.named_parameters()})
        strategy.before_stage(self.stage, network)
        return network, strategy

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
        """Return images a second of the bare step on batches that lie on the device."""
        network, strategy = self.prepared(method, self.runtime)
        batches = list(self.batches().epoch(0))
        optimizer = make_optimizer(network, self.config)
        network.train()

        def step(number: int) -> None:
            batch = batches[number]
            batch = replace(batch, inputs=network.prepare(batch.images))
            with self.runtime.autocast():
                logits = network(batch.inputs)
                terms = strategy.loss(network, batch, logits.float())
            terms["total"].backward()
            optimizer.step()
            optimizer.zero_grad()

        with self.runtime.reproducible():
            return self.config.batch_size / self.seconds(len(batches), step)

    def engine(self, method: str, validation: dict[str, PixelStore]) -> dict[str, float]:
        """Return the images a second of `train_stage`, and the seconds of its epoch with its validation."""
        network, strategy = self.prepared(method, self.runtime)
        started = time.perf_counter()
        trained: list[dict] = []
        train_stage(network, strategy, self.stage, self.batches(), validation, self.config, seed=0,
                    runtime=self.runtime, on_epoch=lambda record: trained.append(dict(record)))
        return {**trained[0], "epoch_seconds": time.perf_counter() - started}

    def forward_seconds(self) -> float:
        """Return what a forward pass over a batch in inference mode takes."""
        network = self.runtime.place(deepcopy(self.start))
        batches: list[Batch] = list(self.batches().epoch(0))
        inputs = [network.prepare(batch.images) for batch in batches]

        def step(number: int) -> None:
            with self.runtime.autocast():
                network(inputs[number])

        with evaluating(network), torch.inference_mode(), self.runtime.reproducible():
            return self.seconds(len(batches), step)

    def penalty_seconds(self) -> float:
        """Return what the penalty of EWC and its gradient take."""
        network = self.runtime.place(deepcopy(self.start))
        parameters = list(network.parameters())
        fisher = [torch.rand_like(parameter) for parameter in parameters]
        anchor = [parameter.detach().clone() for parameter in parameters]

        def step(_: int) -> None:
            (10 * QuadraticPenalty.apply(fisher, anchor, *parameters)).backward()

        step(0)  # Gradients exist from here on, as after the loss.
        return self.seconds(20, step)

    def reference_epoch(self) -> float:
        """Return the seconds of an epoch of KD with all four tasks validated, in the style of the public code.

        float32, contiguous tensors, both networks run with gradients, files decoded anew in two worker processes,
        every image of every task validated.
        """
        network, teacher = (deepcopy(self.start).to(self.runtime.device) for _ in range(2))
        optimizer = make_optimizer(network, self.config)
        criterion = torch.nn.KLDivLoss(reduction="batchmean")
        started = time.perf_counter()
        network.train()
        teacher.eval()
        for inputs, labels in self._loader("fourth", "train"):
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
        pictures = Pictures(self.root / task / split, self.config.crop)
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


def measure(bench: Bench, reference: bool) -> dict[str, float]:
    """Return rates and ratios for one batch size."""
    found: dict[str, float] = {}
    val = bench.stores["val"]
    for method in ("finetune", "kd", "ewc"):
        rates = [(bench.limit(method), bench.engine(method, {})["images_per_second"]) for _ in range(TURNS)]
        limit, engine = (statistics.median(column) for column in zip(*rates, strict=True))
        found |= {f"{method}_limit_images_per_second": limit, f"{method}_images_per_second": engine,
                  f"{method}_over_limit": statistics.median(ours / bare for bare, ours in rates)}
    costs = [(bench.config.batch_size / bench.limit("finetune"), bench.forward_seconds(),
              bench.config.batch_size / bench.limit("kd")) for _ in range(TURNS)]
    found["kd_step_over_its_arithmetic"] = statistics.median(kd / (plain + forward) for plain, forward, kd in costs)
    found["ewc_penalty_over_step"] = bench.penalty_seconds() / statistics.median(plain for plain, *_ in costs)
    bench.config = replace(bench.config, epochs=2)
    long = [(bench.engine("finetune", {})["epoch_seconds"],
             bench.engine("finetune", {f"{task}{n}": store for n in range(MANY // len(TASKS))
                                       for task, store in val.items()})["epoch_seconds"]) for _ in range(TURNS)]
    bench.config = replace(bench.config, epochs=1)
    found[f"epoch_with_{MANY}_tasks_validated_over_without"] = statistics.median(w / without for without, w in long)
    if reference:
        turns = [(bench.reference_epoch(), bench.engine("kd", val)["epoch_seconds"]) for _ in range(TURNS)]
        found |= {"reference_epoch_seconds": statistics.median(slow for slow, _ in turns),
                  "kd_epoch_seconds": statistics.median(fast for _, fast in turns),
                  "reference_over_kd_epoch": statistics.median(slow / fast for slow, fast in turns)}
    found["memory_mib"] = bench.runtime.memory_mib()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18", choices=plugin.names("networks"))
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch-size", type=int, nargs="+", default=[32])
    parser.add_argument("--images", type=int, default=192, help="training images a class of each task")
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--no-reference", action="store_true", help="leave the reference's style out")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    runtime = Runtime(precision=options.precision, compile=options.compile)
    results = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        write_pictures(folder / "raw", {"train": options.images, "val": max(options.images // 3, 1), "test": 1})
        stores = open_stores(folder / "raw", folder / "stores")
        for batch_size in options.batch_size:
            bench = Bench(stores, folder / "raw", options.network, options.crop, batch_size, runtime)
            results.append({"network": options.network, "crop": options.crop, "batch_size": batch_size,
                            "device": str(runtime.device), "precision": runtime.resolved_precision,
                            "threads": torch.get_num_threads(), **measure(bench, not options.no_reference)})
    if options.json:
        print(json.dumps(results, indent=2))
        return
    for result in results:
        for name, value in result.items():
            print(f"{name:48} {value:.3f}" if isinstance(value, float) else f"{name:48} {value}")


if __name__ == "__main__":
    main()
