"""Elastic weight consolidation: weights that mattered to earlier tasks are held near where the last stage left them.

total = CE + w * sum_k F_k (theta_k - theta*_k)^2

F is the diagonal of the empirical Fisher information, the mean over images of the squared gradient of log p(label),
measured on every task when it has been learned and added up; theta* are the weights that the last stage ended with
(Kirkpatrick et al. 2017, with the single anchor of Huszar 2018). The first stage is fine-tuning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fakemedia.core.errors import UserError
from fakemedia.core.types import Stage
from fakemedia.strategies.base import Strategy

if TYPE_CHECKING:
    from fakemedia.data.batches import Batch


@dataclass(frozen=True, kw_only=True)
class Config:
    """How strongly the weights are held, and how well their importance is measured."""

    weight: float = 1000.0
    """w; per-image Fisher information, so it does not compare with weights for the squared gradient of a batch mean."""
    fisher_images: int = 256
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
    the diagonal of the empirical Fisher information. One backward pass an image: on the CPU that is twice as fast as
    vmap over grad, whose convolutions become grouped ones.
    """
    network = deepcopy(network).float().eval()
    parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
    totals = [torch.zeros_like(parameter) for parameter in parameters]
    with torch.enable_grad(), torch.autocast(inputs.device.type, enabled=False):
        for image, label in zip(inputs.float(), labels, strict=True):
            surprise = F.cross_entropy(network(image[None]), label[None])
            for total, gradient in zip(totals, torch.autograd.grad(surprise, parameters), strict=True):
                total.addcmul_(gradient, gradient)
    return torch.cat([total.reshape(-1) for total in totals])


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
        self.anchor = anchor

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
        total, count = torch.zeros_like(flatten(network), dtype=torch.float32), 0
        for batch in batches:
            assert batch.inputs is not None
            inputs, labels = batch.inputs[: wanted - count], batch.labels[: wanted - count]
            total += fisher_diagonal(network, inputs, labels)
            count += len(labels)
            if count == wanted:
                break
        fisher = total * (len(stage.tasks) / count)
        self.fisher = fisher if self.fisher is None else self.fisher + fisher

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.fisher is None else {"fisher": self.fisher}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.fisher = state.get("fisher")


def build(config: Config, seed: int) -> ElasticWeightConsolidation:
    """Return elastic weight consolidation."""
    return ElasticWeightConsolidation(config)
