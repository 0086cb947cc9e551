"""Which weights are trained: freezing, low-rank updates, and weight decay."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from fakemedia.core.errors import UserError
from fakemedia.core.tune import Tune
from fakemedia.networks.detector import Detector, seeded

ATTENTION = ("qkv", "q", "k", "v", "q_proj", "k_proj", "v_proj", "kv", "proj")
"""Names of the linear layers of an attention module."""


def tune(detector: Detector, tuning: Tune, seed: int = 0) -> Detector:
    """Freeze all weights of `detector` but those of `tuning`, and return it; the head is always trained.

    The body of `head` and `lora` stays in evaluation mode, so that its batch-norm statistics do not change; `norm`
    updates them as `all` does. `lora` adds the update W + alpha / r B A to the weights W (Hu et al. 2022, Section 4.1),
    with A drawn from `seed` and B = 0: the network computes the same as before. `merge` makes them plain weights again.

    UserError if the network has no normalisation layers, or no layers for low-rank updates.
    """
    merge(detector)
    detector.requires_grad_(True)
    detector.frozen = tuning.kind in ("head", "lora")
    if tuning.kind == "all":
        return detector.train(detector.training)
    detector.body.requires_grad_(False)
    if tuning.kind == "norm":
        norm_weights = [weight for layer in norm_layers(detector.body) for weight in layer.parameters(recurse=False)]
        if not norm_weights:
            raise _missing_layers(detector, "normalisation layers with weights", "norm")
        for weight in norm_weights:
            weight.requires_grad_(True)
    if tuning.kind == "lora":
        layers = list(low_rank_layers(detector.body))
        if not layers:
            raise _missing_layers(detector, "attention or 1x1 convolutions", "lora")
        with seeded(seed):
            for layer in layers:
                parametrize.register_parametrization(layer, "weight", LowRank(layer.weight, tuning.rank, tuning.alpha))
    return detector.train(detector.training)


class LowRank(nn.Module):
    """The weight W plus alpha / r B A, for W (out, in) or (out, in, 1, 1)."""

    def __init__(self, weight: Tensor, rank: int, alpha: float) -> None:
        """Draw A (r, in) as for a linear layer; B (out, r) is 0."""
        super().__init__()
        out, inputs = weight.shape[:2]
        down = torch.empty(rank, inputs)
        nn.init.kaiming_uniform_(down, a=math.sqrt(5))
        self.down = nn.Parameter(down.to(weight.device))
        self.up = nn.Parameter(torch.zeros(out, rank, device=weight.device))
        self.scale = alpha / rank

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight with its update, in the shape of `weight`."""
        return weight + (self.scale * self.up @ self.down).view(weight.shape)


def merge(detector: Detector) -> Detector:
    """Add the low-rank updates of `detector` to its weights, in place, and return it: an ordinary network again."""
    for layer in list(detector.body.modules()):
        if parametrize.is_parametrized(layer, "weight"):
            parametrize.remove_parametrizations(layer, "weight", leave_parametrized=True)
    return detector


def norm_layers(body: nn.Module) -> Iterator[nn.Module]:
    """Yield the normalisation layers of `body`: those whose class has such a name (BatchNormAct2d, LayerNorm, ...)."""
    return (layer for layer in body.modules() if "norm" in type(layer).__name__.lower())


def low_rank_layers(body: nn.Module) -> Iterator[Any]:
    """Yield the layers of `body` that get low-rank updates: linear ones of attention, and 1x1 convolutions."""
    for layer in body.modules():
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1) and layer.groups == 1:
            yield layer
        if "attention" in type(layer).__name__.lower():
            yield from (child for name, child in layer.named_children()
                        if name in ATTENTION and isinstance(child, nn.Linear))


def parameter_groups(detector: Detector, weight_decay: float) -> list[dict[str, Any]]:
    """Return the trained parameters in groups for an optimiser: no decay for norms, biases and position embeddings.

    As timm.optim.param_groups_weight_decay does, which takes seconds to import.
    """
    exempt: Callable[[], set[str]] = getattr(detector.body, "no_weight_decay", set)
    names = {f"body.{name}" for name in exempt()}
    plain, decayed = [], []
    for name, weight in detector.named_parameters():
        if weight.requires_grad:
            (plain if weight.ndim <= 1 or name.endswith(".bias") or name in names else decayed).append(weight)
    groups = [{"params": plain, "weight_decay": 0.0}, {"params": decayed, "weight_decay": weight_decay}]
    return [group for group in groups if group["params"]]


def _missing_layers(detector: Detector, layers: str, kind: str) -> UserError:
    return UserError(f"The network {type(detector.body).__name__} has no {layers}", where=f"tune: {kind}",
                     expected=f"a network with {layers}", do="use tune: all or tune: head, or another network")
