"""What a continual-learning method can do to the training of a stage; fine-tuning does nothing to it.

The loop calls, in this order: `load_state_dict` with the state of the parent checkpoint (but at the first stage) and
`before_stage`; after an interruption `load_state_dict` once more with the interrupted state; for every step `mix`,
`loss` and `after_backward`; `after_epoch`; and once `after_stage`. A method never calls backward, step, `.to(device)`
on the network or a logger, and leaves the network's parameters, mode and `requires_grad` alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch.nn.functional as F
from torch import Tensor, nn

from fakemedia.core.types import Stage

if TYPE_CHECKING:
    from fakemedia.store.batches import Batch


class Strategy:
    """Plain fine-tuning; a method overrides what it changes."""

    def before_stage(self, stage: Stage, network: nn.Module) -> None:
        """Prepare for `stage`; `network`, on its device, holds the weights that the last stage ended with."""

    def mix(self, batch: Batch) -> Batch:
        """Return the batch to learn from, e.g. with replayed images added."""
        return batch

    def loss(self, network: nn.Module, batch: Batch, logits: Tensor) -> dict[str, Tensor]:
        """Return the terms of the loss: float32 scalars by name, the one to minimise under "total".

        `batch.inputs` is what the network saw, float (N, 3, H, W); `batch.labels` int64 (N,); `logits` (N, 2).
        """
        return {"total": F.cross_entropy(logits.float(), batch.labels)}

    def after_backward(self, network: nn.Module) -> None:
        """Change the gradients before the optimizer's step."""

    def after_epoch(self, improved: bool) -> None:
        """Take note of an epoch; `improved` tells whether its validation accuracy is the stage's best so far."""

    def after_stage(self, stage: Stage, network: nn.Module, batches: Iterable[Batch]) -> None:
        """Keep what later stages need; `network` ends the stage, `batches` are training batches with `inputs` set."""

    def state_dict(self) -> dict[str, Tensor]:
        """Return what must travel to the next stage or survive an interruption."""
        return {}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Restore what `state_dict` returned, on the network's device."""
