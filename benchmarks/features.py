"""Computing features for the cache against the network's own forward pass; ridge on the features of a folder of tasks.

    python benchmarks/features.py [--network efficientnet_lite0] [--taps both] [--crop 128] [--batch-size 64]
    python benchmarks/features.py --data FOLDER [--order task1,task2,...] [--views centre,flip,...]

Without `--data`: pictures of noise, 256 pixels a side, in a temporary folder. The forward pass alone starts from
normalised inputs on the device and stops at the pooled output. Both run by turns, and the fastest turns are divided.
Reading back what is kept is timed too.

With `--data`, a folder of tasks in the reference layout: a closed-form ridge head on standardised features, each class
of each task with the same weight, learned task after task by sums; its strength is chosen on validation. Accuracy is at
threshold 0, percent.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from fakemedia.core import plugin
from fakemedia.core.types import SPLITS
from fakemedia.ingest.build_store import ensure_store
from fakemedia.ingest.index import build_index
from fakemedia.networks.detector import Detector
from fakemedia.networks.features import FeatureCache, Features
from fakemedia.runtime.device import Runtime
from fakemedia.runtime.threads import cores
from fakemedia.store.pixels import PixelStore

PICTURES, SIDE, TURNS = 512, 256, 3
STRENGTHS = tuple(10.0 ** power for power in range(-2, 4))


def task_stores(data: Path, task: str, place: Path) -> dict[str, PixelStore]:
    """Return the pixel stores of a task's splits."""
    source = plugin.create("sources", "folder", {"root": str(data)})
    index = build_index(source, task, workers=cores(), progress=False)
    return {split: ensure_store(index, source, split, place / task / split, workers=cores(), progress=False)
            for split in SPLITS if (index["split"] == split).any()}


def write_noise(folder: Path) -> None:
    """Write a task of noise in the reference layout, as PNG files."""
    from PIL import Image

    rng = np.random.default_rng(0)
    for split, count in (("train", PICTURES), ("val", 2), ("test", 2)):
        for number in range(count):
            path = folder / "noise" / split / ("0_real", "1_fake")[number % 2] / f"{number:05d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)).save(path, compress_level=0)


def seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the seconds of `work`: of processor time on a CPU, which other programs disturb less."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    begun = clock()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return clock() - begun


def rates(detector: Detector, store: PixelStore, make_cache: Callable[[Path], FeatureCache],
          place: Path) -> tuple[float, float, float]:
    """Return pictures a second of the forward pass, of filling a cache and of reading it."""
    device = next(detector.parameters()).device
    caches = [make_cache(place / f"{turn}") for turn in range(TURNS)]
    autocast = caches[0].autocast
    rows = np.array_split(np.arange(len(store)), len(store) // caches[0].batch_size)
    crops = [torch.from_numpy(store.centre_crops(part, caches[0].crop)).permute(0, 3, 1, 2).to(device) for part in rows]
    batches = [detector.prepare(images) for images in crops]

    @torch.inference_mode()
    def forward() -> None:
        with caches[0].runtime.reproducible():
            for batch in batches:
                with autocast():
                    detector.body(batch)

    detector.eval()
    forward()
    turns = [(seconds(forward, device), seconds(partial(cache.read, store), device),
              seconds(partial(cache.read, store), device)) for cache in caches]
    bare, filled, read = (len(store) / min(times) for times in zip(*turns, strict=True))
    return bare, filled, read


def ridge_table(found: dict[str, dict[str, Features]]) -> Iterator[str]:
    """Yield lines on ridge heads learned on the tasks of `found` in turn: accuracy and AUC by task, and their means."""
    first = next(iter(found.values()))["train"].flat()[0].astype(np.float64)
    mean, deviation = first.mean(0), first.std(0) + 1e-6

    def rows(values: NDArray[np.float32]) -> NDArray[np.float64]:
        return np.hstack([(values - mean) / deviation, np.ones((len(values), 1))])

    size = len(mean) + 1
    gram, target = np.zeros((size, size)), np.zeros(size)
    for splits in found.values():
        values, labels = splits["train"].flat()
        for label in (0, 1):
            mine = rows(values[labels == label])
            gram += mine.T @ mine / len(mine)
            target += mine.sum(0) * (2 * label - 1) / len(mine)
    penalty = np.diag(np.r_[np.ones(size - 1), 0])
    heads = [np.linalg.solve(gram + strength * penalty, target) for strength in STRENGTHS]

    def accuracies(head: NDArray[np.float64], split: str) -> list[float]:
        return [100 * float(((rows(each[split].values[0]) @ head > 0) == each[split].labels).mean())
                for each in found.values()]

    best = max(heads, key=lambda head: np.mean(accuracies(head, "val")))
    for (task, splits), accuracy in zip(found.items(), accuracies(best, "test"), strict=True):
        margins = rows(splits["test"].values[0]) @ best
        yield f"{task:<20} {accuracy:6.1f} {roc_auc_score(splits['test'].labels, margins):6.3f}"
    yield f"{'AA':<20} {np.mean(accuracies(best, 'test')):6.1f}"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="efficientnet_lite0", choices=plugin.names("networks"))
    parser.add_argument("--taps", default="both", choices=["head", "blocks", "both"])
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--precision", default="auto", choices=["auto", "float32", "bfloat16"])
    parser.add_argument("--data", type=Path)
    parser.add_argument("--order", help="tasks of the folder, in turn; all by name unless given")
    parser.add_argument("--views", default="centre", help="views of training pictures")
    given = parser.parse_args()
    runtime = Runtime(precision=given.precision)
    detector = runtime.place(plugin.create("networks", given.network, {"taps": given.taps}, 0))

    def make_cache(folder: Path) -> FeatureCache:
        return FeatureCache(folder=folder, detector=detector, crop=given.crop, runtime=runtime,
                            batch_size=given.batch_size)

    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        if given.data is None:
            write_noise(place / "data")
            store = task_stores(place / "data", "noise", place)["train"]
            bare, filled, read = rates(detector, store, make_cache, place)
            print(f"pictures a second: forward pass {bare:.0f}, cache filled {filled:.0f}, cache read {read:.0f}; "
                  f"filled over forward {filled / bare:.2f}")
            return
        tasks = given.order.split(",") if given.order else sorted(path.name for path in given.data.iterdir())
        stores = {task: task_stores(given.data, task, place / "stores") for task in tasks}
        cache, begun = make_cache(place / "features"), time.perf_counter()
        views = given.views.split(",")
        found = {task: {split: cache.read(store, views if split == "train" else ["centre"])
                        for split, store in splits.items()} for task, splits in stores.items()}
        computed = time.perf_counter()
        print("task                 accuracy  AUC")
        print(*ridge_table(found), sep="\n")
        print(f"features {computed - begun:.1f} s, heads {time.perf_counter() - computed:.1f} s")


if __name__ == "__main__":
    main()
