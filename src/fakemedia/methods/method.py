"""What a continual-learning method is: it fits the detector to a stage and carries what later stages need.

`Method` leaves everything to its file; a closed-form method makes one pass over `trainer.examples` and solves.
`GradientMethod` runs the trainer's loop, which calls the method's hooks. For a stage they are called in this order:
`load_state_dict` with the state of the parent checkpoint (not at the first stage) and `before_stage`; after an
interruption `load_state_dict` once more, with the interrupted state; for every step `mix`, `loss`, `after_backward` and
`after_step`; `after_epoch`; and once `after_stage`.

A method never calls backward, step or `.to(device)` on the detector. What a method's file declares is in `Facts`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Literal, Protocol

import torch.nn.functional as F
from torch import Tensor

from fakemedia.core import plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import Stage
from fakemedia.evaluation.predict import evaluating
from fakemedia.networks.detector import Detector

if TYPE_CHECKING:
    from fakemedia.memory.budget import Budget
    from fakemedia.memory.draws import MemoryBatches
    from fakemedia.memory.memory import Memory
    from fakemedia.store.batches import Batch
    from fakemedia.store.pixels import PixelStore


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What a method's file declares by top-level constants, named as these fields in upper case."""

    scope: Literal["stage", "seen"] = "stage"
    """`seen`: it reads the training images of all tasks seen and begins with the start network; `stage`: those of the
    stage's own tasks, and it continues from the stage before."""
    trains_body: bool = True
    """Whether it changes weights other than the head's, where the plan's `tune` allows it."""
    first_stage_is_finetune: bool = True
    """Whether the first stage of a sequence gives the weights that fine-tuning gives."""
    needs_memory: bool = False
    """Whether it needs pictures of earlier tasks."""
    changes_selected: bool = False
    """Whether it changes the weights that the trainer selected; they are then validated once more."""
    holds_weights: bool = False
    """Whether it compares single weights with those of earlier stages. Low-rank updates have none: each stage merges
    its own into the weights and draws new ones, so `tune: lora` is refused."""
    needs_own_reals: bool = False
    """Whether every task needs real training pictures of its own; a task of fakes only is then refused."""
    unlearns: bool = False
    """Whether `unlearn` takes a task out exactly."""
    version: int = 1
    """Raised when its results change."""


def facts(name: str) -> Facts:
    """Return what the file of the method `name` declares, without importing it."""
    return Facts(**{fact.name: plugin.constant("methods", name, fact.name.upper(), fact.default)
                    for fact in fields(Facts)})


@dataclass(frozen=True, kw_only=True)
class StageData(Stage):
    """A stage with the images that it is learned from."""

    train: Mapping[str, PixelStore] = field(default_factory=dict)
    """Training images by task: those of the stage's tasks, or of all tasks seen (see `Facts.scope`)."""
    validation: Mapping[str, PixelStore] = field(default_factory=dict)
    """Validation images by task, of the tasks that choose the epoch; none if the last epoch is kept."""
    memory: MemoryBatches | None = None
    """Pictures of earlier tasks, to be drawn beside the batches of this one; None: there are none."""
    seed: int = 0
    """Seed of the random crops of its training images."""


class Trainer(Protocol):
    """What a method may do with the images of a stage."""

    config: TrainingConfig

    def train(self, method: GradientMethod, stage: StageData, detector: Detector) -> None:
        """Run the loop with the hooks of `method`, once a stage; `detector` ends with the selected epoch's weights."""
        ...

    def batches(self, stage: StageData, detector: Detector, *, epoch: int = 0) -> Iterator[Batch]:
        """Yield random crops of the stage's training images with `inputs` set: one pass, the same in every process."""
        ...

    def examples(self, stores: Mapping[str, PixelStore], detector: Detector, *,
                 shared: bool = False) -> Iterator[Batch]:
        """Yield the centre crops of all images of `stores` in order, with `inputs` set.

        They are the same in every process; if `shared`, each of several processes gets every n-th batch.
        """
        ...

    def training_examples(self, stores: Mapping[str, PixelStore], detector: Detector, *,
                          shared: bool = False) -> Iterator[Batch]:
        """Yield all training images of `stores`, once in each of the `views` if only the head is trained, else as
        `examples` does; `shared` as there."""
        ...

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of `values`, which may be overwritten, over the processes."""
        ...

    def gather(self, parts: Sequence[Tensor], like: Tensor) -> Tensor:
        """Return the outputs (N, ...) of all processes for `shared` examples, in the order of their rows.

        `parts` are the outputs of this process, (n, ...) for each batch; `like` (0, ...) has their type and device.
        """
        ...

    def accuracies(self, stage: StageData, detector: Detector) -> dict[str, float]:
        """Return the validation accuracy of `detector` by task, percent."""
        ...


class Method:
    """A continual-learning method; `build` of its file returns one for each stage."""

    memory: Budget | None = None
    """What is kept of the pictures of its stages; None: nothing. They are chosen after `fit`, travel beside the state
    and are given to the later stages as `StageData.memory`."""

    def fit(self, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        """Fit `detector` to `stage`; it is on its device and holds the weights that the last stage ended with."""
        raise NotImplementedError

    def review(self, earlier: StageData, detector: Detector, trainer: Trainer) -> None:
        """Compute the state that `earlier` would have left, if another method learned it and left `detector`."""

    def unlearn(self, task: str, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        """Give state and `detector` what they would be without `task`; for a method that declares `UNLEARNS`.

        `stage` is the last one that was learned, `seen` being all tasks; its `train` holds the training pictures of
        `task`, if they still exist, and its `validation` those of the other tasks.
        """
        raise NotImplementedError

    def remember(self, memory: Memory, detector: Detector, trainer: Trainer) -> None:
        """Called with the pictures that are kept after a stage; `detector` is its result."""

    def shape(self, detector: Detector, weights: Mapping[str, Tensor]) -> None:
        """Add to a new `detector` the modules that `weights`, a state dict of this method, need."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return what the next stage needs, or a resumed one."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned, on the detector's device."""


class GradientMethod(Method):
    """Fine-tuning by the trainer's loop; a method overrides the hooks that it changes."""

    def fit(self, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        """Train `detector` on `stage`, then keep what later stages need."""
        self.before_stage(stage, detector)
        trainer.train(self, stage, detector)
        with evaluating(detector):
            self.after_stage(stage, detector, trainer.batches(stage, detector, epoch=trainer.config.epochs))

    def review(self, earlier: StageData, detector: Detector, trainer: Trainer) -> None:
        """Keep what later stages need of `earlier`."""
        with evaluating(detector):
            self.after_stage(earlier, detector, trainer.batches(earlier, detector))

    def before_stage(self, stage: StageData, detector: Detector) -> None:
        """Prepare for `stage`; `detector`, on its device, holds the weights that the last stage ended with."""

    def mix(self, batch: Batch, step: int) -> Batch:
        """Return the batch to learn from, e.g. with images of memory added; `step` counts from 0 over the stage."""
        return batch

    def loss(self, detector: Detector, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss: float32 scalars by name, the one to minimise under "total".

        `batch.inputs` is what the detector saw, float (N, 3, H, W); `batch.labels` int64 (N,); `logits` (N, 2).
        """
        return {"total": F.cross_entropy(logits.float(), batch.labels)}

    def after_backward(self, detector: Detector) -> None:
        """Change the gradients before the optimiser's step."""

    def after_step(self, detector: Detector) -> None:
        """Read the weights after the optimiser's step; the gradients still exist."""

    def after_epoch(self, *, validated: bool, improved: bool) -> None:
        """Called after each epoch: whether it was validated, and whether it is the stage's best so far."""

    def after_stage(self, stage: StageData, detector: Detector, batches: Iterable[Batch]) -> None:
        """Keep what later stages need, without changing `detector`, which ends the stage in eval mode.

        `batches` are random crops of the stage's training images with `inputs` set.
        """
