"""Synaptic intelligence: weights are held by how much they reduced the loss of earlier tasks during training.

total = CE + c * sum_k Omega_k (theta_k - theta*_k)^2
Omega_k = sum over stages of max(0, w_k) / ((theta_k at the end - at the start)^2 + xi),    w_k = - sum of g_k dtheta_k

g is the gradient of a step's loss and dtheta the change of the step (Zenke, Poole and Ganguli 2017, equations 3 to 5).
The first stage is fine-tuning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from fakemedia.methods.average import trained
from fakemedia.methods.method import GradientMethod, StageData
from fakemedia.networks.detector import Detector

if TYPE_CHECKING:
    from fakemedia.store.batches import Batch

HOLDS_WEIGHTS = True
PATH, IMPORTANCE = "path.", "importance."


@dataclass(frozen=True, kw_only=True)
class Config:
    """Strength of the penalty."""

    weight: float = 0.1
    """c (Zenke et al. 2017)."""
    damping: float = 0.1
    """xi, squared change of a weight (Zenke et al. 2017)."""

    def __post_init__(self) -> None:
        if not (self.weight >= 0 and self.damping > 0):
            raise ValueError("weight of at least 0 and damping above 0")


class SynapticIntelligence(GradientMethod):
    """Fine-tuning with weights held by their contribution to earlier tasks."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.importance: dict[str, Tensor] = {}
        self.path: dict[str, Tensor] = {}
        self.anchor: dict[str, Tensor] = {}
        self.last: dict[str, Tensor] = {}

    def before_stage(self, stage: StageData, detector: Detector) -> None:
        self.anchor = trained(detector)
        self.path = {name: torch.zeros_like(weight) for name, weight in self.anchor.items()}

    def loss(self, detector: Detector, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        terms = super().loss(detector, batch, logits)
        if not self.importance:
            return terms
        weights = dict(detector.named_parameters())
        distance = torch.stack([(importance * (weights[name] - self.anchor[name]).square()).sum()
                                for name, importance in self.importance.items() if name in self.anchor]).sum()
        penalty = self.config.weight * distance
        return {"cross_entropy": terms["total"], "penalty": penalty, "total": terms["total"] + penalty}

    def after_backward(self, detector: Detector) -> None:
        self.last = trained(detector)

    @torch.no_grad()
    def after_step(self, detector: Detector) -> None:
        for name, weight in detector.named_parameters():
            if name in self.last and name in self.path and weight.grad is not None:
                self.path[name] -= weight.grad * (weight - self.last[name])

    @torch.no_grad()
    def after_stage(self, stage: StageData, detector: Detector, batches: Iterable[Batch]) -> None:
        weights = dict(detector.named_parameters())
        for name, path in self.path.items():
            squared_change = (weights[name] - self.anchor[name]).square()
            importance = path.clamp(min=0) / (squared_change + self.config.damping)
            self.importance[name] = self.importance[name] + importance if name in self.importance else importance
        self.path = {}

    def state_dict(self) -> dict[str, Tensor]:
        return {**{f"{IMPORTANCE}{name}": value for name, value in self.importance.items()},
                **{f"{PATH}{name}": value for name, value in self.path.items()}}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.importance = {name.removeprefix(IMPORTANCE): value for name, value in state.items()
                           if name.startswith(IMPORTANCE)}
        self.path = {name.removeprefix(PATH): value for name, value in state.items() if name.startswith(PATH)}


def build(config: Config, seed: int) -> SynapticIntelligence:
    """Return synaptic intelligence."""
    return SynapticIntelligence(config)
