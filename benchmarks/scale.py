"""What large work costs in hours, disk and money, and what limits it first: a simulator fed with measured costs.

    python benchmarks/scale.py [--gpus 1 8 128] [--json]

Costs marked "measured" were measured on a CPU by the benchmarks of this folder (docs/explanation/speed.md and
ingestion.md); those marked "assumed" were not: no GPU path has been run, and prices differ. Change them here.
"""

from __future__ import annotations

import argparse
import heapq
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

MEASURED = {
    "ingest_ms_per_mp": (7.8, "processor time of 481 x 321 JPEGs, 1.2 ms each"),
    "crops_128_per_core": (8117.0, "crops from the memory map, copied and normalised, one core"),
    "resnet18_128_per_core": (52.7, "training images a second, bfloat16, one core of an AMD EPYC (Zen 5)"),
    "kd_share": (40.9 / 52.7, "rate of kd over that of fine-tuning"),
    "forward_share": (3.0, "a forward pass over a step: one pass in three"),
    "bytes_per_pixel": (3.0, "the pixel store"),
}
ASSUMED = {
    "resnet50_224_per_gpu": (2000.0, "training images a second, bfloat16, one H100-class GPU"),
    "cores_per_gpu": (16.0, "processor cores beside each GPU"),
    "gpu_memory_gb": (80.0, "of which half holds the pixels of a stage (runtime.resident_share)"),
    "storage_gb_per_s": (5.0, "shared storage, all machines together"),
    "network_gb_per_s": (25.0, "each GPU to its neighbour, for gradients"),
    "node_seconds": (20.0, "start of a node of the run: imports, network, saving"),
    "dollars_per_gpu_hour": (2.5, ""),
    "dollars_per_core_hour": (0.04, ""),
    "dollars_per_tb_month": (20.0, ""),
}
COST = {name: value for name, (value, _) in {**MEASURED, **ASSUMED}.items()}
PARAMETERS = 23.5e6
"""Of a resnet50; float32 gradients are four bytes each."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A sequence of equal tasks that is learned by several runs (labels x seeds)."""

    name: str
    pictures: float
    """Of all tasks and splits."""
    tasks: int
    megapixels: float
    """Of a picture, as stored."""
    runs: int
    epochs: float
    share: float = 1.0
    """Mean rate of the labels over that of fine-tuning."""
    trained: float = 0.8
    """Share of the pictures in the training splits."""


WORKS = (
    Work(name="CDDB-Long, 1 run", pictures=120e3, tasks=12, megapixels=0.066, runs=1, epochs=50),
    Work(name="CDDB-Long, 8 labels x 5 seeds", pictures=120e3, tasks=12, megapixels=0.066, runs=40, epochs=50,
         share=COST["kd_share"]),
    Work(name="GenImage, 1 run", pictures=2.7e6, tasks=8, megapixels=0.25, runs=1, epochs=10),
    Work(name="GenImage, 8 labels x 5 seeds", pictures=2.7e6, tasks=8, megapixels=0.25, runs=40, epochs=10,
         share=COST["kd_share"]),
)
STREAM = {"pictures_per_day": 10e6, "megapixels": 1.0, "crops": 5.0, "megabytes": 0.35}
"""A platform's uploads, assumed: size of a picture, crops of 224 that are scored, and bytes of its file."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a simulated machine needs for a work."""

    work: str
    gpus: int
    ingest_hours: float
    train_hours: float
    busy: float
    """Share of the GPU time that computes."""
    dollars: float
    limit: str
    """What bounds the training: the GPUs, or what they wait for."""


def makespan(chains: Sequence[Sequence[float]], devices: int) -> float:
    """Return when all `chains` are done: the stages of a chain one after another, the longest chain left first."""
    left = [(-sum(chain), number, 0) for number, chain in enumerate(chains)]
    heapq.heapify(left)
    running: list[tuple[float, int, int]] = []
    now = 0.0
    while left or running:
        while left and len(running) < devices:
            _, number, stage = heapq.heappop(left)
            heapq.heappush(running, (now + chains[number][stage], number, stage + 1))
        now, number, stage = heapq.heappop(running)
        if stage < len(chains[number]):
            heapq.heappush(left, (-sum(chains[number][stage:]), number, stage))
    return now


def stage_seconds(work: Work, together: int) -> dict[str, float]:
    """Return how long a stage takes by each resource alone, with `together` stages at once."""
    images = work.trained * work.pictures / work.tasks
    rate = COST["resnet50_224_per_gpu"] * work.share
    size = images * work.megapixels * 1e6 * COST["bytes_per_pixel"] / 1e9
    resident = size <= COST["gpu_memory_gb"] / 2
    crops = COST["crops_128_per_core"] * (128 / 224) ** 2 * COST["cores_per_gpu"]
    passes = 1 if resident else work.epochs
    return {"GPU": images * work.epochs * 1.1 / rate + COST["node_seconds"],
            "cropping": 0.0 if resident else images * work.epochs / crops,
            "storage": size * passes * together / COST["storage_gb_per_s"]}


def simulate(work: Work, gpus: int) -> Outcome:
    """Return what `gpus` GPUs need: stages run on one GPU each, and runs next to one another."""
    together = min(gpus, work.runs)
    parts = stage_seconds(work, together)
    slowest = max(parts, key=lambda part: parts[part])
    seconds = makespan([[parts[slowest]] * work.tasks] * work.runs, gpus)
    computing = work.runs * work.tasks * parts["GPU"]
    limit = slowest if slowest != "GPU" or work.runs >= gpus else f"runs: {work.runs} for {gpus} GPUs"
    if slowest == "GPU" and work.runs > gpus and work.runs % gpus and computing / (seconds * gpus) < 0.9:
        limit = "the last round of runs"
    cores = gpus * COST["cores_per_gpu"]
    processor = work.pictures * work.megapixels * COST["ingest_ms_per_mp"] / 1e3
    written = work.pictures * work.megapixels * 1e6 * COST["bytes_per_pixel"] / 1e9
    ingest = max(processor / cores, written / COST["storage_gb_per_s"])
    dollars = ((ingest + seconds) * gpus * COST["dollars_per_gpu_hour"]) / 3600
    return Outcome(work=work.name, gpus=gpus, ingest_hours=ingest / 3600, train_hours=seconds / 3600,
                   busy=computing / (seconds * gpus), dollars=dollars, limit=limit)


def disk(work: Work) -> dict[str, float]:
    """Return the terabytes of pixels and checkpoints, and dollars a month."""
    pixels = work.pictures * work.megapixels * 1e6 * COST["bytes_per_pixel"] / 1e12
    checkpoints = work.runs * work.tasks * PARAMETERS * 4 / 1e12
    return {"pixels_tb": pixels, "checkpoints_tb": checkpoints,
            "dollars_per_month": (pixels + checkpoints) * COST["dollars_per_tb_month"]}


def one_run_on(gpus: int, *, batch: int) -> float:
    """Return how many times faster several GPUs compute one step of `batch` images; gradients go around a ring."""
    compute = batch / COST["resnet50_224_per_gpu"]
    ring = 2 * (gpus - 1) / gpus * PARAMETERS * 4 / (COST["network_gb_per_s"] * 1e9)
    return compute / (compute / gpus + ring)


def stream() -> dict[str, float]:
    """Return what scoring a day of uploads takes: decoding, reading, and the network on GPUs or on cores."""
    pictures, crops = STREAM["pictures_per_day"], STREAM["pictures_per_day"] * STREAM["crops"]
    forward = COST["resnet50_224_per_gpu"] * COST["forward_share"]
    on_core = COST["resnet18_128_per_core"] * COST["forward_share"]
    decode = pictures * STREAM["megapixels"] * COST["ingest_ms_per_mp"] / 1e3 / 3600
    gpu, core = crops / forward / 3600, crops / on_core / 3600
    return {"pictures_per_second": pictures / 86400, "decode_core_hours": decode, "read_tb": pictures
            * STREAM["megabytes"] / 1e6, "gpu_hours": gpu, "core_hours_resnet18_128": core,
            "dollars_per_day_gpu": gpu * COST["dollars_per_gpu_hour"] + decode * COST["dollars_per_core_hour"],
            "dollars_per_day_cores": (core + decode) * COST["dollars_per_core_hour"],
            "scores_gb_per_day": pictures * 60 / 1e9}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpus", type=int, nargs="+", default=[1, 8, 128])
    parser.add_argument("--json", action="store_true", help="print the results as JSON")
    options = parser.parse_args()
    found = {"training": [asdict(simulate(work, gpus)) for work in WORKS for gpus in options.gpus],
             "disk": {work.name: disk(work) for work in WORKS},
             "speedup_of_one_run": {f"batch {batch}": {gpus: one_run_on(gpus, batch=batch) for gpus in options.gpus}
                                    for batch in (64, 1024)},
             "stream": stream()}
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for kind, costs in (("measured", MEASURED), ("assumed", ASSUMED)):
        print(*(f"{kind}: {name} = {value:.4g}  {note}" for name, (value, note) in costs.items()), sep="\n")
    print(f"\n{'work':<30} {'GPUs':>5} {'ingest h':>9} {'train h':>9} {'busy':>5} {'$':>8}  limit")
    for row in found["training"]:
        print("{work:<30} {gpus:>5} {ingest_hours:>9.2f} {train_hours:>9.2f} {busy:>5.0%} {dollars:>8.0f}  {limit}"
              .format_map(row))
    print()
    for name in ("disk", "speedup_of_one_run"):
        for key, values in found[name].items():
            print(f"{name}: {key}: " + ", ".join(f"{part} {value:.3g}" for part, value in values.items()))
    print("stream of a day: " + ", ".join(f"{part} {value:.4g}" for part, value in found["stream"].items()))


if __name__ == "__main__":
    main()
