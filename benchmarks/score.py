"""Scoring a folder against the network's own forward pass.

    python benchmarks/score.py [--network resnet18] [--crop 128] [--batch-size 64] [--images 512] [--crops 4]

Pictures are made in a temporary folder: JPEG crops of 256 pixels a side out of the packaged photographs. The forward
pass alone starts from normalised inputs on the device. Rates are those of this machine at this moment; the
ratio counts: both run by turns, and the medians of the turns are divided.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from skimage import data as photographs

from fakemedia.core import plugin
from fakemedia.networks.checkpoint import make_checkpoint
from fakemedia.runtime.device import Runtime
from fakemedia.runtime.threads import cores, thread_map
from fakemedia.scoring.checkpoint_model import CheckpointModel, as_images
from fakemedia.scoring.crop_layout import CROPS
from fakemedia.scoring.model import Facts
from fakemedia.scoring.scores import reader, score_files
from fakemedia.store.policies import NATIVE

SIDE = 256
"""Of the pictures, pixels, as in CDDB."""
TURNS = 5


def write_pictures(folder: Path, count: int) -> list[Path]:
    """Write `count` JPEG crops of the packaged photographs into `folder`; return their paths."""
    sources = [np.asarray(getattr(photographs, name)()) for name in ("astronaut", "coffee", "chelsea", "rocket")]
    rng = np.random.default_rng(0)
    paths = [folder / f"{number:05d}.jpg" for number in range(count)]
    for number, path in enumerate(paths):
        source = sources[number % len(sources)]
        top, left = (rng.integers(0, side - SIDE + 1) for side in source.shape[:2])
        Image.fromarray(source[top:top + SIDE, left:left + SIDE]).save(path, quality=95)
    return paths


def make_model(network: str, crop: int) -> CheckpointModel:
    """Return an untrained network as `kedro score` would use it."""
    named = {"name": network, "settings": {"pretrained": "none"}}
    weights = plugin.create("networks", network, named["settings"], 0).state_dict()
    facts = Facts(network=network, tasks=(), crop=crop, policy=NATIVE, fingerprint="", calibration=None)
    return CheckpointModel(make_checkpoint(weights, {}, {"network": named, "seed": 0}), facts, Runtime())


def rate(images: int, work: Callable[[], object]) -> float:
    """Return images a second of `work`."""
    start = time.perf_counter()
    work()
    return images / (time.perf_counter() - start)


@torch.inference_mode()
def forward_all(model: CheckpointModel, inputs: list[torch.Tensor]) -> None:
    """Compute the logits of normalised inputs (N, 3, H, W), batch by batch."""
    with model.runtime.reproducible(), model.runtime.autocast():
        for batch in inputs:
            model.network(batch)
    if model.runtime.device.type == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="resnet18", choices=plugin.names("networks"))
    parser.add_argument("--crop", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--crops", type=int, default=CROPS, help="of a picture, as in kedro score")
    options = parser.parse_args()
    model = make_model(options.network, options.crop)
    read = reader(NATIVE, options.crop, options.crops)
    with tempfile.TemporaryDirectory() as folder:
        paths = write_pictures(Path(folder), options.images)
        crops = np.concatenate([found.view.crops for found in map(read, paths) if not isinstance(found, str)])
        batches = [crops[start:start + options.batch_size] for start in range(0, len(crops), options.batch_size)]
        inputs = [model.network.prepare(as_images(batch).to(model.runtime.device)) for batch in batches]
        forward_all(model, inputs)
        turns = [(
            rate(len(paths), lambda: forward_all(model, inputs)),
            rate(len(paths), lambda: score_files(model, paths, batch_size=options.batch_size, crops=options.crops,
                                                 progress=False)),
            rate(len(paths), lambda: list(thread_map(read, paths, workers=cores(), title="", total=0, progress=False))),
        ) for _ in range(TURNS)]
    forward, scored, decoded = (statistics.median(each) for each in zip(*turns, strict=True))
    print(f"{options.network}, {options.crops} crops of {options.crop} pixels, batches of {options.batch_size}, "
          f"{model.runtime.device.type}, {model.runtime.resolved_precision}, {cores()} cores; images a second:")
    for what, speed in (("forward pass alone", forward), ("decoding alone", decoded), ("scoring the folder", scored)):
        print(f"  {what} {speed:8.0f}")
    print(f"scoring / forward: {scored / forward:.2f}" + (", decoding is the bottleneck" if decoded < forward else ""))


if __name__ == "__main__":
    main()
