"""Training of one stage: the only backward pass and optimiser step of the project."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from fakemedia.artefacts.files import write_file
from fakemedia.core.errors import UserError
from fakemedia.core.rng import derive
from fakemedia.core.training import TrainingConfig
from fakemedia.learning.optimizers import Schedule, make_optimizer
from fakemedia.learning.progress import Progress
from fakemedia.learning.resume import ResumeFiles
from fakemedia.learning.validation import Validation
from fakemedia.memory.draws import MemoryBatches
from fakemedia.memory.held_pictures import Memory
from fakemedia.methods.method import GradientMethod, StageData
from fakemedia.networks.detector import Detector
from fakemedia.networks.norm_statistics import measure_statistics
from fakemedia.runtime.device import Runtime
from fakemedia.runtime.signals import deferred
from fakemedia.store.augmentations.augmentation import make_augment
from fakemedia.store.batches import Batch, EvalBatches, TrainBatches, on_device
from fakemedia.store.pixels import PixelStore

CLOCK = ("seconds", "images_per_second", "memory_mib")
"""Keys of a record that depend on the machine."""
TOGETHER = 16
"""Steps after which several processes agree whether to save or to stop; a single one checks after every step."""
CHEAP, SAVING_SHARE = 0.2, 0.05
"""A state that takes more than CHEAP seconds to save is saved at the end of an epoch only if that costs at most
SAVING_SHARE of the time since the last one."""


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


@dataclass(kw_only=True)
class StageTrainer:
    """The trainer of one stage, as `methods.method.Trainer` describes it to methods.

    With `folder`, the history goes to `<folder>.history.jsonl` and the state, after each epoch and inside it after
    every `runtime.save_minutes`, to `<folder>.resume.pt`, from which the next trainer with the same `identity`
    resumes, with the same result bit for bit. `on_epoch` receives each record of this process.
    """

    config: TrainingConfig
    runtime: Runtime
    seed: int
    """Seed of the loop, and of the choice of validation images."""
    folder: Path | None = None
    identity: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    on_epoch: Callable[[Mapping[str, Any]], None] | None = None
    trained: Trained | None = None
    """The result of `train`; None before."""

    def train(self, method: GradientMethod, stage: StageData, detector: Detector) -> None:
        """Train `detector`, which is on the runtime's device, and leave the selected epoch's weights in it.

        The selected epoch has the best mean accuracy over the tasks of `stage.validation` (the earliest of several), or
        is the last one if there are none. Raises UserError for a loss or weights that are not finite; the last state
        saved is kept. Ctrl-C and SIGTERM end as KeyboardInterrupt, with the state after the last complete step saved.
        """
        if self.trained is not None:
            raise RuntimeError("a method trains once a stage")
        batches = self.training_batches(stage, shared=True)
        optimizer = make_optimizer(detector, self.config)
        loop = _Loop(
            detector=detector, method=method, stage=stage, train=batches, config=self.config, seed=self.seed,
            runtime=self.runtime, optimizer=optimizer, schedule=Schedule(optimizer, self.config, batches.steps),
            validation=self._validation(stage, batches.images),
            files=None if self.folder is None else ResumeFiles(self.folder, self.identity),
        )
        with self.runtime.reproducible():
            self.trained = loop.run(self.label or stage.key, self.on_epoch)
            if self.config.norm_statistics == "reestimated":
                measure_statistics(detector, self._balanced(stage, detector))
                self.runtime.align(detector)
                self.trained = replace(self.trained, weights=_copied(detector), measured_again=True)

    def _balanced(self, stage: StageData, detector: Detector) -> Iterator[Tensor]:
        """Yield the inputs of one pass, each task of the stage and of its memory with the same share of every batch."""
        memory, new = stage.memory, len(stage.train)
        for step, batch in enumerate(self.training_batches(stage, shared=False).epoch(self.config.epochs)):
            images, size = batch.images, len(batch.images)
            if memory is not None:
                count = min(size - 1, max(1, round(size * new / (new + len(memory.memory.stores)))))
                images = torch.cat([images[:count], memory.batch(step, size - count, draw="statistics").images])
            yield detector.prepare(images)

    def batches(self, stage: StageData, detector: Detector, *, epoch: int = 0) -> Iterator[Batch]:
        """Yield random crops of the stage's training images with `inputs` set: one pass, the same in every process."""
        for batch in self.training_batches(stage, shared=False).epoch(epoch):
            yield replace(batch, inputs=detector.prepare(batch.images))

    def examples(self, stores: Mapping[str, PixelStore], detector: Detector) -> Iterator[Batch]:
        """Yield the centre crops of all images of `stores` in order, with `inputs` set; the same in every process."""
        for task, store in enumerate(stores.values()):
            for batch in on_device(self.evaluation_batches(store), self.runtime.device):
                yield replace(batch, tasks=batch.tasks + task, inputs=detector.prepare(batch.images))

    def training_examples(self, stores: Mapping[str, PixelStore], detector: Detector) -> Iterator[Batch]:
        """Yield what `examples` does: one crop of each training image."""
        return self.examples(stores, detector)

    def accuracies(self, stage: StageData, detector: Detector) -> dict[str, float]:
        """Return the accuracy of `detector` on the stage's validation images by task, percent."""
        return self._validation(stage, sum(len(store) for store in stage.train.values())).accuracies(detector)

    def _validation(self, stage: StageData, images: int) -> Validation:
        return Validation(stage.validation, images, self.config, self.seed, self.runtime, self.evaluation_batches)

    def evaluation_batches(self, store: PixelStore, rows: NDArray[np.int64] | None = None,
                           room: int = 0) -> Iterable[Batch]:
        """Return the centre crops of images `rows` of `store`, in order; see `EvalBatches.held` for `room`."""
        size = self.runtime.evaluation_batch(self.config.batch_size)
        return EvalBatches(store, batch_size=size, crop=self.config.crop, rows=rows).held(self.runtime.device, room)

    def memory_batches(self, memory: Memory, seed: int) -> MemoryBatches | None:
        """Return the pictures of `memory` as batches, drawn by `seed`: this process's share; None if it is empty."""
        if not memory.stores:
            return None
        return MemoryBatches(memory, crop=self.config.crop, flip=self.config.flip, seed=seed,
                             share=(self.runtime.rank, self.runtime.world), device=self.runtime.device,
                             augment=make_augment(self.config.augment))

    def training_batches(self, stage: StageData, *, shared: bool) -> TrainBatches:
        """Return the training batches on the device: this process's share of each, or the whole."""
        config, runtime = self.config, self.runtime
        batches = TrainBatches(list(stage.train.values()), batch_size=config.batch_size, crop=config.crop,
                               flip=config.flip, seed=stage.seed, augment=make_augment(config.augment),
                               share=(runtime.rank, runtime.world) if shared else (0, 1))
        return batches.to(runtime.device, runtime.room() if shared else 0)


def history_path(folder: Path) -> Path:
    """Return the path of the history with times of the stage that will be saved as `folder`, in JSON lines."""
    return folder.with_name(f"{folder.name}.history.jsonl")


@dataclass(kw_only=True)
class _Loop:
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
    begun: float = field(default_factory=time.monotonic)
    """When this run started the epoch."""
    saved: float = field(default_factory=time.monotonic)
    """When the state was saved last, and the seconds that it took."""
    saving: float = 0.0

    def run(self, label: str, on_epoch: Callable[[Mapping[str, Any]], None] | None) -> Trained:
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
        return Trained(weights=self.best_weights or _copied(self.detector), best_epoch=self.best_epoch,
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
            with deferred() as asked:
                self._steps(forward, stepper, progress, asked)
                self._read_losses()
            self.runtime.align(self.detector)
            seconds = self._seconds()
            validated = self._validated(self.epoch + 1)
        except KeyboardInterrupt:
            self._save()
            raise
        record: dict[str, Any] = {"epoch": self.epoch + 1, "lr": self.rate, "loss": self._mean_losses(),
                                  **validated, "seconds": seconds, "images_per_second": self.train.images / seconds,
                                  "memory_mib": self.runtime.memory_mib()}
        self.history.append(record)
        self.schedule.after_epoch()
        self.step, self.seconds, self.losses, self.begun = 0, 0.0, torch.empty(0), time.monotonic()
        self.method.after_epoch(validated="accuracy" in record, improved=self._improved(record))
        return record

    def _steps(self, forward: Callable[[Tensor], Tensor], stepper: torch.optim.Optimizer, progress: Progress,
               asked: Callable[[], bool]) -> None:
        """Train the remaining steps of the epoch; save the state when it is due, or on a stop request."""
        if self.step == 0:
            self.rate = self.schedule.rate
            torch.manual_seed(derive(self.seed, "epoch", self.epoch))
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
            progress.step(self.train.batch_size)
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
        elif not _all_finite(self.detector):
            step, found = self.step - 1, "the weights after the step"
        else:
            return
        kept = "" if self.files is None else "; the checkpoints of earlier stages and the last good state are kept"
        raise UserError(
            f"The training gave a value that is not finite: {found}",
            where=f"stage {self.stage.key}, epoch {self.epoch + 1}, step {step + 1} of {self.train.steps}, "
                  f"learning rate {self.schedule.rate:g}",
            expected="finite loss terms", do=f"lower training.lr or the weight of the term{kept}",
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
        self.best_weights = _copied(self.detector)
        return True

    def _save_epoch(self) -> None:
        """Save the history, and the state unless that takes too long for so short an epoch."""
        if self.files is None or self.runtime.rank > 0:
            return
        write_file(history_path(self.files.folder), _json_lines(self.history))
        if self.saving < CHEAP or time.monotonic() - self.saved > self.saving / SAVING_SHARE:
            self._save()

    def _save(self) -> None:
        """Save the state after a complete step; within an epoch all processes must call this."""
        if self.files is None:
            return
        self._read_losses()
        begun = time.monotonic()
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
        self.saved = time.monotonic()
        self.saving = self.saved - begun

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
            self.best_weights = _copied(self.detector)
        self.history, self.step, self.seconds = state["history"], state["step"], state["seconds"]
        self.terms, self.losses = tuple(state["terms"]), state["losses"]


def _copied(detector: Detector) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in detector.state_dict().items()}


def to_device(tensors: Mapping[str, Tensor], device: torch.device) -> dict[str, Tensor]:
    """Return the named tensors on `device`."""
    return {name: tensor.to(device) for name, tensor in tensors.items()}


def _all_finite(detector: Detector) -> bool:
    return bool(torch.stack([value.isfinite().all() for value in detector.state_dict().values()]).all())


def _json_lines(records: list[dict[str, Any]]) -> bytes:
    return "".join(json.dumps(record) + "\n" for record in records).encode()
