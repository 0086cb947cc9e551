"""The cost of a stage, in time and disk space, before it is trained."""

from __future__ import annotations

import json
import logging
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.plan import MethodPlan
from fakemedia.core.training import TrainingConfig
from fakemedia.core.tune import read_tune
from fakemedia.core.types import make_stages
from fakemedia.learning.optimizers import make_optimizer
from fakemedia.learning.trainer import StageTrainer
from fakemedia.learning.training_loop import history_path
from fakemedia.learning.validation import PASSES, validation_images
from fakemedia.memory.budget import MIB
from fakemedia.memory.memory import Memory, StoredPictures
from fakemedia.methods.method import GradientMethod, Method, StageData, facts
from fakemedia.networks.checkpoint import read_meta
from fakemedia.networks.detector import Detector
from fakemedia.networks.tuning import tune
from fakemedia.networks.views import with_augmented
from fakemedia.runtime.device import Runtime
from fakemedia.store.augmentations.augmentation import make_augment
from fakemedia.store.batches import Batch, TrainBatches
from fakemedia.store.pixels import PixelStore
from fakemedia.store.policies import NATIVE

TIMED_STEPS = 2
"""Steps that are timed, after as many for warm-up."""
FIRST, SECOND = make_stages([("first",), ("second",)])


@dataclass(frozen=True, kw_only=True)
class StageBytes:
    """The size of what a stage writes, bytes."""

    checkpoint: int
    """Weights and state of the method for the next stage; kept."""
    resume: int
    """The resume state, at most; removed when the stage ends."""


def passes(config: TrainingConfig, images: int, sizes: Sequence[int]) -> int:
    """Return the cost of a stage, at most, in training images: `images` per epoch, and validation on these stores.

    An image in validation counts as a third of one in training. A stage that stops early (patience) costs less.
    """
    limit = validation_images(config, images, len(sizes)) if sizes else None
    per_validation = sum(size if limit is None else min(size, limit) for size in sizes)
    validations = -(-config.epochs // config.validation_every)
    return config.epochs * images + validations * per_validation // PASSES


def body_passes(method: MethodPlan, sizes: Mapping[str, Mapping[str, int]], train_tasks: Sequence[str],
                validation_tasks: Sequence[str], passed: set[Hashable]) -> int:
    """Return the images that pass through the frozen body at a stage of a head: each once in each view.

    `sizes` are the images of each task by split. `passed` holds what earlier stages and labels passed, and is updated:
    their features are stored.
    """
    views = len(with_augmented(method.training.views, method.training.augment))
    body = (repr(method.network), method.training.crop, method.training.augment, views)
    total = 0
    for split, tasks, count in (("train", train_tasks, views), ("val", validation_tasks, 1)):
        for task in tasks:
            if (body, split, task) not in passed:
                passed.add((body, split, task))
                total += sizes[task][split] * count
    return total


def stage_bytes(method: MethodPlan) -> StageBytes:
    """Return the bytes that a stage of `method` writes, by creating the network and the method's state.

    `method` is resolved. The state of the first stage is used for all: what grows with the stages counts once. The
    pictures of a full memory are counted with the size of the crop.
    """
    network, learner, _ = prepared(method, Runtime(accelerator="cpu"))
    optimizer = make_optimizer(network, method.training)
    for parameter in filter(lambda parameter: parameter.requires_grad, network.parameters()):
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    weights = _bytes(network.state_dict())
    state_bytes = _bytes(learner.state_dict()) + _memory_bytes(learner, method.training.crop)
    best = weights if method.training.select_on != "none" else 0
    return StageBytes(checkpoint=weights + state_bytes,
                      resume=weights + best + state_bytes + _bytes(optimizer.state_dict()))


def timed_rate(method: MethodPlan, store: PixelStore, runtime: Runtime, *, first: bool) -> float | None:
    """Return the images per second of a few real steps of `method` on `store`, at a first stage or at a later one.

    None for a method without steps; of a head, the rate of its frozen body. `method` is resolved. The network has
    random weights; nothing is saved.
    """
    if read_tune(method.tune).kind == "head" or (first and facts(method.method).first_stage_is_finetune):
        method = replace(method, method="finetune", settings={})
    network, learner, stage = prepared(method, runtime)
    if not isinstance(learner, GradientMethod):
        return None
    rates: list[float] = []
    trainer = _TimingTrainer(
        config=replace(method.training, epochs=2, schedule="constant", lr=1e-6, patience=None), runtime=runtime, seed=0,
        on_epoch=lambda record: rates.append(record["images_per_second"]))
    level = logging.getLogger("fakemedia.learning").level
    logging.getLogger("fakemedia.learning").setLevel(logging.WARNING)
    try:
        trainer.train(learner, replace(stage, train={store.task: store}), network)
    finally:
        logging.getLogger("fakemedia.learning").setLevel(level)
    return rates[-1]


def recorded_rate(method: MethodPlan, folder: Path, runtime: Runtime) -> float | None:
    """Return the images per second recorded for the stage saved as `folder`, the median over its epochs.

    None if there is none, or if it was of another network, batch size, crop, method, device or precision.
    """
    try:
        meta = read_meta(folder)
        records = [json.loads(line) for line in history_path(folder).read_text(encoding="utf-8").splitlines()]
    except (UserError, OSError, ValueError):
        return None
    config, facts = asdict(method.training), {"network": asdict(method.network), "tune": method.tune,
                                              "method": asdict(method.plugin), "computed_with": runtime.facts()}
    keys = ("batch_size", "crop", "flip", "augment", "optimizer")
    is_same = all(meta["training"].get(key) == config[key] for key in keys)
    if not records or not is_same or any(_as_json(meta.get(key)) != _as_json(value) for key, value in facts.items()):
        return None
    rates = sorted(record["images_per_second"] for record in records)
    return rates[len(rates) // 2]


class _TimingTrainer(StageTrainer):
    """Trains on a few batches of an epoch."""

    def training_batches(self, stage: StageData, *, shared: bool) -> TrainBatches:
        config = self.config
        return _TimingBatches(list(stage.train.values()), batch_size=config.batch_size, crop=config.crop,
                              flip=config.flip, seed=0,
                              augment=make_augment(config.augment)).to(self.runtime.device, self.runtime.room())


class _TimingBatches(TrainBatches):
    @property
    def steps(self) -> int:
        return min(super().steps, TIMED_STEPS)


class _UntrainedTrainer(StageTrainer):
    """Passes over the pictures of a stage in order, without training."""

    def train(self, method: GradientMethod, stage: StageData, detector: Detector) -> None:
        pass

    def batches(self, stage: StageData, detector: Detector, *, epoch: int = 0) -> Iterator[Batch]:
        return self.examples(stage.train, detector)


def _two_images(side: int) -> StoredPictures:
    """Return a real and a fake striped picture of `side` x `side` pixels."""
    images = pd.DataFrame({"id": ["real", "fake"], "label": [0, 1], "source": ["real", "fake"], "height": side,
                           "width": side, "rank": 0})
    return StoredPictures("first", NATIVE, images, np.arange(6 * side * side).astype(np.uint8))


def prepared(method: MethodPlan, runtime: Runtime) -> tuple[Detector, Method, StageData]:
    """Return network, method and stage as a second stage begins, from random weights and two striped images."""
    settings = {**method.network.settings, "pretrained": "none"}
    network: Detector = plugin.create("networks", method.network.name, settings, 0)
    network = runtime.place(tune(network, read_tune(method.tune)))
    learner: Method = plugin.create("methods", method.method, method.settings, 0)
    trainer = _UntrainedTrainer(config=method.training, runtime=runtime, seed=0)
    images = _two_images(method.training.crop)
    learner.fit(StageData(**vars(FIRST), train={images.task: images}), network, trainer)
    second = StageData(**vars(SECOND), train={images.task: images})
    if learner.memory is not None:
        memory = Memory({images.task: images})
        learner.remember(memory, network, trainer)
        second = replace(second, memory=trainer.memory_batches(memory, seed=0))
    if isinstance(learner, GradientMethod):
        learner.before_stage(second, network)
    return network, learner, second


def _memory_bytes(method: Method, side: int) -> int:
    """Return the bytes of the pictures that `method` keeps at most, if they are `side` x `side` pixels."""
    if method.memory is None:
        return 0
    limit = float("inf") if method.memory.mib is None else method.memory.mib * MIB
    return int(min(3 * side * side * method.memory.pictures, limit))


def _bytes(state: Any) -> int:
    """Return the bytes of the tensors in nested dicts and lists."""
    if isinstance(state, torch.Tensor):
        return state.numel() * state.element_size()
    values = state.values() if isinstance(state, dict) else state if isinstance(state, (list, tuple)) else ()
    return sum(map(_bytes, values))


def _as_json(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
