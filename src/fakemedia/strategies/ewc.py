"""Elastic weight consolidation: weights that mattered to earlier tasks are held near where the last stage left them.

total = CE + w * sum_k F_k (theta_k - theta*_k)^2

F is the diagonal of the empirical Fisher information, the mean over images of the squared gradient of log p(label),
measured on every task when it has been learned and added up; theta* are the weights that the last stage ended with
(Kirkpatrick et al. 2017, with the single anchor of Huszar 2018). The first stage is fine-tuning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap

from fakemedia.core.errors import UserError
from fakemedia.core.types import Stage
from fakemedia.strategies.base import Strategy, frozen_copy

if TYPE_CHECKING:
    from fakemedia.data.batches import Batch

MAX_CHUNK = 64
"""Images whose gradients are taken at once, at most."""
MAX_GRADIENTS = 2**26
"""Gradient elements held at once, at most (256 MiB), but for a single image's."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """How strongly the weights are held, and how well their importance is measured."""

    weight: float = 1000.0
    """w; per-image Fisher information, so it does not compare with weights for the squared gradient of a batch mean."""
    fisher_images: int = 1000
    """Training images of every task that its Fisher information is measured on (fewer if it has fewer)."""

    def __post_init__(self) -> None:
        if not (self.weight >= 0 and self.fisher_images >= 1):
            raise ValueError("weight of at least 0 and fisher_images of at least 1")


PRESETS = {"paper": {"weight": 10.0, "fisher_images": 4 * 64}}


def flatten(network: nn.Module) -> Tensor:
    """Return the trainable parameters of `network` as one differentiable vector (P,)."""
    return torch.cat([parameter.reshape(-1) for parameter in network.parameters() if parameter.requires_grad])


def fisher_diagonal(network: nn.Module, inputs: Tensor, labels: Tensor) -> Tensor:
    """Return the summed squared gradients of log p(label | input), float32 (P,) in the order of `flatten`.

    `inputs` float (N, 3, H, W), `labels` int64 (N,); the network is used in eval mode and float32. Divided by N this is
    the diagonal of the empirical Fisher information.
    """
    trainable = {name: parameter.detach().float() for name, parameter in network.named_parameters()
                 if parameter.requires_grad}
    frozen = frozen_copy(network).float()

    def negative_log_likelihood(parameters: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = functional_call(frozen, parameters, (image[None],))
        return F.cross_entropy(logits, label[None])

    per_image = vmap(grad(negative_log_likelihood), in_dims=(None, 0, 0))
    size = sum(parameter.numel() for parameter in trainable.values())
    chunk = max(1, min(MAX_CHUNK, MAX_GRADIENTS // size))
    total = torch.zeros(size, device=inputs.device)
    with torch.autocast(inputs.device.type, enabled=False):
        for images, answers in zip(inputs.float().split(chunk), labels.split(chunk), strict=True):
            gradients = per_image(trainable, images, answers)
            total += torch.cat([gradient.square().sum(0).reshape(-1) for gradient in gradients.values()])
    return total


class ElasticWeightConsolidation(Strategy):
    """Fine-tuning with weights held by their importance to earlier tasks."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.fisher: Tensor | None = None
        self.anchor: Tensor | None = None

    def before_stage(self, stage: Stage, network: nn.Module) -> None:
        self.anchor = None
        if stage.index == 1:
            return
        if self.fisher is None:
            raise UserError(
                "The parent checkpoint holds no Fisher information of the earlier tasks",
                where=f"stage {stage.key}, method ewc", expected="a checkpoint that ewc made",
                do="train the earlier stages with ewc too",
            )
        anchor = flatten(network).detach().clone()
        if anchor.shape != self.fisher.shape:
            raise UserError(
                "The Fisher information is not of this network", where=f"stage {stage.key}, method ewc",
                expected=f"{anchor.numel()} values, one a trainable weight, found {self.fisher.numel()}",
            )
        self.anchor, self.fisher = anchor, self.fisher.to(anchor.device)

    def loss(self, network: nn.Module, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        terms = super().loss(network, batch, logits)
        if self.anchor is None or self.fisher is None:
            return terms
        moved = flatten(network) - self.anchor
        penalty = torch.dot(self.fisher * moved, moved)
        cross_entropy = terms["total"]
        return {"cross_entropy": cross_entropy, "penalty": penalty,
                "total": cross_entropy + self.config.weight * penalty}

    def after_stage(self, stage: Stage, network: nn.Module, batches: Iterable[Batch]) -> None:
        """Add the stage's Fisher information, taken on the first `fisher_images` images a task of `batches`.

        The tasks of a stage are balanced in its batches, so its sum over tasks is its mean times their number.
        """
        wanted = self.config.fisher_images * len(stage.tasks)
        total, count = torch.zeros(()), 0
        for batch in batches:
            inputs, labels = batch.inputs[: wanted - count], batch.labels[: wanted - count]
            total = total.to(inputs.device) + fisher_diagonal(network, inputs, labels)
            count += len(labels)
            if count == wanted:
                break
        fisher = total * (len(stage.tasks) / count)
        self.fisher = fisher if self.fisher is None else self.fisher.to(fisher.device) + fisher

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.fisher is None else {"fisher": self.fisher}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.fisher = state.get("fisher")
        if self.fisher is not None and self.anchor is not None:
            self.fisher = self.fisher.to(self.anchor.device)


def build(config: Config, seed: int) -> ElasticWeightConsolidation:
    """Return elastic weight consolidation."""
    return ElasticWeightConsolidation(config)
