"""Dark experience replay ++: pictures of earlier tasks are learned again, and their logits kept as they were.

total = CE(new) + alpha * mean (z - z_kept)^2 + beta * CE(memory)

z_kept are the logits (N, 2) that the network gave for the centre crop of a picture at the end of the stage at which it
was kept (Buzzega et al. 2020). The second term uses these centre crops, the third random crops of other draws; all pass
through the network together, so that batch statistics are updated once per step. The first stage is fine-tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from fakemedia.core.rng import derive
from fakemedia.memory.budget import Budget, Selection
from fakemedia.memory.draws import MemoryBatches
from fakemedia.methods.method import GradientMethod, StageData, Trainer
from fakemedia.methods.replay import joined, memory_batches
from fakemedia.networks.detector import Detector
from fakemedia.runtime.modes import evaluating

if TYPE_CHECKING:
    from fakemedia.memory.memory import Memory
    from fakemedia.store.batches import Batch

NEEDS_MEMORY = True
VERSION = 3
"""2: tasks are drawn in order of their names. 3: the memory spreads over the source groups."""
KEYS, LOGITS = "keys.", "logits."


@dataclass(frozen=True, kw_only=True)
class Config:
    """The memory, and the weights of its terms."""

    alpha: float = 0.3
    """Weight of the squared difference of the logits."""
    beta: float = 0.5
    """Weight of the cross entropy of kept pictures."""
    largest: float = 10.0
    """Kept logits are clipped to this absolute value: with two classes they grow without bound."""
    pictures: int = 500
    """Pictures of all tasks together, shared equally by the classes of the tasks."""
    mib: float | None = None
    """Upper limit of their pixels, MiB; None: no limit."""
    selection: Selection = "reservoir"
    """`reservoir`, `random` or `herding`, as in replay."""

    def __post_init__(self) -> None:
        Budget(pictures=self.pictures, mib=self.mib, selection=self.selection)
        if not (self.alpha >= 0 and self.beta >= 0 and self.largest > 0):
            raise ValueError("alpha and beta of at least 0, and largest above 0")


class DarkExperience(GradientMethod):
    """Replay of labels and of logits."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.memory = Budget(pictures=config.pictures, mib=config.mib, selection=config.selection)
        self.keys: dict[str, Tensor] = {}
        self.logits: dict[str, Tensor] = {}
        self.memory_batches: MemoryBatches | None = None
        self.tasks = 0
        self.balance = torch.ones(0)

    def before_stage(self, stage: StageData, detector: Detector) -> None:
        self.memory_batches, self.tasks = memory_batches(stage, "derpp"), len(stage.tasks)

    def mix(self, batch: Batch, step: int) -> Batch:
        if self.memory_batches is None:
            return batch
        size = len(batch.labels)
        logit_batch = self.memory_batches.batch(step, size, at_centre=True, draw="logits")
        replay_batch, self.balance = self.memory_batches.batch(step, size), self.memory_batches.balance(step, size)
        return joined(joined(batch, logit_batch, self.tasks), replay_batch, self.tasks + len(self.logits))

    def loss(self, detector: Detector, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        if self.memory_batches is None:
            return super().loss(detector, batch, logits)
        logits, third = logits.float(), len(batch.labels) // 3
        distilled, rehearsed = slice(third, 2 * third), slice(2 * third, None)
        new = F.cross_entropy(logits[:third], batch.labels[:third])
        stored = self._kept_logits(batch.tasks[distilled] - self.tasks, batch.rows[distilled])
        distillation = F.mse_loss(logits[distilled], stored)
        replayed = (self.balance * F.cross_entropy(logits[rehearsed], batch.labels[rehearsed], reduction="none")).sum()
        return {"cross_entropy": new, "logits": distillation, "replay": replayed,
                "total": new + self.config.alpha * distillation + self.config.beta * replayed}

    def _kept_logits(self, tasks: Tensor, rows: Tensor) -> Tensor:
        assert self.memory_batches is not None
        stored = [self.logits[task] for task in self.memory_batches.memory.stores]
        firsts = torch.tensor([0, *(len(values) for values in stored)], device=tasks.device).cumsum(0)
        return torch.cat(stored)[firsts[tasks] + rows]

    @torch.no_grad()
    def remember(self, memory: Memory, detector: Detector, trainer: Trainer) -> None:
        """Store the logits of the pictures that are new in the memory."""
        keys, logits = {}, {}
        with evaluating(detector):
            for task, store in memory.stores.items():
                keys[task] = torch.tensor([derive(0, id) for id in store.ids])
                if task in self.keys:
                    rows = {key: row for row, key in enumerate(self.keys[task].tolist())}
                    logits[task] = self.logits[task][[rows[key] for key in keys[task].tolist()]]
                else:
                    outputs = [detector(batch.inputs).float()
                               for batch in trainer.examples({task: store}, detector, shared=True)]
                    empty = torch.zeros(0, 2, device=next(detector.parameters()).device)
                    logits[task] = trainer.gather(outputs, empty).clamp(-self.config.largest, self.config.largest)
        self.keys, self.logits = keys, logits

    def state_dict(self) -> dict[str, Tensor]:
        return {**{f"{KEYS}{task}": keys for task, keys in self.keys.items()},
                **{f"{LOGITS}{task}": logits for task, logits in self.logits.items()}}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.keys = {name.removeprefix(KEYS): value for name, value in state.items() if name.startswith(KEYS)}
        self.logits = {name.removeprefix(LOGITS): value for name, value in state.items() if name.startswith(LOGITS)}


def build(config: Config, seed: int) -> DarkExperience:
    """Return dark experience replay ++."""
    return DarkExperience(config)
