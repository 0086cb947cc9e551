"""Where in a picture a detector sees what speaks for fake: Grad-CAM, and the gradient of the input."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.types import FAKE, REAL
from fakemedia.evaluation.predict import evaluating
from fakemedia.networks.detector import Detector

POSITIONS = 7
"""Positions along a side that the feature map of Grad-CAM has at least, if the network has such a map: as many as the
last one has for pictures of 224 pixels. Smaller crops are explained by an earlier map."""
BLUR = 1 / 32
"""Standard deviation of the blur of input gradients, as a share of the picture's side."""

Maps = NDArray[np.float32]


def saliency(network: Detector, images: Tensor, method: str) -> Maps:
    """Return maps of what speaks for fake in uint8 images (N, 3, H, W), float32 (N, H, W), from 0 to 1 in each.

    A map is all 0 where nothing does. `method` is one of METHODS; see `method_of`. The network computes in float32, in
    eval mode; its weights, gradients and modes stay as they are.
    """
    device = next(network.parameters()).device
    with evaluating(network), torch.enable_grad():
        maps = METHODS[method](network, network.prepare(images.to(device)).requires_grad_())
    maps = maps.astype(np.float32)
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0)


def method_of(network: str) -> str:
    """Return the saliency method of a network: what its file says by `SALIENCY`, else `grad_cam`."""
    return plugin.constant("networks", network, "SALIENCY", "grad_cam")


def grad_cam(network: Detector, inputs: Tensor) -> NDArray[np.floating]:
    """Return the Grad-CAM of normalised inputs (N, 3, H, W), (N, H, W), at least 0.

    ReLU(sum over channels of a_k A_k), where a_k is the mean over positions of the derivative of z_fake - z_real by
    the feature map A_k (Selvaraju et al., ICCV 2017, Eq. 1 and 2), bilinearly enlarged. A is the last map with
    POSITIONS positions a side. UserError if the network has no feature map.
    """
    with _last_map(network.body) as found:
        margin = _margin(network, inputs)
    if not found:
        raise UserError("The network has no feature map for Grad-CAM", where=type(network.body).__name__,
                        expected="convolutions", do='say SALIENCY = "input_gradient" in the network\'s file')
    features = found[0]
    gradient, = torch.autograd.grad(margin, features)
    maps = F.relu((gradient.mean((2, 3), keepdim=True) * features).sum(1, keepdim=True))
    return F.interpolate(maps, inputs.shape[2:], mode="bilinear")[:, 0].detach().cpu().numpy()


def input_gradient(network: Detector, inputs: Tensor) -> NDArray[np.floating]:
    """Return how much z_fake - z_real changes with each pixel of normalised inputs (N, 3, H, W): (N, H, W), at least 0.

    The largest absolute derivative of the three channels (Simonyan et al. 2014, "Deep inside convolutional networks",
    Section 3.1), blurred by BLUR. For networks without feature maps, such as transformers.
    """
    gradient, = torch.autograd.grad(_margin(network, inputs), inputs)
    sharp = gradient.abs().amax(1).cpu().numpy()
    return gaussian_filter(sharp, BLUR * max(sharp.shape[1:]), axes=(1, 2))


METHODS: dict[str, Callable[[Detector, Tensor], NDArray[np.floating]]] = {
    "grad_cam": grad_cam, "input_gradient": input_gradient,
}


def _margin(network: Detector, inputs: Tensor) -> Tensor:
    logits = network(inputs)
    return (logits[:, FAKE] - logits[:, REAL]).sum()


@contextmanager
def _last_map(body: nn.Module) -> Iterator[list[Tensor]]:
    """Yield a list that holds, after a forward pass, the last map (N, C, h, w) with the most positions up to
    POSITIONS a side."""
    found: list[Tensor] = []

    def keep(_: nn.Module, __: tuple, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and _positions(output) > 1 and (
                not found or _positions(output) >= _positions(found[0])):
            found[:] = [output]

    hooks = [module.register_forward_hook(keep) for module in body.modules() if not list(module.children())]
    try:
        yield found
    finally:
        for hook in hooks:
            hook.remove()


def _positions(features: Tensor) -> int:
    return min(*features.shape[2:], POSITIONS)
