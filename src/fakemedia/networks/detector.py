"""A detector is a feature extractor with a two-way head."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fakemedia.core.errors import UserError
from fakemedia.core.rng import derive
from fakemedia.networks.taps import Blocks, Taps, block_statistics, statistics_and_output


@dataclass(frozen=True, kw_only=True)
class HeadShape:
    """Input and kind of the head."""

    taps: Taps = "head"
    head: Literal["linear", "mlp"] = "linear"
    """`mlp`: one hidden layer with ReLU."""
    hidden: int = 128
    """Units of the hidden layer."""


class Detector(nn.Module):
    """Classifies images as real (class 0) or fake (class 1).

    `front`, without weights, changes normalised inputs (N, 3, H, W) if the network needs that; `body` maps them to its
    pooled output. `head` maps features (N, D), read from the body at `taps`, to logits (N, 2).
    """

    mean: Tensor
    std: Tensor
    feature_mean: Tensor | None
    feature_scale: Tensor | None
    correction: Tensor | None
    maps = True
    """Whether the body ends in feature maps (N, C, h, w), as convolutions do and transformers do not."""
    frozen = False
    """Whether the body stays in evaluation mode in training too (see `networks.tuning`)."""
    keeps_statistics = False
    """Whether batch normalisation keeps its running statistics in training too, and normalises by them."""

    def __init__(self, body: nn.Module, width: int, *, mean: Sequence[float], std: Sequence[float],
                 blocks: Blocks | None = None, head: HeadShape | None = None, side: int = 64,
                 front: nn.Module | None = None) -> None:
        """Wrap `body`, whose pooled output has `width` numbers; `mean` and `std` per channel, of intensities in [0, 1].

        `blocks` are needed for taps of blocks; `side` is that of inputs that the body accepts, pixels; `front` changes
        normalised inputs before the body sees them. The head, linear by default, is drawn from torch's global
        generator. UserError for taps of blocks where there are none.
        """
        super().__init__()
        head = head or HeadShape()
        self.front = front or nn.Identity()
        self.body = body
        self.blocks = blocks or Blocks(names=())
        self.taps: Taps = head.taps
        if head.taps != "head":
            if not self.blocks.names:
                raise UserError(f"The network {type(body).__name__} has no blocks", where="network.taps",
                                expected="taps: head")
            width = self._width(side)
        self.head: nn.Module = nn.Linear(width, 2) if head.head == "linear" else nn.Sequential(
            nn.Linear(width, head.hidden), nn.ReLU(), nn.Linear(head.hidden, 2))
        self.width = width
        """D, the numbers of `features`."""
        # Where set, (D,), the head sees (features - feature_mean) * feature_scale.
        self.register_buffer("feature_mean", None)
        self.register_buffer("feature_scale", None)
        # Where set, (2,): the log-odds d = z_fake - z_real become correction[0] d + correction[1].
        self.register_buffer("correction", None)
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def train(self, mode: bool = True) -> Detector:
        """Put the network in training mode, except for a frozen body and for statistics that are kept."""
        super().train(mode)
        if self.frozen:
            self.body.eval()
        if self.keeps_statistics:
            for layer in self.modules():
                if isinstance(layer, _BatchNorm):
                    layer.eval()
        return self

    def prepare(self, images: Tensor) -> Tensor:
        """Return uint8 images (N, 3, H, W) normalised to float32, in the same memory format."""
        return images.float().sub_(255 * self.mean).div_(255 * self.std)

    def features(self, inputs: Tensor, taps: Taps | None = None) -> Tensor:
        """Return the features (N, D) of normalised inputs (N, 3, H, W), of other `taps` if given."""
        taps, inputs = taps or self.taps, self.front(inputs)
        if taps == "head":
            return self.body(inputs)
        if taps == "both":
            statistics, pooled = statistics_and_output(self.body, self.blocks, inputs)
            return torch.cat([*statistics, pooled.float()], 1)
        return torch.cat(block_statistics(self.body, self.blocks.early if taps == "early" else self.blocks, inputs), 1)

    def forward(self, inputs: Tensor) -> Tensor:
        """Return the logits (N, 2) of normalised inputs (N, 3, H, W); the head computes in float32 in any autocast."""
        return self.classify(self.features(inputs))

    def classify(self, features: Tensor) -> Tensor:
        """Return the logits (N, 2) of features (N, D), in float32 in any autocast."""
        kind = features.device.type
        with torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext():
            logits = self.head(self.standardised(features.float()))
            if self.correction is None:
                return logits
            scale, offset = self.correction
            return torch.stack([scale * logits[:, 0], scale * logits[:, 1] + offset], 1)

    def standardised(self, features: Tensor) -> Tensor:
        """Return features (..., D), float32, as the head sees them."""
        if self.feature_mean is None or self.feature_scale is None:
            return features
        return (features - self.feature_mean) * self.feature_scale

    def make_room(self, weights: Mapping[str, Tensor]) -> None:
        """Allocate the buffers of the standardisation and of the correction that `weights`, a state dict, has."""
        for name in ("feature_mean", "feature_scale", "correction"):
            if name in weights:
                setattr(self, name, torch.empty_like(weights[name]))

    @torch.no_grad()
    def _width(self, side: int) -> int:
        """Return the number of features, by one forward pass in evaluation mode."""
        training = self.body.training
        self.body.eval()
        width = self.features(torch.zeros(1, 3, side, side)).shape[1]
        self.body.train(training)
        return width


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draw initial weights (on the CPU) from `seed`; the global generator is not changed."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(derive(seed, "weights"))
        yield
