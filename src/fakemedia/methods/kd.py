"""Knowledge distillation: the network of the last stage teaches the one that learns this stage.

total = CE + w * [ alpha * T^2 * KL(teacher_T || student_T) + (1 - alpha) * CE ]

CE is the cross entropy with the labels, `teacher_T` and `student_T` are the class probabilities at temperature T
(Hinton, Vinyals and Dean 2015), and the weight w decreases when a stage stops improving (CoReD: Kim, Tariq and Woo
2021; Tassone, Maiano and Amerini 2024). The first stage has no teacher and is fine-tuning.

With `pictures`, as many pictures of earlier tasks as new ones pass through both networks too: they enter the mean of
KL, not the cross entropy, so that their labels are not used.
"""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from fakemedia.memory.budget import Budget
from fakemedia.memory.draws import MemoryBatches
from fakemedia.methods.method import GradientMethod, StageData
from fakemedia.methods.replay import joined, memory_batches
from fakemedia.networks.detector import Detector

if TYPE_CHECKING:
    from fakemedia.store.batches import Batch


@dataclass(frozen=True, kw_only=True)
class Config:
    """Weight and temperature of the teacher."""

    weight: float = 2.0
    """w at the start of every stage."""
    temperature: float = 2.0
    """T: above 1 it softens both sides; a large T compares differences of logits rather than decisions."""
    alpha: float = 1.0
    """Share of the teacher in the bracket; the rest repeats the cross entropy with the labels."""
    decay: float = 0.9
    """Factor on w after every `decay_after` validated epochs without improvement."""
    decay_after: int = 4
    """Validated epochs."""
    pictures: int = 0
    """Pictures of earlier tasks that are kept to distil on, all tasks together; 0: none, as in the paper."""

    def __post_init__(self) -> None:
        if not (self.weight >= 0 and 0 <= self.alpha <= 1 and 0 < self.decay <= 1):
            raise ValueError("weight of at least 0, alpha in [0, 1] and decay in (0, 1]")
        if not (self.temperature > 0 and self.decay_after >= 1):
            raise ValueError("temperature above 0 and decay_after of at least 1")
        if self.pictures < 0:
            raise ValueError("pictures of at least 0")


VERSION = 2
"""2: the weight decays by validated epochs alone."""
PRESETS = {"paper": {"weight": 1.0, "temperature": 20.0, "alpha": 0.5, "decay": 0.9, "decay_after": 4}}


def distillation(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 * KL(teacher_T || student_T), the mean over a batch of logits (N, C), as a scalar.

    T^2 keeps the size of the gradient independent of T (Hinton, Vinyals and Dean 2015, section 2).
    """
    divergence = F.kl_div(  # expects log q and p of KL(p || q), in this order
        F.log_softmax(student / temperature, dim=1), F.log_softmax(teacher / temperature, dim=1),
        reduction="batchmean", log_target=True,
    )
    return temperature**2 * divergence


class KnowledgeDistillation(GradientMethod):
    """Fine-tuning with the network of the last stage as the teacher."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.memory = Budget(pictures=config.pictures) if config.pictures else None
        self.memory_batches: MemoryBatches | None = None
        self.teacher: Detector | None = None
        self.weight = config.weight
        self.epochs_without_improvement = 0
        self.tasks = 0

    def before_stage(self, stage: StageData, detector: Detector) -> None:
        self.teacher = deepcopy(detector).eval().requires_grad_(False) if stage.index > 1 else None
        self.weight = self.config.weight
        self.epochs_without_improvement = 0
        self.memory_batches = memory_batches(stage, "kd") if self.memory is not None else None
        self.tasks = len(stage.tasks)

    def mix(self, batch: Batch, step: int) -> Batch:
        if self.memory_batches is None:
            return batch
        return joined(batch, self.memory_batches.batch(step, len(batch.labels)), self.tasks)

    def loss(self, detector: Detector, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        new = len(batch.labels) if self.memory_batches is None else len(batch.labels) // 2
        terms = {"total": F.cross_entropy(logits[:new].float(), batch.labels[:new])}
        if self.teacher is None:
            return terms
        with torch.inference_mode():
            teacher_logits = self.teacher(batch.inputs)
        cross_entropy = terms["total"]
        # The clone is an ordinary tensor: autograd refuses to keep those of inference mode.
        distilled = distillation(logits.float(), teacher_logits.clone().float(), self.config.temperature)
        bracket = self.config.alpha * distilled + (1 - self.config.alpha) * cross_entropy
        return {
            "cross_entropy": cross_entropy,
            "distillation": distilled,
            "total": cross_entropy + self.weight * bracket,
        }

    def after_epoch(self, *, validated: bool, improved: bool) -> None:
        if not validated:
            return
        self.epochs_without_improvement = 0 if improved else self.epochs_without_improvement + 1
        if self.epochs_without_improvement == self.config.decay_after:
            self.weight *= self.config.decay
            self.epochs_without_improvement = 0

    def state_dict(self) -> dict[str, Tensor]:
        return {
            "weight": torch.tensor(self.weight, dtype=torch.float64),
            "epochs_without_improvement": torch.tensor(self.epochs_without_improvement),
        }

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.weight = float(state["weight"])
        self.epochs_without_improvement = int(state["epochs_without_improvement"])


def build(config: Config, seed: int) -> KnowledgeDistillation:
    """Return knowledge distillation from the network of the last stage."""
    return KnowledgeDistillation(config)
