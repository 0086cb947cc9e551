"""Sums over features that closed-form heads are solved from; every class of every task has the same weight.

The sums of two sets of tasks add up to those of all, so a sequence ends with the result of joint training, and a task
can be removed again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from fakemedia.core.types import FAKE, REAL
from fakemedia.methods.method import Trainer
from fakemedia.networks.detector import Detector
from fakemedia.runtime.modes import evaluating
from fakemedia.store.batches import Batch
from fakemedia.store.pixels import PixelStore


@dataclass(frozen=True)
class Moments:
    """Sums over cells, the classes of tasks; float64."""

    cells: Tensor
    """Cells of each class, (2,)."""
    means: Tensor
    """Sums of the cells' means, (2, D)."""
    scatter: Tensor
    """Sum of the cells' mean outer products, (D, D): raw, or of features centred on their cell's mean."""

    def plus(self, other: Moments, sign: float = 1.0) -> Moments:
        """Return the sums of both, or without `other` where `sign` is -1."""
        return Moments(self.cells + sign * other.cells, self.means + sign * other.means,
                       self.scatter + sign * other.scatter)

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums as tensors; half of the symmetric one."""
        size = len(self.scatter)
        half = self.scatter[tuple(torch.tril_indices(size, size, device=self.scatter.device))]
        return {"cells": self.cells, "means": self.means, "scatter": half}

    @classmethod
    def load(cls, state: Mapping[str, Tensor]) -> Moments:
        """Return the sums that `state_dict` returned."""
        size = state["means"].shape[1]
        scatter = state["scatter"].new_zeros(size, size)
        scatter[tuple(torch.tril_indices(size, size, device=scatter.device))] = state["scatter"]
        return cls(state["cells"], state["means"], scatter + scatter.tril(-1).T)


@torch.no_grad()
def moments(features: Tensor, labels: Tensor, *, centred: bool = False) -> Moments:
    """Return the sums over the pictures of one task: `features` (N, D), `labels` (N,)."""
    values = features.double()
    size = values.shape[1]
    cells, means, scatter = values.new_zeros(2), values.new_zeros(2, size), values.new_zeros(size, size)
    for label in (REAL, FAKE):
        mine = values[labels == label]
        if not len(mine):
            continue
        cells[label] = 1
        means[label] = mine.mean(0)
        mine = mine - means[label] if centred else mine
        scatter.addmm_(mine.T, mine, alpha=1 / len(mine))
    return Moments(cells, means, scatter)


@torch.no_grad()
def by_task(stores: Mapping[str, PixelStore], detector: Detector,
            trainer: Trainer) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the features (N, D), float32, and labels (N,) of the pictures of each of `stores`."""
    found: dict[str, tuple[Tensor, Tensor]] = {}
    with evaluating(detector):
        for task, store in stores.items():
            found[task] = _read(trainer.examples({task: store}, detector), detector)
    return found


def _read(batches: Iterable[Batch], detector: Detector) -> tuple[Tensor, Tensor]:
    parts = [(detector.features(batch.inputs).float(), batch.labels) for batch in batches if batch.inputs is not None]
    return torch.cat([values for values, _ in parts]), torch.cat([labels for _, labels in parts])


@torch.no_grad()
def write_head(detector: Detector, weight: Tensor, bias: Tensor) -> None:
    """Make the detector's head linear, with the margin z_fake - z_real = weight h + bias; `weight` (D,)."""
    head = torch.nn.Linear(len(weight), 2).to(weight.device) if not isinstance(detector.head, torch.nn.Linear) else (
        detector.head)
    head.weight.copy_(torch.stack([-weight, weight]) / 2)
    head.bias.copy_(torch.stack([-bias, bias]) / 2)
    detector.head = head
