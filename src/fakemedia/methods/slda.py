"""Streaming linear discriminant analysis on the features of the unchanged network (Hayes and Kanan 2020).

    w = Sigma^-1 (mu_1 - mu_0),    b = -w (mu_0 + mu_1) / 2

mu are the means of the classes and Sigma their common covariance, every class of every task with the same weight. Only
sums are kept: one pass, nothing forgotten, in any order of the tasks.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from fakemedia.methods.method import StageData, Trainer
from fakemedia.methods.moments import FromSums, Moments, set_linear, solved
from fakemedia.networks.detector import Detector

TRAINS_BODY = False
FIRST_STAGE_IS_FINETUNE = False
UNLEARNS = True
VERSION = 4
"""4: sums are computed in another order."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """How the covariance is estimated."""

    shrinkage: float = 0.1
    """e: Sigma is (1 - e) times the covariance plus e times its diagonal (Hayes and Kanan: 1e-4, of the identity)."""

    def __post_init__(self) -> None:
        if not 0 < self.shrinkage <= 1:
            raise ValueError("shrinkage in (0, 1]")


def discriminant(sums: Moments, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Return weight (D,) and bias (scalar) of the margin."""
    real, fake = means = sums.totals / sums.cells[:, None]
    covariance = (sums.scatter - (sums.cells[:, None] * means).T @ means).div_(sums.cells.sum())
    variance = covariance.diagonal().clamp(min=0)
    scale = torch.where(variance > 0, variance.rsqrt(), torch.zeros_like(variance))
    matrix = covariance.mul_((1 - shrinkage) * scale[:, None]).mul_(scale)
    matrix.diagonal().copy_(torch.ones_like(scale))
    weight = solved(matrix, 0.0, (fake - real) * scale) * scale
    return weight, -weight @ (real + fake) / 2


class StreamingDiscriminant(FromSums):
    """A linear head from class means and a common covariance."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def solve(self, sums: Moments, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        """Give `detector` the linear head of the discriminant."""
        set_linear(detector, *discriminant(sums, self.config.shrinkage))


def build(config: Config, seed: int) -> StreamingDiscriminant:
    """Return streaming linear discriminant analysis."""
    return StreamingDiscriminant(config)
