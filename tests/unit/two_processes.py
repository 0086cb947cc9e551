"""Two stages by each of some methods, in as many processes as torchrun starts; the first saves weights and histories.

    torchrun --nproc_per_node 2 two_processes.py STORE OUT.pt
"""

from __future__ import annotations

import os
import sys
from dataclasses import replace

import torch
from torch import nn

from fakemedia.core import plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.trainer import train_stage
from fakemedia.networks.detector import Detector, seeded
from fakemedia.runtime.device import Runtime
from fakemedia.store.batches import TrainBatches
from fakemedia.store.pixels import PixelStore

METHODS = ("finetune", "kd", "ewc")


def network() -> Detector:
    """Return a network without statistics of the batch, which processes on the CPU do not share."""
    with seeded(0):
        body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return Detector(body, 8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def learn(method: str, pixels: PixelStore) -> dict:
    """Return the weights, the history and the number of processes."""
    runtime = Runtime(accelerator="cpu", precision="float32")
    config = TrainingConfig(epochs=2, batch_size=8, lr=0.01, crop=8, flip=True)
    detector = runtime.place(network())
    strategy = plugin.create("methods", method, {}, 0)
    history = []
    for stage in make_stages([("first",), ("second",)]):
        settings = {"batch_size": 8, "crop": 8, "flip": True, "seed": stage.index}
        batches = TrainBatches([pixels], **settings, share=(runtime.rank, runtime.world))
        strategy.before_stage(stage, detector)
        trained = train_stage(detector, strategy, stage, batches.to(runtime.device, runtime.room()), {"noise": pixels},
                              config, seed=stage.index, runtime=runtime)
        history += trained.history
        strategy.after_stage(stage, detector, [replace(batch, inputs=detector.prepare(batch.images))
                                               for batch in TrainBatches([pixels], **settings).epoch(2)])
    return {"weights": detector.state_dict(), "history": history, "processes": runtime.world}


def main(store: str, out: str) -> None:
    torch.set_num_threads(1)
    learned = {method: learn(method, PixelStore.open(store)) for method in METHODS}
    if int(os.environ["RANK"]) == 0:
        torch.save(learned, out)


if __name__ == "__main__":
    main(*sys.argv[1:])
