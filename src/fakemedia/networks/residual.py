"""The high-pass residual of pictures, where the traces of generators are.

The second difference along both axes passes the relations of neighbouring pixels and suppresses content (Fridrich and
Kodovsky 2012, "Rich models for steganalysis of digital images").
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """The second difference along both axes of each channel, (N, 3, H, W) -> (N, 3, H, W), scaled to order one.

    In float32 in any autocast: bfloat16 rounds normalised pixels by up to half a grey level, and the traces of
    generators are no larger.
    """

    kernel: Tensor

    def __init__(self) -> None:
        super().__init__()
        second = torch.tensor([1.0, -2.0, 1.0])
        self.register_buffer("kernel", 2.5 * torch.outer(second, second).repeat(3, 1, 1, 1), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return F.conv2d(F.pad(inputs, (1, 1, 1, 1), mode="reflect"), self.kernel, groups=3)


class EvenResidual(nn.Module):
    """The residual of each picture over its own root mean square: (N, 3, H, W) -> (N, 3, H, W).

    Contrast and texture of a picture then do not change the size of what a network of fixed weights sees. The result
    has the spread of ordinary pictures, a quarter of the range of intensities; six times as much is cut off.
    """

    def __init__(self, std: float) -> None:
        """Take inputs that are normalised by `std`, in units of intensities in [0, 1]."""
        super().__init__()
        self.residual = Residual()
        self.spread = 0.25 / std
        self.floor = 2.5 / (255 * std)
        """That of one grey level: the residual of a picture that is nearly even stays small."""

    def forward(self, inputs: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            residual = self.residual(inputs.float())
            size = residual.square().mean((1, 2, 3), keepdim=True).sqrt().clamp(min=self.floor)
            return (residual * (self.spread / size)).clamp(-6 * self.spread, 6 * self.spread)
