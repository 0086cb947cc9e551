"""`fisher`: Task2Vec-style distance between the diagonal Fisher information of two tasks.

Formula: a linear probe on the frozen features gives the logit z(x) of fake. For every filter c (output channel of a
convolution or linear layer of the network), F_c = mean over images of p (1 - p) (dz / dg_c)^2, with p = sigmoid(z) and
g_c a gain on that channel: the exact Fisher information of the gain, as the label has two values.
d(a, b) = 1 - cos(F_a / (F_a + F_b), F_b / (F_a + F_b)).
Source: Achille et al., "Task2Vec: task embedding for meta-learning" (ICCV 2019), whose symmetric distance this is; they
average the Fisher information of a filter's weights, we take that of its gain, which needs one backward pass a batch
instead of one an image (as Theis et al. 2018 do for pruning).
Range: [0, 1]. Cost: a forward and a backward pass for at most `images` images a task; pairs are free.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fakemedia.similarity.measure import Measure, TaskSample, network_inputs, require_network
from fakemedia.similarity.probe import Probe, fit_probe

PENALTY = 1.0
"""L2 penalty on the probe's weights: strong, so that p (1 - p) does not vanish where a task is easy."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Number of images."""

    images: int = 128
    """Images per task, at most: those at even steps along the probe's logit."""

    def __post_init__(self) -> None:
        if self.images < 2:
            raise ValueError("images of at least 2")


@contextmanager
def _channel_gains(network: nn.Module, gains: list[Tensor]) -> Iterator[None]:
    """Multiply the output of every convolution and linear layer by gains of 1, (N, channels), collected in `gains`."""

    def multiply(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        axis = 1 if isinstance(module, nn.Conv2d) else output.ndim - 1
        shape = [size if i in (0, axis) else 1 for i, size in enumerate(output.shape)]
        gains.append(torch.ones(shape, device=output.device, dtype=output.dtype, requires_grad=True))
        return output * gains[-1]

    layers = [module for module in network.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]
    handles = [layer.register_forward_hook(multiply) for layer in layers]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def gain_fisher(network: Any, images: NDArray[np.uint8], probe: Probe) -> NDArray[np.float64]:
    """Return the Fisher information of all channel gains, float64 (channels,); images uint8 (N, H, W, 3)."""
    training = network.training
    network.eval()
    total: Tensor | float = 0.0
    gains: list[Tensor] = []
    try:
        with _channel_gains(network, gains):
            for inputs in network_inputs(network, images):
                gains.clear()
                features = network.features(inputs)
                weight = torch.as_tensor(probe.weight, dtype=features.dtype, device=features.device)
                logits = features @ weight + probe.bias
                slopes = torch.autograd.grad(logits.sum(), gains)
                chance = torch.sigmoid(logits.detach().double())
                flat = torch.cat([slope.flatten(1) for slope in slopes], dim=1).double()
                total = total + ((chance * (1 - chance))[:, None] * flat.square()).sum(dim=0).cpu()
    finally:
        network.train(training)
    return np.asarray(total) / len(images)


def task2vec_distance(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    """Return 1 - cosine of (channels,) embeddings, each divided by their sum; channels 0 in both drop out."""
    total = a + b
    nonzero = total > 0
    if not nonzero.any():
        return 0.0
    x, y = a[nonzero] / total[nonzero], b[nonzero] / total[nonzero]
    return max(0.0, 1 - float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y))))


def build(config: Config) -> Measure:
    """Return the measure; it reads the images that `Config.images` allows, independently of their order."""

    def summarise(sample: TaskSample) -> NDArray[np.float64]:
        probe = fit_probe(sample.features, sample.labels, PENALTY)
        ranked = np.argsort(probe.logits(sample.features), kind="stable")
        steps = np.linspace(0, len(ranked) - 1, min(config.images, len(ranked))).round().astype(np.int64)
        return gain_fisher(require_network(sample), sample.images[ranked[steps]], probe)

    return Measure(summarise=summarise, distance=task2vec_distance, reads="features", min_images=8)
