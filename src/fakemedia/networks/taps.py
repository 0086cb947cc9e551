"""Where the features of a network are read: at its pooled output, and in its blocks.

Traces of generators are visible in the middle of a network: statistics of each block's output contain them,
while the pooled output of a network made for content contains little of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor, nn

Taps = Literal["head", "early", "blocks", "both"]
"""`head`: the pooled output, (N, D); `blocks`: mean and standard deviation over the positions of each block's output;
`early`: those of the first half of the blocks; `both`: those of all blocks, then the pooled output."""
EPSILON = 1e-6
"""Added to variances under the root, whose derivative at 0 is not finite."""


@dataclass(frozen=True, kw_only=True)
class Blocks:
    """The blocks of a body, and the layout of their outputs."""

    names: tuple[str, ...]
    """Names of submodules of the body, in the order of the forward pass."""
    prefix_tokens: int = 0
    """Tokens before those of the positions, in outputs (N, tokens, C)."""
    channels_last: bool = False
    """Whether maps are (N, h, w, C) and not (N, C, h, w)."""

    @property
    def early(self) -> Blocks:
        """The first half of the blocks, the middle one included."""
        return replace(self, names=self.names[: (len(self.names) + 1) // 2])

    def statistics(self, output: Tensor) -> Tensor:
        """Return mean and standard deviation over positions of a block's output, float32 (N, 2 C)."""
        if output.ndim == 3:
            output, positions = output[:, self.prefix_tokens:], (1,)
        else:
            positions = (1, 2) if self.channels_last else (2, 3)
        # torch.var_mean takes twenty times as long in channels_last memory.
        output = output.float()
        mean = output.mean(positions, keepdim=True)
        variance = (output - mean).square().mean(positions)
        return torch.cat([mean.flatten(1), (variance + EPSILON).sqrt()], 1)


def block_statistics(body: nn.Module, blocks: Blocks, inputs: Tensor) -> list[Tensor]:
    """Return the statistics of each block for `inputs` (N, 3, H, W), float32 (N, 2 C).

    In evaluation mode the layers after the last of `blocks` are not computed; an exported graph loses them by itself.
    """
    statistics: list[Tensor] = []
    stops = not body.training and not torch.compiler.is_exporting()
    with _statistics_hooks(body, blocks, statistics, stops=stops), suppress(_Complete):
        body(inputs)
    return statistics


def statistics_and_output(body: nn.Module, blocks: Blocks, inputs: Tensor) -> tuple[list[Tensor], Tensor]:
    """Return the statistics of each block, and the output of `body`, (N, D), of one forward pass."""
    statistics: list[Tensor] = []
    with _statistics_hooks(body, blocks, statistics, stops=False):
        output = body(inputs)
    return statistics, output


class _Complete(Exception):
    """Ends a forward pass whose further layers are not needed."""


@contextmanager
def _statistics_hooks(body: nn.Module, blocks: Blocks, statistics: list[Tensor], *, stops: bool) -> Iterator[None]:
    """Append the statistics of each block to `statistics` in a forward pass; _Complete after the last if it `stops`."""
    def append_statistics(_: nn.Module, __: tuple, output: Tensor) -> None:
        statistics.append(blocks.statistics(output))
        if stops and len(statistics) == len(blocks.names):
            raise _Complete

    hooks = [body.get_submodule(name).register_forward_hook(append_statistics) for name in blocks.names]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
