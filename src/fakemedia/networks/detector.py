"""A detector is a feature extractor with a two-way head."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from fakemedia.core.rng import derive


class Detector(nn.Module):
    """Tells real (class 0) from fake (class 1) images.

    `body` maps normalised inputs (N, 3, H, W) to pooled features (N, D), `head` those to logits (N, 2).
    """

    mean: Tensor
    std: Tensor
    maps = True
    """Whether the body ends in feature maps (N, C, h, w), as convolutions do and transformers do not."""

    def __init__(self, body: nn.Module, width: int, *, mean: Sequence[float], std: Sequence[float]) -> None:
        """Wrap `body`, which gives `width` = D features; `mean` and `std` a channel, of intensities in [0, 1]."""
        super().__init__()
        self.body = body
        self.head = nn.Linear(width, 2)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def prepare(self, images: Tensor) -> Tensor:
        """Return uint8 images (N, 3, H, W) normalised to float32, in the same memory format."""
        return images.float().sub_(255 * self.mean).div_(255 * self.std)

    def features(self, inputs: Tensor) -> Tensor:
        """Return the features (N, D) of normalised inputs (N, 3, H, W)."""
        return self.body(inputs)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (N, 2) of normalised inputs (N, 3, H, W); the head computes in float32 in any autocast."""
        features = self.features(inputs)
        with torch.autocast(features.device.type, enabled=False):
            return self.head(features.float())


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights (on the CPU) from `seed`; the global generator is left as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "weights"))
        yield
