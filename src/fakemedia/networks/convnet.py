"""A small convolutional detector for the CPU, which sees the image and its high-pass residual.

Upsampling and blending leave their traces in the residual of neighbouring pixels (Fridrich and Kodovsky 2012 for the
kernel), transposed convolutions rather in the image itself, so the first convolution sees both.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fakemedia.networks.base import Detector, load_weights, seeded


@dataclass(frozen=True, kw_only=True)
class Config:
    """Size, and where the weights come from."""

    width: int = 16
    """Channels of the first layer; they double at every halving of the resolution."""
    depth: int = 7
    """Convolutions; every second one halves the resolution."""
    pretrained: str = "none"
    """"none", or the path of a weights file or checkpoint folder."""

    def __post_init__(self) -> None:
        if not (self.width >= 8 and self.width % 8 == 0 and self.depth >= 1):
            raise ValueError("width a multiple of 8 and depth of at least 1")


class Views(nn.Module):
    """Adds the second difference along both axes to the channels: (N, 3, H, W) -> (N, 6, H, W)."""

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        second = torch.tensor([1.0, -2.0, 1.0])
        self.register_buffer("kernel", torch.outer(second, second).expand(3, 1, 3, 3).clone(), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        residual = F.conv2d(F.pad(inputs, (1, 1, 1, 1), mode="replicate"), self.kernel, groups=3)
        return torch.cat([inputs, residual], dim=1)


def _body(width: int, depth: int) -> tuple[nn.Sequential, int]:
    layers: list[nn.Module] = [Views()]
    channels = 6
    for layer in range(depth):
        out = width * 2 ** (layer // 2)
        layers += [
            nn.Conv2d(channels, out, 3, stride=1 + layer % 2, padding=1, bias=False),
            nn.GroupNorm(out // 8, out),
            nn.ReLU(inplace=True),
        ]
        channels = out
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten()), channels


def build(config: Config, seed: int) -> Detector:
    """Return the network; UserError if `pretrained` is not of the same width and depth."""
    with seeded(seed):
        body, channels = _body(config.width, config.depth)
        network = Detector(body, channels, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    if config.pretrained != "none":
        load_weights(network, Path(config.pretrained))
    return network
