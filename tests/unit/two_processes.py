"""Two stages by each of some methods, in as many processes as torchrun starts; the first saves weights and histories,
the weights and states of two stages with a memory larger than a task, and a stage resumed from each of its states.

    torchrun --nproc_per_node 2 two_processes.py STORE STORE SMALL OUT.pt

The two stores are learned at once in both stages. With a memory, the first and then the small one are learned.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from fakemedia.core import plugin
from fakemedia.core.plan import MethodPlan, Plan, Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.resume import resume_path
from fakemedia.learning.sequence import learn_stage
from fakemedia.learning.trainer import StageTrainer
from fakemedia.methods.method import StageData
from fakemedia.networks import convnet
from fakemedia.networks.detector import Detector, seeded
from fakemedia.runtime.device import Runtime
from fakemedia.store.pixels import PixelStore

CASES = (("finetune", "group"), ("kd", "group"), ("ewc", "group"), ("finetune", "batch"))
"""Method, and the normalisation of the network: of each image, or of the batch, which processes on the CPU do not
share."""

CONVNET = {"name": "convnet", "settings": {"depth": 2}}
VIT = {"name": "timm", "settings": {"architecture": "test_vit", "pretrained": "none"}}
SGD = {"crop": 16, "optimizer": "sgd", "lr": 0.01}
"""AdamW divides by the gradient's own size, so that where it is nearly zero its rounding becomes a step."""
MEMORY_CASES: dict[str, dict[str, Any]] = {
    "replay, head": {"method": "replay", "settings": {"pictures": 500}, "tune": "head"},
    "finetune, head": {"method": "finetune", "tune": "head"},
    "ridge, head": {"method": "ridge", "tune": "head", "views": ("centre", "random:1")},
    "ridge": {"method": "ridge"},
    "slda": {"method": "slda"},
    "experts": {"method": "experts"},
    "replay": {"method": "replay", "settings": {"pictures": 20, "selection": "herding"}, "network": VIT, **SGD},
    "derpp": {"method": "derpp", "settings": {"pictures": 30}, "network": VIT, **SGD},
    "statistics": {"method": "replay", "settings": {"pictures": 500}, "norm_statistics": "reestimated", "lr": 1e-30},
}
"""What is learned with a memory or by a closed form; `statistics`: those of batch normalisation of weights that do not
move, as they differ if processes on the CPU train them."""


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


def learn_memory(case: str, stores: dict[str, PixelStore], folder: Path) -> dict:
    """Return the weights and the state after two stages of one store each, and the history of the second."""
    given = {"settings": {}, "network": CONVNET, "tune": "all", **MEMORY_CASES[case]}
    runtime, named = Runtime(accelerator="cpu", precision="float32"), Plugin(**given["network"])
    training = TrainingConfig(**{"epochs": 3, "batch_size": 8, "lr": 0.05, "crop": 8, **{
        name: value for name, value in given.items() if name not in ("method", "settings", "network", "tune")}})
    planned = MethodPlan(label=given["method"], method=given["method"], settings=given["settings"], network=named,
                         tune=given["tune"], training=training)
    plan = Plan(sequence="two", collection="two", stages=make_stages([(task,) for task in stores]), network=named,
                methods=(planned,), training=training, seeds=(0,)).resolved()
    learned = None
    for stage in plan.stages:
        learned = learn_stage(plan=plan, method=planned.label, seed=0, stage=stage, parent=learned, train=stores,
                              validation=stores, folder=folder / f"{case}-{stage.key}", runtime=runtime,
                              features=lambda task: folder / "features" / task)
    assert learned is not None
    return {"weights": learned.weights, "state": learned.method_state, "history": learned.meta["history"],
            "processes": runtime.world}


def learn_again(stores: dict[str, PixelStore], folder: Path) -> dict[str, dict]:
    """Return the history and the weights of the last epoch of a stage, and of the same resumed from each of its states.

    They are saved after every 16 steps, at the last step of an epoch, and after it. The network has batch
    normalisation, whose statistics are those of each process while it trains.
    """
    runtime, states = Runtime(accelerator="cpu", precision="float32", save_minutes=0), folder / "states"
    config = TrainingConfig(epochs=2, batch_size=runtime.world, lr=0.01, crop=8)

    def keep(stage: Path) -> None:
        kept = states / str(len(list(states.iterdir())))
        kept.mkdir()
        shutil.copy(resume_path(stage), resume_path(kept / "stage"))

    def fit(place: Path, on_saved: Callable[[Path], None] | None = None) -> dict:
        detector, stage = runtime.place(network("batch")), make_stages([tuple(stores)])[0]
        trainer = StageTrainer(config=config, runtime=runtime, seed=0, folder=place, on_saved=on_saved)
        plugin.create("methods", "finetune", {}, 0).fit(StageData(**vars(stage), train=stores, validation={}, seed=0),
                                                        detector, trainer)
        assert trainer.trained is not None
        return {"weights": detector.state_dict(), "history": trainer.trained.history}

    if runtime.rank == 0:
        states.mkdir(parents=True)
    learned = {"whole": fit(folder / "whole", keep)}
    runtime.wait()
    for kept in sorted(states.iterdir()):
        state = torch.load(resume_path(kept / "stage"), weights_only=True)
        runtime.wait()
        learned[f"epoch {len(state['history'])}, step {state['step']}"] = fit(kept / "stage")
    return learned


def main(*folders: str, out: str) -> None:
    torch.set_num_threads(1)
    *both, small = (PixelStore.open(folder) for folder in folders)
    stores = {f"store{number}": store for number, store in enumerate(both)}
    learned: dict[Any, dict] = {case: learn(*case, stores) for case in CASES}
    learned |= {case: learn_memory(case, {"large": both[0], "small": small}, Path(out).parent / "several")
                for case in MEMORY_CASES}
    learned["again"] = learn_again(stores, Path(out).parent / "again")
    if int(os.environ["RANK"]) == 0:
        torch.save(learned, out)


if __name__ == "__main__":
    main(*sys.argv[1:-1], out=sys.argv[-1])
