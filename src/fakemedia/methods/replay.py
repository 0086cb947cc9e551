"""Experience replay: pictures of earlier tasks are learned again beside the new ones.

total = (1 - w) CE(new) + w CE(memory),    w = earlier tasks / tasks seen

Either CE is the mean over the pictures of a batch, weighted so that both classes of a task have the same weight: every
class of every task, old or new, has the same share in the loss of an epoch (Rolnick et al. 2019; Chaudhry et al. 2019,
balanced here). Both pass through the network together. An epoch is one pass over the new task, for any size of the
memory. The first stage is fine-tuning.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from fakemedia.core.errors import UserError
from fakemedia.memory.budget import Budget, Selection
from fakemedia.memory.draws import MemoryBatches
from fakemedia.memory.memory import cells
from fakemedia.methods.method import GradientMethod, StageData
from fakemedia.networks.detector import Detector

if TYPE_CHECKING:
    from fakemedia.store.batches import Batch

NEEDS_MEMORY = True
VERSION = 4
"""2: tasks are drawn in order of their names. 3: the memory spreads over the source groups.
4: each task has the same weight, old or new."""


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


def class_weights(counts: NDArray[np.integer]) -> Tensor:
    """Return the weight of a picture of each class, float32, of mean 1 over the pictures; `counts` are (..., 2).

    The classes that are present get the same total weight.
    """
    n_classes = (counts > 0).sum(-1, keepdims=True)
    return torch.from_numpy(counts.sum(-1, keepdims=True) / (n_classes * np.maximum(counts, 1))).float()


class Replay(GradientMethod):
    """Fine-tuning with as many pictures of earlier tasks as new ones in every step."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.memory = Budget(pictures=config.pictures, mib=config.mib, selection=config.selection)
        self.memory_batches: MemoryBatches | None = None
        self.tasks = 0
        self.weights = torch.ones(0)
        """Weights of a picture of each class, of the new tasks and then of those of the memory, (2 (T + M),)."""

    def before_stage(self, stage: StageData, detector: Detector) -> None:
        self.memory_batches, self.tasks = memory_batches(stage, "replay"), len(stage.tasks)
        if self.memory_batches is None:
            return
        new = np.stack([np.bincount(store.labels, minlength=2) for store in stage.train.values()])
        memory_counts = np.bincount([label for _, label, _ in cells(self.memory_batches.memory.stores)], minlength=2)
        weights = torch.cat([class_weights(new),
                             class_weights(memory_counts).expand(len(self.memory_batches.memory.stores), 2)])
        self.weights = weights.flatten().to(next(detector.parameters()).device)

    def mix(self, batch: Batch, step: int) -> Batch:
        """Return the pictures of `batch`, and as many of the memory after them."""
        if self.memory_batches is None:
            return batch
        return joined(batch, self.memory_batches.batch(step, len(batch.labels)), self.tasks)

    def loss(self, detector: Detector, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        if self.memory_batches is None:
            return super().loss(detector, batch, logits)
        losses = F.cross_entropy(logits.float(), batch.labels, reduction="none")
        weighted = losses * self.weights.index_select(0, 2 * batch.tasks + batch.labels)
        learned, replayed = weighted.view(2, -1).mean(1)
        earlier = len(self.memory_batches.memory.stores)
        share = earlier / (earlier + self.tasks)
        return {"cross_entropy": learned, "replay": replayed, "total": (1 - share) * learned + share * replayed}


def build(config: Config, seed: int) -> Replay:
    """Return experience replay."""
    return Replay(config)
