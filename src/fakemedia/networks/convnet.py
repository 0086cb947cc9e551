"""A small convolutional detector for the CPU, which only sees the high-pass residual of the image.

With the image itself as another input, so small a network learns the content of its few training photographs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from torch import nn

from fakemedia.networks.detector import Detector, HeadShape, seeded
from fakemedia.networks.residual import Residual
from fakemedia.networks.taps import Blocks, Taps
from fakemedia.networks.weights import load_weights

PRETRAINED = ("none",)
"""Values of `pretrained` that are no files."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Size and weights."""

    width: int = 16
    """Channels of the first two layers; every further two have twice as many, up to four times."""
    depth: int = 7
    """Convolutions; the first, third and fifth halve the resolution."""
    pretrained: str = "none"
    """"none", or the path of a weights file or checkpoint folder."""
    taps: Taps = "head"
    """What the head reads: `head` the pooled output, `blocks` mean and standard deviation of each layer, `early` those
    of the first half, or `both`: `blocks` and `head`."""
    head: Literal["linear", "mlp"] = "linear"
    """`mlp` has one hidden layer."""
    hidden: int = 128
    """Units of the hidden layer of an `mlp`."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1:
            raise ValueError("width and depth of at least 1")
        if self.hidden < 1:
            raise ValueError("hidden of at least 1")
        if self.pretrained in ("imagenet", "packaged"):
            raise ValueError("pretrained: none or a path; there are no published weights of convnet")


def _body(width: int, depth: int) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = [Residual()]
    channels = 3
    for layer in range(depth):
        out = width * 2 ** min(layer // 2, 2)
        stride = 2 if layer in (0, 2, 4) else 1
        layers += [nn.Conv2d(channels, out, 3, stride, padding=1, bias=False), nn.BatchNorm2d(out),
                   nn.ReLU(inplace=True)]
        channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels


def build(config: Config, seed: int) -> Detector:
    """Return the network; UserError if `pretrained` is not of the same width and depth."""
    with seeded(seed):
        body, channels = _body(config.width, config.depth)
        blocks = Blocks(names=tuple(name for name, layer in body.named_children() if isinstance(layer, nn.ReLU)))
        network = Detector(body, channels, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225), blocks=blocks,
                           head=HeadShape(taps=config.taps, head=config.head, hidden=config.hidden))
    if config.pretrained != "none":
        load_weights(network, Path(config.pretrained))
    return network
