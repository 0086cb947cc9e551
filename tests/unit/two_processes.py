"""Two stages by each of some methods, in as many processes as torchrun starts; the first saves weights and histories.

    torchrun --nproc_per_node 2 two_processes.py STORE STORE OUT.pt

The two stores are learned at once in both stages.
"""

from __future__ import annotations

import os
import sys

import torch
from torch import nn

from fakemedia.core import plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.trainer import StageTrainer
from fakemedia.methods.method import StageData
from fakemedia.networks import convnet
from fakemedia.networks.detector import Detector, seeded
from fakemedia.runtime.device import Runtime
from fakemedia.store.pixels import PixelStore

CASES = (("finetune", "group"), ("kd", "group"), ("ewc", "group"), ("finetune", "batch"))
"""Method, and the normalisation of the network: of each image, or of the batch, which processes on the CPU do not
share."""


def network(normalisation: str) -> Detector:
    """Return a small network."""
    if normalisation == "batch":
        return convnet.build(convnet.Config(width=8, depth=2), 0)
    with seeded(0):
        body = nn.Sequential(nn.Conv2d(3, 8, 3), nn.GroupNorm(2, 8), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
        return Detector(body, 8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


def learn(method: str, normalisation: str, stores: dict[str, PixelStore]) -> dict:
    """Return the weights, the history and the number of processes."""
    runtime = Runtime(accelerator="cpu", precision="float32")
    config = TrainingConfig(epochs=3, batch_size=8, lr=0.01, crop=8, flip=True)
    detector = runtime.place(network(normalisation))
    fitted = plugin.create("methods", method, {}, 0)
    history = []
    for stage in make_stages([tuple(stores), ("second",)]):
        trainer = StageTrainer(config=config, runtime=runtime, seed=stage.index)
        fitted.fit(StageData(**vars(stage), train=stores, validation=stores, seed=stage.index), detector, trainer)
        assert trainer.trained is not None
        history += trainer.trained.history
    return {"weights": detector.state_dict(), "history": history, "processes": runtime.world}


def main(*folders: str, out: str) -> None:
    torch.set_num_threads(1)
    stores = {f"store{number}": PixelStore.open(folder) for number, folder in enumerate(folders)}
    learned = {case: learn(*case, stores) for case in CASES}
    if int(os.environ["RANK"]) == 0:
        torch.save(learned, out)


if __name__ == "__main__":
    main(*sys.argv[1:-1], out=sys.argv[-1])
