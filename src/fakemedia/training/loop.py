"""Training of one stage: the only backward pass and optimiser step of the project."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from fakemedia.core.errors import UserError
from fakemedia.core.plan import TrainingConfig
from fakemedia.core.rng import derive
from fakemedia.core.types import FAKE, Stage
from fakemedia.data.batches import Batch, EvalBatches, TrainBatches, select_rows
from fakemedia.data.pixels import PixelStore
from fakemedia.evaluation.predict import predict_batches
from fakemedia.networks.base import Detector
from fakemedia.strategies.base import Strategy
from fakemedia.training.checkpoint import load_resume, save_resume, write_file
from fakemedia.training.runtime import Runtime

Validation = dict[str, tuple[Iterable[Batch], np.ndarray]]
CLOCK = ("seconds", "images_per_second", "memory_mib")
"""What a record holds of the machine and the moment."""
PASSES = 3
"""What training on an image costs, in forward passes (the backward pass costs two)."""
LEAST_VALIDATION = 32
"""Validation images that a task keeps, whatever they cost."""
WARM_UP, START_FACTOR, END_FACTOR = 0.3, 25.0, 1e4


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """Return the learning rate of `step`, counted from 0 over the whole stage, with `steps` steps an epoch.

    `one_cycle`: half a cosine from lr/25 up to lr in the first 30 % of the stage, then down to lr/250000 (Smith and
    Topin 2018, in two phases). `cosine`: lr_min + (lr - lr_min) (1 + cos(pi epoch / period)) / 2, going on past
    `period` (Loshchilov and Hutter 2017, without restarts).
    """
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "cosine":
        return _anneal(config.lr, config.lr_min, step // steps / config.period)
    total = config.epochs * steps
    peak = max(WARM_UP * total - 1, 0)
    low = config.lr / START_FACTOR
    if step < peak:
        return _anneal(low, config.lr, step / peak)
    return _anneal(config.lr, low / END_FACTOR, (step - peak) / max(total - 1 - peak, 1))


def _anneal(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def make_optimizer(network: Detector, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimiser of `config` over all parameters of `network`."""
    if config.optimizer == "sgd":
        return torch.optim.SGD(network.parameters(), lr=config.lr, momentum=config.momentum,
                               weight_decay=config.weight_decay)
    return torch.optim.AdamW(network.parameters(), lr=config.lr, betas=(config.momentum, 0.999),
                             weight_decay=config.weight_decay)


@dataclass(frozen=True, kw_only=True)
class Trained:
    """What the training of a stage gives."""

    weights: dict[str, Tensor]
    """State dict of the selected epoch, on the device."""
    best_epoch: int
    """The selected epoch, counted from 1."""
    history: list[dict[str, Any]]
    """A record an epoch: epoch, lr, loss (mean of each term), and accuracy (percent, mean) and validation (percent, by
    task) where it was validated."""


def train_stage(network: Detector, strategy: Strategy, stage: Stage, train: TrainBatches,
                validation: Mapping[str, PixelStore], config: TrainingConfig, *, seed: int, runtime: Runtime,
                folder: Path | None = None, identity: str = "", label: str = "",
                on_epoch: Callable[[Mapping[str, Any]], None] | None = None) -> Trained:
    """Train `network`, which lies on the runtime's device, and leave the selected epoch's weights in it.

    The selected epoch has the best mean accuracy over the tasks of `validation` (the earliest of equals), or is the
    last one if `validation` is empty. With `folder`, the history goes to `<folder>.history.jsonl` and the state after
    each epoch to `<folder>.resume.pt`, from where the next call with the same `identity` goes on, to the same result
    bit for bit. `on_epoch` gets each record once the epoch is safely on the disk.

    Raises UserError for a loss or weights that are not finite; the state of the last good epoch stays.
    """
    training = _StageTraining(network=network, strategy=strategy, stage=stage, train=train, config=config, seed=seed,
                              runtime=runtime, validation=validation_batches(validation, train.images, config, seed,
                                                                             runtime))
    with runtime.reproducible():
        return training.run(folder, identity, label or stage.key, on_epoch)


def resume_path(folder: Path) -> Path:
    """Return where the stage that will be saved as `folder` keeps its resume state."""
    return folder.with_name(f"{folder.name}.resume.pt")


def history_path(folder: Path) -> Path:
    """Return where the stage that will be saved as `folder` keeps its history with times, in JSON lines."""
    return folder.with_name(f"{folder.name}.history.jsonl")


def validation_images(config: TrainingConfig, train_images: int, tasks: int) -> int | None:
    """Return how many validation images a task has at most, where an epoch trains on `train_images`; None: all."""
    limits = [] if config.validation_max is None else [config.validation_max]
    if config.validation_share is not None:
        passes = PASSES * train_images * config.validation_every * config.validation_share
        limits.append(max(LEAST_VALIDATION, int(passes / tasks)))
    return min(limits, default=None)


def validation_batches(stores: Mapping[str, PixelStore], train_images: int, config: TrainingConfig, seed: int,
                       runtime: Runtime) -> Validation:
    """Return this process's share of the images that choose the epoch: batches and labels (N,) by task."""
    batches: Validation = {}
    for task, store in stores.items():
        most = validation_images(config, train_images, len(stores))
        rows = select_rows(store, most, derive(seed, "validation", task))[runtime.rank::runtime.world]
        chosen = EvalBatches(store, batch_size=runtime.evaluation_batch(config.batch_size), crop=config.crop, rows=rows)
        batches[task] = chosen.held(runtime.device), store.labels[rows]
    return batches


@dataclass(kw_only=True)
class _StageTraining:
    network: Detector
    strategy: Strategy
    stage: Stage
    train: TrainBatches
    config: TrainingConfig
    seed: int
    runtime: Runtime
    validation: Validation
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_weights: dict[str, Tensor] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)

    def run(self, folder: Path | None, identity: str, label: str,
            on_epoch: Callable[[Mapping[str, Any]], None] | None) -> Trained:
        optimizer = make_optimizer(self.network, self.config)
        if folder is not None:
            self._restore(load_resume(resume_path(folder), identity), optimizer)
        forward, stepper = self.runtime.setup(self.network, optimizer)
        with tqdm(total=self.config.epochs * self.images, initial=self.epoch * self.images, desc=label, unit="img",
                  disable=None, dynamic_ncols=True) as bar:
            while not self.done:
                record = self._epoch(forward, stepper, optimizer.param_groups, bar)
                bar.set_postfix_str(self._progress())
                if folder is not None and self.runtime.rank == 0:
                    save_resume({"identity": identity, **self._state(optimizer)}, resume_path(folder))
                    write_file(history_path(folder), _json_lines(self.history))
                if on_epoch is not None:
                    on_epoch(record)
        if self.best_weights is not None:
            self.network.load_state_dict(self.best_weights)
        return Trained(weights=self.network.state_dict(), best_epoch=self.best_epoch,
                       history=[{key: value for key, value in record.items() if key not in CLOCK}
                                for record in self.history])

    @property
    def images(self) -> int:
        """Images an epoch."""
        return self.train.images

    @property
    def epoch(self) -> int:
        """Epochs done."""
        return len(self.history)

    @property
    def done(self) -> bool:
        if not self.history:
            return False
        if self.epoch >= self.config.epochs:
            return True
        patience = self.config.patience
        return patience is not None and "accuracy" in self.history[-1] and self.epoch - self.best_epoch >= patience

    def _epoch(self, forward: Callable[[Tensor], Tensor], stepper: torch.optim.Optimizer,
               groups: list[dict[str, Any]], bar: tqdm) -> dict[str, Any]:
        """Train one epoch and validate it; the loss terms are read from the device once, at the end."""
        started = time.perf_counter()
        first = self.epoch * self.train.steps
        rates = [learning_rate(self.config, first + step, self.train.steps) for step in range(self.train.steps)]
        torch.manual_seed(derive(self.seed, "epoch", self.epoch))
        self.network.train()
        names, losses = (), []
        for rate, batch in zip(rates, self.train.epoch(self.epoch), strict=True):
            for group in groups:
                group["lr"] = rate
            batch = self.strategy.mix(batch)
            inputs = self.network.prepare(batch.images)
            batch = replace(batch, inputs=inputs)
            with self.runtime.autocast():
                logits = forward(inputs)
                terms = self.strategy.loss(self.network, batch, logits.float())
            self.runtime.backward(terms["total"])
            self.strategy.after_backward(self.network)
            stepper.step()
            stepper.zero_grad()
            names = tuple(terms)
            losses.append(torch.stack([term.detach().float() for term in terms.values()]))
            bar.update(self.config.batch_size)
        table = self.runtime.mean(torch.stack(losses)).cpu().double()
        self._check_finite(table, names, rates)
        self.runtime.align(self.network)
        seconds = time.perf_counter() - started
        record: dict[str, Any] = {"epoch": self.epoch + 1, "lr": rates[0],
                                  "loss": dict(zip(names, table.mean(0).tolist(), strict=True)),
                                  **self._validated(self.epoch + 1), "seconds": seconds,
                                  "images_per_second": self.images / seconds,
                                  "memory_mib": self.runtime.memory_mib()}
        self.history.append(record)
        self.strategy.after_epoch(self._improved(record))
        return record

    def _progress(self) -> str:
        text = f"epoch {self.epoch}/{self.config.epochs}, loss {self.history[-1]['loss']['total']:.3f}"
        return f"{text}, best validation {self.best_accuracy:.1f} %" if self.best_weights else text

    def _check_finite(self, table: Tensor, names: tuple[str, ...], rates: list[float]) -> None:
        bad = (~table.isfinite()).any(1).nonzero()
        if len(bad):
            step = int(bad[0])
            found = ", ".join(f"{name} {value:g}" for name, value in zip(names, table[step].tolist(), strict=True))
        elif not _all_finite(self.network):
            step, found = len(rates) - 1, "the weights after the step"
        else:
            return
        raise UserError(
            f"The training has left the finite numbers: {found}",
            where=f"stage {self.stage.key}, epoch {self.epoch + 1}, step {step + 1} of {len(rates)}, "
                  f"learning rate {rates[step]:g}",
            expected="finite loss terms", do="lower training.lr or the weight of the term; nothing was saved",
        )

    def _validated(self, epoch: int) -> dict[str, Any]:
        due = epoch % self.config.validation_every == 0 or epoch == self.config.epochs
        if not self.validation or not due:
            return {}
        accuracies = {task: self._accuracy(*images) for task, images in self.validation.items()}
        return {"accuracy": sum(accuracies.values()) / len(accuracies), "validation": accuracies}

    def _accuracy(self, batches: Iterable[Batch], labels: np.ndarray) -> float:
        logits = predict_batches(self.network, batches, autocast=self.runtime.autocast)
        counts = torch.tensor([int(((logits > 0) == (labels == FAKE)).sum()), len(labels)], device=self.runtime.device)
        right, images = self.runtime.total(counts).tolist()
        return 100.0 * right / images

    def _improved(self, record: dict[str, Any]) -> bool:
        """Note the epoch if it is the best so far; without validation the latest is the best."""
        if not self.validation:
            self.best_epoch = self.epoch
            return True
        if record.get("accuracy", -1.0) <= self.best_accuracy:
            return False
        self.best_epoch, self.best_accuracy = self.epoch, record["accuracy"]
        self.best_weights = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        return True

    def _state(self, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
        return {"network": self.network.state_dict(), "optimizer": optimizer.state_dict(),
                "strategy": self.strategy.state_dict(), "best_epoch": self.best_epoch,
                "best_accuracy": self.best_accuracy, "best_weights": self.best_weights, "history": self.history}

    def _restore(self, state: dict[str, Any] | None, optimizer: torch.optim.Optimizer) -> None:
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        self.strategy.load_state_dict(to_device(state["strategy"], self.runtime.device))
        self.best_epoch, self.best_accuracy = state["best_epoch"], state["best_accuracy"]
        self.best_weights, self.history = state["best_weights"], state["history"]


def to_device(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return the named tensors on `device`."""
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _all_finite(network: Detector) -> bool:
    return bool(torch.stack([value.isfinite().all() for value in network.state_dict().values()]).all())


def _json_lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()
