"""Experience replay: pictures of earlier tasks are learned again beside the new ones.

total = 1/2 CE(new) + 1/2 CE(memory)

CE(memory) is the mean over the classes of earlier tasks of the mean over their pictures, so each class of each task has
the same weight (Rolnick et al. 2019; Chaudhry et al. 2019, balanced here). Both pass through the network together. An
epoch is one pass over the new task, for any size of the memory. The first stage is fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from fakemedia.core.errors import UserError
from fakemedia.memory.budget import Budget, Selection
from fakemedia.memory.draws import MemoryBatches
from fakemedia.methods.method import GradientMethod, StageData
from fakemedia.networks.detector import Detector

if TYPE_CHECKING:
    from fakemedia.store.batches import Batch

NEEDS_MEMORY = True
VERSION = 3
"""2: tasks are drawn in order of their names. 3: the memory spreads over the source groups."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """What is kept of earlier tasks."""

    pictures: int = 500
    """B, pictures of all tasks together, shared equally by the classes of the tasks."""
    mib: float | None = None
    """Upper limit of their pixels, MiB; None: no limit."""
    selection: Selection = "reservoir"
    """`reservoir`: at random, spread over the source groups, the same ones in both classes; `random`: at random among
    all pictures; `herding`: those whose mean is closest to that of their class in the network's features (Rebuffi et
    al. 2017). Only training pictures are kept, so none shares its source group with a held-out split."""

    def __post_init__(self) -> None:
        Budget(pictures=self.pictures, mib=self.mib, selection=self.selection)


def memory_batches(stage: StageData, method: str) -> MemoryBatches | None:
    """Return the pictures of earlier tasks; None at the first stage; UserError if there are none at a later one."""
    if stage.index == 1:
        return None
    if stage.memory is None:
        raise UserError("There are no pictures of earlier tasks", where=f"stage {stage.key}, method {method}",
                        expected="a checkpoint that keeps some", do=f"train the earlier stages with {method} too")
    return stage.memory


def joined(batch: Batch, other: Batch, first: int) -> Batch:
    """Return both batches as one; the tasks of `other` count from `first`."""
    return replace(batch, images=torch.cat([batch.images, other.images]),
                   labels=torch.cat([batch.labels, other.labels]),
                   tasks=torch.cat([batch.tasks, other.tasks + first]), rows=torch.cat([batch.rows, other.rows]))


def balanced_cross_entropy(logits: Tensor, labels: Tensor, tasks: Tensor) -> Tensor:
    """Return the mean over the classes of each task of their mean cross entropy, a scalar; `logits` are (N, 2)."""
    _, cells = torch.unique(2 * tasks + labels, return_inverse=True)
    sizes = torch.bincount(cells)
    weights = 1.0 / (sizes[cells] * len(sizes))
    return (weights * F.cross_entropy(logits.float(), labels, reduction="none")).sum()


class Replay(GradientMethod):
    """Fine-tuning with as many pictures of earlier tasks as new ones in every step."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.memory = Budget(pictures=config.pictures, mib=config.mib, selection=config.selection)
        self.held: MemoryBatches | None = None
        self.tasks = 0

    def before_stage(self, stage: StageData, detector: Detector) -> None:
        self.held, self.tasks = memory_batches(stage, "replay"), len(stage.tasks)

    def mix(self, batch: Batch, step: int) -> Batch:
        if self.held is None:
            return batch
        return joined(batch, self.held.batch(step, len(batch.labels)), self.tasks)

    def loss(self, detector: Detector, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        if self.held is None:
            return super().loss(detector, batch, logits)
        new = batch.tasks < self.tasks
        learned = F.cross_entropy(logits[new].float(), batch.labels[new])
        replayed = balanced_cross_entropy(logits[~new], batch.labels[~new], batch.tasks[~new])
        return {"cross_entropy": learned, "replay": replayed, "total": 0.5 * learned + 0.5 * replayed}


def build(config: Config, seed: int) -> Replay:
    """Return experience replay."""
    return Replay(config)
