"""Measures of task similarity: what they cost, and whether they recover the families that tasks were forged with.

    python benchmarks/similarity.py cost                           # 12 tasks of 1000 images, 128-pixel crops
    python benchmarks/similarity.py recover                        # five seeds of the forge, and shuffled images
    python benchmarks/similarity.py recover --photographs FOLDER   # other photographs
    python benchmarks/similarity.py recover --network CHECKPOINT   # features of a trained network

`cost` prints seconds, and the slopes of log time over log images and log tasks: 1 is linear, 2 quadratic. `recover`
prints the adjusted Rand index between the families and as many groups, for every measure.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from sklearn.metrics import adjusted_rand_score

from fakemedia.core import plugin
from fakemedia.core.rng import derive, generator
from fakemedia.core.stages import GroupingConfig
from fakemedia.core.types import CLASS_FOLDERS
from fakemedia.forge import PACKAGED, ForgeConfig, forge
from fakemedia.similarity.grouping import group_tasks
from fakemedia.similarity.measure import Measure, TaskSample, distance_matrix
from fakemedia.store.crops import centre_crop

FORGED = {
    "gan_k3": {"family": "upsampling", "kernel": 3, "spread": 0.04},
    "gan_k5": {"family": "upsampling", "kernel": 5, "spread": 0.04},
    "sr_x2": {"family": "superresolution", "factor": 2, "amount": 1.2},
    "sr_x3": {"family": "superresolution", "factor": 3, "amount": 1.5},
    "swap_hard": {"family": "blending", "factor": 2, "amount": 1.5, "softness": 0.1},
    "swap_soft": {"family": "blending", "factor": 3, "amount": 0.5, "softness": 0.4},
    "latent_2": {"family": "latent", "factor": 2},
    "latent_4": {"family": "latent", "factor": 4},
}
"""The tasks of the demo and their settings."""
FAMILIES = {task: str(settings["family"]) for task, settings in FORGED.items()}
MEASURES: dict[str, tuple[str, dict[str, Any]]] = {
    "family": ("family", {"families": FAMILIES}),
    "fingerprint": ("fingerprint", {}), "transfer": ("transfer", {}),
    "transfer_network": ("transfer", {"features": "network"}),
    "frechet": ("frechet", {}), "frechet_real": ("frechet", {"images": "real"}),
    "mmd": ("mmd", {}), "mmd_real": ("mmd", {"images": "real"}),
    "fisher": ("fisher", {}), "logme": ("logme", {}),
}


def measures() -> dict[str, Measure]:
    return {name: plugin.create("similarity", *named) for name, named in MEASURES.items()}


def start_network(name: str, pretrained: str) -> Any:
    """Return a network in its initial state, or with the weights of a file or checkpoint."""
    return plugin.create("networks", name, {"pretrained": pretrained}, derive(0, "network"))


def forged_samples(photographs: str, seed: int, images: int, crop: int, network: Any) -> list[TaskSample]:
    """Return `images` training images of either class of every task, forged with `seed`."""
    config = ForgeConfig(tasks=FORGED, photographs=photographs, seed=seed,
                         per_class={"train": images, "val": 1, "test": 1})
    with tempfile.TemporaryDirectory() as folder:
        forge(config, Path(folder), progress=False)
        return [_read(Path(folder) / task / "train", task, crop, network) for task in FORGED]


def _read(folder: Path, task: str, crop: int, network: Any) -> TaskSample:
    files = [(label, path) for label, name in enumerate(CLASS_FOLDERS) for path in sorted((folder / name).iterdir())]
    pictures = [centre_crop(np.asarray(Image.open(path).convert("RGB")), crop) for _, path in files]
    return TaskSample(task=task, images=np.stack(pictures), labels=np.array([label for label, _ in files]),
                      network=network)


def shuffled(samples: Sequence[TaskSample], seed: int) -> list[TaskSample]:
    """Return the tasks with their images shuffled, within real and within fake: no two tasks are similar."""
    images, labels = (np.concatenate([getattr(sample, name) for sample in samples]) for name in ("images", "labels"))
    rng, rows = generator(seed, "shuffle"), np.arange(len(labels))
    for label in (0, 1):
        rows[labels == label] = rng.permutation(rows[labels == label])
    return [replace(sample, images=images[part], labels=labels[part])
            for sample, part in zip(samples, np.split(rows, len(samples)), strict=True)]


def recovered(measure: Measure, samples: Sequence[TaskSample]) -> float:
    """Return the adjusted Rand index between the families and as many groups by `measure`."""
    distances = distance_matrix(measure, samples, progress=False)
    groups = group_tasks(distances, GroupingConfig(n_groups=len(set(FAMILIES.values())))).groups
    found = {task: number for number, group in enumerate(groups) for task in group}
    return float(adjusted_rand_score([FAMILIES[task] for task in FORGED], [found[task] for task in FORGED]))


def recover(photographs: str, seeds: int, images: int, crop: int, network: str, shuffles: int) -> pd.DataFrame:
    """Return the index of every measure for every seed of the forge, and the mean over shuffled images."""
    made, start, columns = measures(), start_network("convnet", network), {}
    for seed in range(seeds):
        samples = forged_samples(photographs, seed, images, crop, start)
        columns[f"seed {seed}"] = {name: recovered(measure, samples) for name, measure in made.items()}
        if seed == 0 and shuffles:
            dealt = [shuffled(samples, number) for number in range(shuffles)]
            columns["shuffled"] = {name: float(np.mean([recovered(measure, each) for each in dealt]))
                                   for name, measure in made.items() if measure.reads != "name"}
    return pd.DataFrame(columns)


def noise_samples(tasks: int, images: int, crop: int, network: Any) -> list[TaskSample]:
    rng = np.random.default_rng(0)
    return [TaskSample(task=f"task{number:02d}", labels=np.arange(images) % 2, network=network,
                       images=rng.integers(0, 256, (images, crop, crop, 3), dtype=np.uint8))
            for number in range(tasks)]


def timed(tasks: int, images: int, crop: int, network: Any) -> dict[str, tuple[float, float]]:
    """Return the seconds of each measure's part for each task, and of its part for each pair; features apart."""
    samples = noise_samples(tasks, images, crop, network)
    found = {}
    for name, attribute in (("(features)", "features"), ("(spectra)", "spectra")):
        begun = time.perf_counter()
        for sample in samples:
            getattr(sample, attribute)
        found[name] = (time.perf_counter() - begun, 0.0)
    for name, measure in measures().items():
        if name.startswith(("family", "transfer")):
            continue
        begun = time.perf_counter()
        summaries = [measure.summarise(sample) for sample in samples]
        summarised = time.perf_counter()
        for i, first in enumerate(summaries):
            for second in summaries[i + 1:]:
                measure.distance(first, second)
        found[name] = (summarised - begun, time.perf_counter() - summarised)
    return found


def slope(sizes: Sequence[int], seconds: Sequence[float]) -> float:
    """Return the slope of log seconds over log size (least squares)."""
    return float(np.polyfit(np.log(sizes), np.log(np.maximum(seconds, 1e-9)), 1)[0])


def cost(tasks: int, images: int, crop: int, network: str) -> None:
    """Print the seconds of every measure, and the slopes over images and tasks."""
    start = start_network(network, "none")
    timed(2, 64, crop, start)  # The first call of everything is slower.
    whole = timed(tasks, images, crop, start)
    by_images = {count: timed(2, count, crop, start) for count in (images // 2, images, 2 * images)}
    by_tasks = {count: timed(count, images // 8, crop, start) for count in (tasks, 2 * tasks, 4 * tasks)}
    print(f"{tasks} tasks x {images} images, {crop}-pixel crops, {network}")
    for name, (each, pairs) in whole.items():
        print(f"  {name:14} {each:8.2f} s for the tasks, {pairs:8.3f} s for the pairs")
    print(f"  {'together':14} {sum(map(sum, whole.values())):8.2f} s")

    def total(found: dict[str, tuple[float, float]], part: int) -> float:
        return sum(seconds[part] for seconds in found.values())

    print(f"slope over images, task part: {slope(list(by_images), [total(f, 0) for f in by_images.values()]):.2f}")
    print(f"slope over tasks, task part:  {slope(list(by_tasks), [total(f, 0) for f in by_tasks.values()]):.2f}")
    print(f"slope over tasks, pair part:  {slope(list(by_tasks), [total(f, 1) for f in by_tasks.values()]):.2f}")
    print(f"share of the pair part: {total(whole, 1) / sum(map(sum, whole.values())):.1%}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_subparsers(dest="what", required=True)
    costs = what.add_parser("cost")
    costs.add_argument("--tasks", type=int, default=12)
    costs.add_argument("--images", type=int, default=1000)
    costs.add_argument("--crop", type=int, default=128)
    costs.add_argument("--network", default="convnet")
    finds = what.add_parser("recover")
    finds.add_argument("--photographs", default=PACKAGED)
    finds.add_argument("--seeds", type=int, default=5)
    finds.add_argument("--images", type=int, default=500)
    finds.add_argument("--crop", type=int, default=64)
    finds.add_argument("--network", default="none", help="none, or weights of a convnet")
    finds.add_argument("--shuffles", type=int, default=3)
    given = vars(parser.parse_args())
    if given.pop("what") == "cost":
        cost(**given)
    else:
        print(recover(**given).to_string(float_format="{:.2f}".format, na_rep="-"))


if __name__ == "__main__":
    main()
