"""The running statistics of batch normalisation: kept, or measured again."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from fakemedia.networks.detector import Detector
from fakemedia.runtime.modes import evaluating


@torch.no_grad()
def measure_statistics(detector: Detector, batches: Iterable[Tensor], *,
                       total: Callable[[Tensor], Tensor] | None = None) -> None:
    """Measure the running statistics of batch normalisation as the mean over `batches`, unless the body is frozen.

    `batches` are normalised inputs (N, 3, H, W). Nothing is read if there is nothing to measure. `total` returns the
    sum of a tensor over processes, where each gives some of the batches; they all end with the mean over all.
    """
    layers = [] if detector.frozen else [layer for layer in detector.modules() if isinstance(layer, _BatchNorm)
                                         and layer.track_running_stats]
    if not layers:
        return
    momenta = [layer.momentum for layer in layers]
    with evaluating(detector):
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # pyright: ignore[reportAttributeAccessIssue]  # the mean over all batches
            layer.train()
        for inputs in batches:
            detector(inputs)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        if total is not None:
            _combine(layer, total)


def _combine(layer: _BatchNorm, total: Callable[[Tensor], Tensor]) -> None:
    """Replace the means over the batches of each process by those over all."""
    assert layer.num_batches_tracked is not None
    count = layer.num_batches_tracked.clone()
    batches = total(count.clone())
    for statistic in (layer.running_mean, layer.running_var):
        assert statistic is not None
        statistic.copy_(total(statistic.double() * count) / batches)
    layer.num_batches_tracked.copy_(batches)
