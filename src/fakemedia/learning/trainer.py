"""Training of one stage: the only backward pass and optimiser step of the project."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from fakemedia.artefacts.files import write_file
from fakemedia.core.errors import UserError
from fakemedia.core.rng import derive
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import FAKE, Stage
from fakemedia.evaluation.predict import predict_batches
from fakemedia.learning.optimizers import learning_rate, make_optimizer
from fakemedia.learning.progress import Progress
from fakemedia.learning.resume import ResumeFiles
from fakemedia.methods.method import Strategy
from fakemedia.networks.detector import Detector
from fakemedia.runtime.device import Runtime
from fakemedia.runtime.interruption import deferred
from fakemedia.store.batches import Batch, EvalBatches, TrainBatches, select_rows
from fakemedia.store.pixels import PixelStore

Validation = dict[str, tuple[Iterable[Batch], np.ndarray]]
CLOCK = ("seconds", "images_per_second", "memory_mib")
"""What a record holds of the machine and the moment."""
PASSES = 3
"""What training on an image costs, in forward passes (the backward pass costs two)."""
HELD = 2**29
"""Bytes of validation crops that a stage keeps on the device."""
LEAST_VALIDATION = 16
"""Validation images that a task keeps, whatever they cost."""
TOGETHER = 16
"""Steps after which several processes agree whether to save or to stop; a single one looks after every step."""
CHEAP, SAVING_SHARE = 0.2, 0.05
"""A state that takes longer than so many seconds to save is saved at the end of an epoch only if that costs at most
this share of the time since the last one."""


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
                folder: Path | None = None, identity: Mapping[str, str] | None = None, label: str = "",
                on_epoch: Callable[[Mapping[str, Any]], None] | None = None) -> Trained:
    """Train `network`, which lies on the runtime's device, and leave the selected epoch's weights in it.

    The selected epoch has the best mean accuracy over the tasks of `validation` (the earliest of equals), or is the
    last one if `validation` is empty. With `folder`, the history goes to `<folder>.history.jsonl` and the state, after
    each epoch and inside it after every `runtime.save_minutes`, to `<folder>.resume.pt`, from where the next call with
    the same `identity` goes on, to the same result bit for bit. `on_epoch` gets each record of this call.

    Raises UserError for a loss or weights that are not finite; the last state saved stays. Ctrl-C and SIGTERM end as
    KeyboardInterrupt, with the state after the last whole step saved.
    """
    training = _StageTraining(
        network=network, strategy=strategy, stage=stage, train=train, config=config, seed=seed, runtime=runtime,
        validation=validation_batches(validation, train.images, config, seed, runtime),
        optimizer=make_optimizer(network, config),
        files=None if folder is None else ResumeFiles(folder, identity or {}),
    )
    with runtime.reproducible():
        return training.run(label or stage.key, on_epoch)


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
        batches[task] = chosen.held(runtime.device, HELD // len(stores)), store.labels[rows]
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
    optimizer: torch.optim.Optimizer
    files: ResumeFiles | None
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_weights: dict[str, Tensor] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    step: int = 0
    """Steps done of the epoch that is not in the history yet."""
    seconds: float = 0.0
    """What they took, with what came after them."""
    terms: tuple[str, ...] = ()
    losses: Tensor = field(default_factory=lambda: torch.empty(0))
    """The loss terms of its steps that were read from the device, float32 (steps, terms)."""
    unread: list[Tensor] = field(default_factory=list)
    """Those of the latest steps, on the device."""
    begun: float = field(default_factory=time.monotonic)
    """When this run began to work on the epoch."""
    saved: float = field(default_factory=time.monotonic)
    """When the state was saved last, and what that took."""
    saving: float = 0.0

    def run(self, label: str, on_epoch: Callable[[Mapping[str, Any]], None] | None) -> Trained:
        if self.files is not None:
            self._restore(self.files.load())
        forward, stepper = self.runtime.setup(self.network, self.optimizer)
        with Progress(label, epochs=self.config.epochs, images=self.train.images,
                      done=self.epoch * self.train.images + self.step * self.config.batch_size) as progress:
            while not self.done:
                record = self._epoch(forward, stepper, progress)
                self._save_epoch()
                progress.epoch(record, self.best_accuracy)
                if on_epoch is not None:
                    on_epoch(record)
            progress.finish(self.history, self.best_epoch, self.best_accuracy)
        if self.best_weights is not None:
            self.network.load_state_dict(self.best_weights)
        return Trained(weights=self.network.state_dict(), best_epoch=self.best_epoch,
                       history=[{key: value for key, value in record.items() if key not in CLOCK}
                                for record in self.history])

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
               progress: Progress) -> dict[str, Any]:
        """Train what is left of an epoch, validate it and return its record.

        Where a stop is asked for, the state after the last whole step is saved and KeyboardInterrupt raised.
        """
        try:
            with deferred() as asked:
                self._steps(forward, stepper, progress, asked)
                self._read_losses()
            self.runtime.align(self.network)
            seconds = self._seconds()
            validated = self._validated(self.epoch + 1)
        except KeyboardInterrupt:
            self._save()
            raise
        record: dict[str, Any] = {"epoch": self.epoch + 1, "lr": self._rate(0), "loss": self._mean_losses(),
                                  **validated, "seconds": seconds, "images_per_second": self.train.images / seconds,
                                  "memory_mib": self.runtime.memory_mib()}
        self.history.append(record)
        self.step, self.seconds, self.losses, self.begun = 0, 0.0, torch.empty(0), time.monotonic()
        self.strategy.after_epoch(self._improved(record))
        return record

    def _steps(self, forward: Callable[[Tensor], Tensor], stepper: torch.optim.Optimizer, progress: Progress,
               asked: Callable[[], bool]) -> None:
        """Train the steps that are left of the epoch; save the state when it is time, or when a stop is asked for."""
        if self.step == 0:
            torch.manual_seed(derive(self.seed, "epoch", self.epoch))
        self.network.train()
        for batch in self.train.epoch(self.epoch, self.step):
            for group in self.optimizer.param_groups:
                group["lr"] = self._rate(self.step)
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
            self.terms = tuple(terms)
            self.unread.append(torch.stack([term.detach().float() for term in terms.values()]))
            self.step += 1
            progress.step(self.config.batch_size)
            if self.runtime.world > 1 and self.step % TOGETHER and self.step < self.train.steps:
                continue
            stop, save, show = self.runtime.any_of(
                asked(), time.monotonic() - self.saved > 60 * self.runtime.save_minutes, progress.due())
            if stop:
                raise KeyboardInterrupt
            if save:
                self._save()
            if show:
                self._read_losses()
                progress.show(self.epoch + 1, self._mean_losses(), self.best_accuracy)

    def _rate(self, step: int) -> float:
        """Return the learning rate of a step of this epoch."""
        return learning_rate(self.config, self.epoch * self.train.steps + step, self.train.steps)

    def _seconds(self) -> float:
        """Return the seconds that the epoch has taken so far, over all runs that worked on it."""
        return self.seconds + time.monotonic() - self.begun

    def _read_losses(self) -> None:
        """Read the loss terms from the device, averaged over the processes; UserError if one is not finite."""
        if self.unread:
            read = self.runtime.mean(torch.stack(self.unread)).cpu()
            self.losses = torch.cat([self.losses, read]) if len(self.losses) else read
            self.unread = []
        self._check_finite()

    def _mean_losses(self) -> dict[str, float]:
        return dict(zip(self.terms, self.losses.double().mean(0).tolist(), strict=True))

    def _check_finite(self) -> None:
        bad = (~self.losses.isfinite().all(-1)).nonzero()
        if len(bad):
            step = int(bad[0])
            values = zip(self.terms, self.losses[step].tolist(), strict=True)
            found = ", ".join(f"{name} {value:g}" for name, value in values)
        elif not _all_finite(self.network):
            step, found = self.step - 1, "the weights after the step"
        else:
            return
        kept = "" if self.files is None else "; the checkpoints of earlier stages and the last good state are kept"
        raise UserError(
            f"The training has left the finite numbers: {found}",
            where=f"stage {self.stage.key}, epoch {self.epoch + 1}, step {step + 1} of {self.train.steps}, "
                  f"learning rate {self._rate(step):g}",
            expected="finite loss terms", do=f"lower training.lr or the weight of the term{kept}",
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
        self.best_weights = _copied(self.network)
        return True

    def _save_epoch(self) -> None:
        """Save the history, and the state unless that takes too long for so short an epoch."""
        if self.files is None or self.runtime.rank > 0:
            return
        write_file(history_path(self.files.folder), _json_lines(self.history))
        if self.saving < CHEAP or time.monotonic() - self.saved > self.saving / SAVING_SHARE:
            self._save()

    def _save(self) -> None:
        """Save the state as it is after a whole step; every process must come here in the middle of an epoch."""
        if self.files is None:
            return
        self._read_losses()
        begun = time.monotonic()
        if self.runtime.rank == 0:
            at_best = self.best_epoch == self.epoch and self.step == 0
            best = None if self.best_weights is None or at_best else (self.best_epoch, self.best_weights)
            self.files.save({
                "network": self.network.state_dict(), "optimizer": self.optimizer.state_dict(),
                "strategy": self.strategy.state_dict(), "random": self.runtime.random_state(),
                "best_epoch": self.best_epoch, "best_accuracy": self.best_accuracy, "history": self.history,
                "step": self.step, "seconds": self._seconds(), "terms": list(self.terms), "losses": self.losses,
            }, best)
        self.saved = time.monotonic()
        self.saving = self.saved - begun

    def _restore(self, state: dict[str, Any] | None) -> None:
        if state is None:
            return
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.strategy.load_state_dict(to_device(state["strategy"], self.runtime.device))
        self.runtime.set_random_state(state["random"])
        self.best_epoch, self.best_accuracy = state["best_epoch"], state["best_accuracy"]
        self.best_weights = state["best_weights"]
        if self.best_weights is None and self.best_accuracy >= 0:  # the state was saved at the end of the best epoch
            self.best_weights = _copied(self.network)
        self.history, self.step, self.seconds = state["history"], state["step"], state["seconds"]
        self.terms, self.losses = tuple(state["terms"]), state["losses"]


def _copied(network: Detector) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def to_device(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return the named tensors on `device`."""
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _all_finite(network: Detector) -> bool:
    return bool(torch.stack([value.isfinite().all() for value in network.state_dict().values()]).all())


def _json_lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()
