"""The loop over the epochs of a stage: the only backward pass and optimiser step of the project."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fakemedia.artefacts.files import write_file
from fakemedia.core.errors import UserError
from fakemedia.core.rng import derive
from fakemedia.core.training import TrainingConfig
from fakemedia.learning.optimizers import Schedule
from fakemedia.learning.progress import Progress
from fakemedia.learning.resume import ResumeFiles
from fakemedia.learning.validation import Validation
from fakemedia.methods.method import GradientMethod, StageData
from fakemedia.networks.detector import Detector
from fakemedia.runtime.device import Runtime
from fakemedia.runtime.signals import deferred
from fakemedia.store.batches import TrainBatches

CLOCK = ("seconds", "images_per_second", "memory_mib")
"""Keys of a record that depend on the machine."""
AGREEMENT_STEPS = 16
"""Steps after which several processes agree whether to save or to stop; a single one checks after every step."""
QUICK_SAVE_SECONDS, MAX_SAVING_SHARE = 0.2, 0.05
"""A state that takes more than QUICK_SAVE_SECONDS to save is saved at the end of an epoch only if that costs at most
MAX_SAVING_SHARE of the time since the last one."""


@dataclass(frozen=True, kw_only=True)
class Trained:
    """The result of training a stage."""

    weights: dict[str, Tensor]
    """State dict of the selected epoch, on the device: a copy."""
    best_epoch: int
    """The selected epoch, counted from 1."""
    history: list[dict[str, Any]]
    """One record per epoch: epoch, lr, loss (mean of each term), and, if it was validated, accuracy (percent, mean) and
    validation (percent, by task)."""
    measured_again: bool = False
    """Whether the statistics of batch normalisation are others than those that were validated."""


def history_path(folder: Path) -> Path:
    """Return the path of the history with times of the stage that will be saved as `folder`, in JSON lines."""
    return folder.with_name(f"{folder.name}.history.jsonl")


@dataclass(kw_only=True)
class TrainingLoop:
    """The epochs of one stage, from its start or from a saved state."""

    detector: Detector
    method: GradientMethod
    stage: StageData
    train: TrainBatches
    config: TrainingConfig
    seed: int
    runtime: Runtime
    validation: Validation
    optimizer: torch.optim.Optimizer
    schedule: Schedule
    files: ResumeFiles | None
    best_epoch: int = 0
    best_accuracy: float = -1.0
    best_weights: dict[str, Tensor] | None = None
    history: list[dict[str, Any]] = field(default_factory=list)
    rate: float = 0.0
    """The learning rate that the epoch began with."""
    step: int = 0
    """Finished steps of the current epoch."""
    seconds: float = 0.0
    """Seconds of these steps and of what followed."""
    terms: tuple[str, ...] = ()
    losses: Tensor = field(default_factory=lambda: torch.empty(0))
    """The loss terms of its steps already read from the device, float32 (steps, terms)."""
    unread: list[Tensor] = field(default_factory=list)
    """Those of the latest steps, on the device."""
    started_at: float = field(default_factory=time.monotonic)
    """When this run started the epoch."""
    saved_at: float = field(default_factory=time.monotonic)
    """When the state was saved last, and the seconds that it took."""
    save_seconds: float = 0.0

    def run(self, label: str, on_epoch: Callable[[Mapping[str, Any]], None] | None) -> Trained:
        """Train the epochs that are left and leave the selected weights in the detector; see `StageTrainer.train`."""
        self.runtime.reset_memory()
        if self.files is not None:
            self._restore(self.files.load())
        forward, stepper = self.runtime.setup(self.detector, self.optimizer)
        with Progress(label, epochs=self.config.epochs, images=self.train.images,
                      done=self.epoch * self.train.images + self.step * self.train.batch_size) as progress:
            while not self.done:
                record = self._epoch(forward, stepper, progress)
                self._save_epoch()
                progress.epoch(record, self.best_accuracy)
                if on_epoch is not None:
                    on_epoch(record)
            progress.finish(self.history, self.best_epoch, self.best_accuracy)
        if self.best_weights is not None:
            self.detector.load_state_dict(self.best_weights)
        return Trained(weights=self.best_weights or copied_state(self.detector), best_epoch=self.best_epoch,
                       history=[{key: value for key, value in record.items() if key not in CLOCK}
                                for record in self.history])

    @property
    def epoch(self) -> int:
        """Finished epochs."""
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
        """Train the rest of an epoch, validate it and return its record.

        On a stop request, the state after the last complete step is saved and KeyboardInterrupt raised.
        """
        try:
            with deferred() as stop_requested:
                self._steps(forward, stepper, progress, stop_requested)
                self._read_losses()
            seconds = self._seconds()
            accuracies = self._validated(self.epoch + 1)
        except KeyboardInterrupt:
            self._save()
            raise
        record: dict[str, Any] = {"epoch": self.epoch + 1, "lr": self.rate, "loss": self._mean_losses(),
                                  **accuracies, "seconds": seconds, "images_per_second": self.train.images / seconds,
                                  "memory_mib": self.runtime.memory_mib()}
        self.history.append(record)
        self.schedule.after_epoch()
        self.step, self.seconds, self.losses, self.started_at = 0, 0.0, torch.empty(0), time.monotonic()
        self.method.after_epoch(validated="accuracy" in record, improved=self._improved(record))
        return record

    def _steps(self, forward: Callable[[Tensor], Tensor], stepper: torch.optim.Optimizer, progress: Progress,
               stop_requested: Callable[[], bool]) -> None:
        """Train the remaining steps of the epoch; save the state when it is due, or on a stop request."""
        if self.step == 0:
            self.rate = self.schedule.rate
            self.runtime.seed(derive(self.seed, "epoch", self.epoch))
        self.detector.train()
        for batch in self.train.epoch(self.epoch, self.step):
            batch = self.method.mix(batch, self.epoch * self.train.steps + self.step)
            inputs = self.detector.prepare(batch.images)
            batch = replace(batch, inputs=inputs)
            with self.runtime.autocast():
                logits = forward(inputs)
                terms = self.method.loss(self.detector, batch, logits.float())
            self.runtime.backward(terms["total"])
            self.method.after_backward(self.detector)
            stepper.step()
            self.schedule.after_step()
            self.method.after_step(self.detector)
            stepper.zero_grad()
            self.terms = tuple(terms)
            self.unread.append(torch.stack([term.detach().float() for term in terms.values()]))
            self.step += 1
            if self.step == self.train.steps:
                self.runtime.align(self.detector)
            progress.step(self.train.batch_size)
            if self.runtime.world > 1 and self.step % AGREEMENT_STEPS and self.step < self.train.steps:
                continue
            stop, save, show = self.runtime.any_of(
                stop_requested(), time.monotonic() - self.saved_at > 60 * self.runtime.save_minutes, progress.due())
            if stop:
                raise KeyboardInterrupt
            if save:
                self._save()
            if show:
                self._read_losses()
                progress.show(self.epoch + 1, self._mean_losses(), self.best_accuracy)

    def _seconds(self) -> float:
        """Return the seconds that the epoch has taken so far, over all runs that worked on it."""
        return self.seconds + time.monotonic() - self.started_at

    def _read_losses(self) -> None:
        """Read the loss terms from the device, averaged over the processes; UserError if one is not finite."""
        if self.unread:
            losses = self.runtime.mean(torch.stack(self.unread)).cpu()
            self.losses = torch.cat([self.losses, losses]) if len(self.losses) else losses
            self.unread = []
        self._check_finite()

    def _mean_losses(self) -> dict[str, float]:
        return dict(zip(self.terms, self.losses.double().mean(0).tolist(), strict=True))

    def _check_finite(self) -> None:
        rows = (~self.losses.isfinite().all(-1)).nonzero()
        if len(rows):
            step = int(rows[0])
            values = zip(self.terms, self.losses[step].tolist(), strict=True)
            description = ", ".join(f"{name} {value:g}" for name, value in values)
        elif not _all_finite(self.detector):
            step, description = self.step - 1, "the weights after the step"
        else:
            return
        hint = "" if self.files is None else "; the checkpoints of earlier stages and the last good state are kept"
        raise UserError(
            f"The training gave a value that is not finite: {description}",
            where=f"stage {self.stage.key}, epoch {self.epoch + 1}, step {step + 1} of {self.train.steps}, "
                  f"learning rate {self.schedule.rate:g}",
            expected="finite loss terms", do=f"lower training.lr or the weight of the term{hint}",
        )

    def _validated(self, epoch: int) -> dict[str, Any]:
        due = epoch % self.config.validation_every == 0 or epoch == self.config.epochs
        if not self.validation or not due:
            return {}
        accuracies = self.validation.accuracies(self.detector)
        return {"accuracy": sum(accuracies.values()) / len(accuracies), "validation": accuracies}

    def _improved(self, record: dict[str, Any]) -> bool:
        """Record the epoch if it is the best so far; without validation the latest is the best."""
        if not self.validation:
            self.best_epoch = self.epoch
            return True
        if record.get("accuracy", -1.0) <= self.best_accuracy:
            return False
        self.best_epoch, self.best_accuracy = self.epoch, record["accuracy"]
        self.best_weights = copied_state(self.detector)
        return True

    def _save_epoch(self) -> None:
        """Save the history, and the state unless that takes too long for so short an epoch."""
        if self.files is None or self.runtime.rank > 0:
            return
        write_file(history_path(self.files.folder), _json_lines(self.history))
        if (self.save_seconds < QUICK_SAVE_SECONDS
                or time.monotonic() - self.saved_at > self.save_seconds / MAX_SAVING_SHARE):
            self._save()

    def _save(self) -> None:
        """Save the state after a complete step; within an epoch all processes must call this."""
        if self.files is None:
            return
        self._read_losses()
        started_at = time.monotonic()
        if self.runtime.rank == 0:
            at_best = self.best_epoch == self.epoch and self.step == 0
            best = None if self.best_weights is None or at_best else (self.best_epoch, self.best_weights)
            self.files.save({
                "detector": self.detector.state_dict(), "optimizer": self.optimizer.state_dict(),
                "schedule": self.schedule.state_dict(), "rate": self.rate,
                "method": self.method.state_dict(), "random": self.runtime.random_state(),
                "best_epoch": self.best_epoch, "best_accuracy": self.best_accuracy, "history": self.history,
                "step": self.step, "seconds": self._seconds(), "terms": list(self.terms), "losses": self.losses,
            }, best)
        self.saved_at = time.monotonic()
        self.save_seconds = self.saved_at - started_at

    def _restore(self, state: dict[str, Any] | None) -> None:
        if state is None:
            return
        self.detector.load_state_dict(state["detector"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.schedule.load_state_dict(state["schedule"])
        self.rate = state["rate"]
        self.method.load_state_dict(to_device(state["method"], self.runtime.device))
        self.runtime.set_random_state(state["random"])
        self.best_epoch, self.best_accuracy = state["best_epoch"], state["best_accuracy"]
        self.best_weights = state["best_weights"]
        if self.best_weights is None and self.best_accuracy >= 0:  # the state was saved at the end of the best epoch
            self.best_weights = copied_state(self.detector)
        self.history, self.step, self.seconds = state["history"], state["step"], state["seconds"]
        self.terms, self.losses = tuple(state["terms"]), state["losses"]


def copied_state(detector: Detector) -> dict[str, Tensor]:
    """Return a copy of the state dict, on its device."""
    return {name: value.detach().clone() for name, value in detector.state_dict().items()}


def to_device(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return the named tensors on `device`."""
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _all_finite(detector: Detector) -> bool:
    return bool(torch.stack([value.isfinite().all() for value in detector.state_dict().values()]).all())


def _json_lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()
