"""Elastic weight consolidation: weights that matter to earlier tasks are held near their values after the last stage.

total = CE + w * sum_k F_k (theta_k - theta*_k)^2

F is the diagonal of the empirical Fisher information, the mean over images of the squared gradient of log p(label),
measured on every task after it has been learned, and summed; theta* are the final weights of the last stage
(Kirkpatrick et al. 2017, with the single anchor of Huszar 2018). The first stage is fine-tuning.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import Tensor, _foreach_mul, _foreach_mul_, _foreach_norm, _foreach_sub, nn  # pyright: ignore

from fakemedia.core.errors import UserError
from fakemedia.methods.method import GradientMethod, StageData
from fakemedia.networks.detector import Detector

if TYPE_CHECKING:
    from fakemedia.store.batches import Batch


@dataclass(frozen=True, kw_only=True)
class Config:
    """Strength of the penalty, and how the importance of weights is measured."""

    weight: float = 1000.0
    """w, for per-image Fisher information: not comparable with weights for the squared gradient of a batch mean."""
    fisher_images: int = 256
    """Training images of every task that its Fisher information is measured on (fewer if it has fewer)."""
    gamma: float = 1.0
    """Factor on what earlier stages left when a stage adds its own: below 1, older tasks count less (online EWC,
    Schwarz et al. 2018)."""

    def __post_init__(self) -> None:
        if not (self.weight >= 0 and self.fisher_images >= 1 and 0 <= self.gamma <= 1):
            raise ValueError("weight of at least 0, fisher_images of at least 1 and gamma in [0, 1]")


HOLDS_WEIGHTS = True
PRESETS = {"paper": {"weight": 10.0, "fisher_images": 4 * 64}}


def _trainable(network: nn.Module) -> dict[str, nn.Parameter]:
    return {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}


def fisher_diagonal(network: nn.Module, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
    """Return the squared gradients of log p(label | input) summed over images, float32, by trainable parameter.

    `inputs` float (N, 3, H, W), `labels` int64 (N,); the network is used in eval mode and float32. Divided by N this is
    the diagonal of the empirical Fisher information. One backward pass per image: on the CPU that is twice as fast as
    vmap over grad, whose convolutions become grouped ones.
    """
    network = deepcopy(network).float().eval()
    parameters = _trainable(network)
    totals = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
    with torch.enable_grad(), torch.autocast(inputs.device.type, enabled=False):
        for image, label in zip(inputs.float(), labels, strict=True):
            log_loss = F.cross_entropy(network(image[None]), label[None])
            gradients = torch.autograd.grad(log_loss, list(parameters.values()))
            for total, gradient in zip(totals.values(), gradients, strict=True):
                total.addcmul_(gradient, gradient)
    return totals


class QuadraticPenalty(torch.autograd.Function):
    """sum_k F_k (theta_k - theta*_k)^2 over lists of tensors, by a few kernels for any number of tensors.

    Autograd would go through every parameter's difference, product and sum one by one, twice.
    """

    @staticmethod
    def forward(ctx: Any, fisher: list[Tensor], anchor: list[Tensor], *parameters: Tensor) -> Tensor:
        differences = _foreach_sub(parameters, anchor)
        weighted = _foreach_mul(fisher, differences)
        ctx.weighted = weighted
        return _products(differences, weighted)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        weighted = ctx.weighted
        del ctx.weighted  # becomes the gradient: a second backward pass has none
        _foreach_mul_(weighted, 2 * gradients[0])
        return (None, None, *weighted)


def _products(first: tuple[Tensor, ...], second: tuple[Tensor, ...]) -> Tensor:
    """Return the sum of the elementwise products, none of which is negative; `ones` are overwritten on a GPU."""
    if first[0].device.type == "cpu":  # reads both once and writes nothing: a quarter less time for the penalty
        return torch.stack([torch.dot(_flat(a), _flat(b)) for a, b in zip(first, second, strict=True)]).sum()
    _foreach_mul_(first, second)
    return torch.stack(_foreach_norm(first, 1)).sum()


def _flat(tensor: Tensor) -> Tensor:
    """Return a dense tensor's values, (numel,), in the order of its memory."""
    return tensor.as_strided((tensor.numel(),), (1,))


class ElasticWeightConsolidation(GradientMethod):
    """Fine-tuning with weights held by their importance to earlier tasks."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.fisher: dict[str, Tensor] = {}
        self.importance: list[Tensor] = []
        self.anchor: list[Tensor] = []

    def before_stage(self, stage: StageData, detector: Detector) -> None:
        if stage.index == 1:
            return
        parameters = _trainable(detector)
        if not self.fisher:
            raise UserError(
                "The parent checkpoint holds no Fisher information of the earlier tasks",
                where=f"stage {stage.key}, method ewc", expected="a checkpoint that ewc made",
                do="train the earlier stages with ewc too",
            )
        for name in parameters | self.fisher:
            if name not in parameters or name not in self.fisher or parameters[name].shape != self.fisher[name].shape:
                raise UserError(f"The Fisher information is of another network: {name} differs",
                                where=f"stage {stage.key}, method ewc", expected="one value a trainable weight",
                                do="start from a checkpoint that ewc made with this network")
        self.anchor = [parameter.detach().clone() for parameter in parameters.values()]
        # In the memory layout of the parameters, which a stored state does not keep.
        self.importance = [torch.empty_like(parameter).copy_(self.fisher[name])
                           for name, parameter in zip(parameters, self.anchor, strict=True)]

    def loss(self, detector: Detector, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        terms = super().loss(detector, batch, logits)
        if not self.anchor:
            return terms
        cross_entropy = terms["total"]
        distance = QuadraticPenalty.apply(self.importance, self.anchor, *_trainable(detector).values())
        penalty = self.config.weight * distance
        return {"cross_entropy": cross_entropy, "penalty": penalty, "total": cross_entropy + penalty}

    def after_stage(self, stage: StageData, detector: Detector, batches: Iterable[Batch]) -> None:
        """Add the stage's Fisher information, measured on the first `fisher_images` images per task of `batches`.

        The tasks of a stage are balanced in its batches, so its sum over tasks is its mean times their number.
        """
        limit, count = self.config.fisher_images * len(stage.tasks), 0
        totals = {name: torch.zeros_like(parameter, dtype=torch.float32)
                  for name, parameter in _trainable(detector).items()}
        for batch in batches:
            assert batch.inputs is not None
            inputs, labels = batch.inputs[: limit - count], batch.labels[: limit - count]
            for name, squares in fisher_diagonal(detector, inputs, labels).items():
                totals[name] += squares
            count += len(labels)
            if count == limit:
                break
        for name, total in totals.items():
            fisher = total * (len(stage.tasks) / count)
            self.fisher[name] = self.config.gamma * self.fisher[name] + fisher if name in self.fisher else fisher

    def state_dict(self) -> dict[str, Tensor]:
        return {name: fisher.contiguous() for name, fisher in self.fisher.items()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.fisher = dict(state)


def build(config: Config, seed: int) -> ElasticWeightConsolidation:
    """Return elastic weight consolidation."""
    return ElasticWeightConsolidation(config)
