"""Saliency maps, the parts of a picture that indicate fake to a detector: Grad-CAM and input gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.ndimage import gaussian_filter
from torch import Tensor, nn

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.types import FAKE, REAL
from fakemedia.evaluation.predict import evaluating
from fakemedia.networks.detector import Detector

POSITIONS = 7
"""Smallest number of positions along a side of the feature map of Grad-CAM, if the network has such a map: that of the
last map for pictures of 224 pixels. Smaller crops are explained by an earlier map."""
BLUR = 1 / 32
"""Standard deviation of the blur of input gradients, as a share of the picture's side."""

Maps = NDArray[np.float32]


def saliency(network: Detector, images: Tensor, method: str) -> Maps:
    """Return maps of what indicates fake in uint8 images (N, 3, H, W), float32 (N, H, W), from 0 to 1 in each.

    A map is all 0 where nothing does. `method` is one of METHODS; see `method_of`. A network without feature maps is
    explained by `input_gradient`. The network computes in float32, in eval mode; its weights, gradients and modes are
    not changed.
    """
    method = method if network.maps else "input_gradient"
    device = next(network.parameters()).device
    with evaluating(network), torch.enable_grad():
        maps = METHODS[method](network, network.prepare(images.to(device)).requires_grad_())
    maps = maps.astype(np.float32)
    highest = maps.max(axis=(1, 2), keepdims=True)
    return np.divide(maps, highest, out=np.zeros_like(maps), where=highest > 0)


def method_of(network: str) -> str:
    """Return the saliency method of a network: its file's `SALIENCY`, else `grad_cam`."""
    return plugin.constant("networks", network, "SALIENCY", "grad_cam")


def grad_cam(network: Detector, inputs: Tensor) -> NDArray[np.floating]:
    """Return the Grad-CAM of normalised inputs (N, 3, H, W), (N, H, W), at least 0, by captum.

    ReLU(sum over channels of a_k A_k), where a_k is the mean over positions of the derivative of z_fake - z_real by
    the feature map A_k (Selvaraju et al., ICCV 2017, Eq. 1 and 2), bilinearly enlarged. A is the last map with
    POSITIONS positions a side. UserError if the network has no feature map.
    """
    from captum.attr import LayerAttribution, LayerGradCam  # takes half a second to import

    layer = last_map_layer(network, inputs[:1])
    if layer is None:
        raise UserError("The network has no feature map for Grad-CAM", where=type(network.body).__name__,
                        expected="convolutions", do='set SALIENCY = "input_gradient" in the network\'s file')
    maps = LayerGradCam(partial(_margins, network), layer).attribute(inputs, relu_attributions=True)
    enlarged = LayerAttribution.interpolate(cast("Tensor", maps), tuple(inputs.shape[2:]), "bilinear")
    return enlarged[:, 0].detach().cpu().numpy()


def input_gradient(network: Detector, inputs: Tensor) -> NDArray[np.floating]:
    """Return the gradient of z_fake - z_real by each pixel of normalised inputs (N, 3, H, W): (N, H, W), at least 0.

    The largest absolute derivative of the three channels (Simonyan et al. 2014, "Deep inside convolutional networks",
    Section 3.1), by captum, blurred by BLUR. For networks without feature maps, such as transformers.
    """
    from captum.attr import Saliency

    gradients = Saliency(partial(_margins, network)).attribute(inputs).amax(1).cpu().numpy()
    return gaussian_filter(gradients, BLUR * max(gradients.shape[1:]), axes=(1, 2))


METHODS: dict[str, Callable[[Detector, Tensor], NDArray[np.floating]]] = {
    "grad_cam": grad_cam, "input_gradient": input_gradient,
}


@torch.no_grad()
def last_map_layer(network: Detector, inputs: Tensor) -> nn.Module | None:
    """Return the layer whose output (N, C, h, w) is the last with the most positions a side, counted up to POSITIONS.

    None if no layer gives a map of more than one position a side for normalised `inputs` (N, 3, H, W).
    """
    best: nn.Module | None = None
    max_positions = 2

    def compare(layer: nn.Module, _: tuple, output: object) -> None:
        nonlocal best, max_positions
        if isinstance(output, Tensor) and output.ndim == 4 and _positions(output) >= max_positions:
            best, max_positions = layer, _positions(output)

    hooks = [layer.register_forward_hook(compare) for layer in network.body.modules() if not list(layer.children())]
    try:
        network(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    return best


def _margins(network: Detector, inputs: Tensor) -> Tensor:
    logits = network(inputs)
    return logits[:, FAKE] - logits[:, REAL]


def _positions(features: Tensor) -> int:
    return min(*features.shape[2:], POSITIONS)
