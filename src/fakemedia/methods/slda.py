"""Streaming linear discriminant analysis on the features of the unchanged network (Hayes and Kanan 2020).

    w = Sigma^-1 (mu_1 - mu_0),    b = -w (mu_0 + mu_1) / 2

mu are the means of the classes and Sigma their common covariance, every class of every task with the same weight. Only
sums are kept: one pass, nothing forgotten, in any order of the tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fakemedia.core.errors import UserError
from fakemedia.methods.method import Method, StageData, Trainer
from fakemedia.methods.moments import Moments, by_task, moments, write_head
from fakemedia.networks.detector import Detector

TRAINS_BODY = False
FIRST_STAGE_IS_FINETUNE = False


@dataclass(frozen=True, kw_only=True)
class Config:
    """How the covariance is estimated."""

    shrinkage: float = 0.1
    """e: Sigma is (1 - e) times the covariance plus e times its diagonal (Hayes and Kanan: 1e-4, of the identity)."""

    def __post_init__(self) -> None:
        if not 0 < self.shrinkage <= 1:
            raise ValueError("shrinkage in (0, 1]")


def discriminant(sums: Moments, shrinkage: float) -> tuple[Tensor, Tensor]:
    """Return weight (D,) and bias (scalar) of the margin; `sums` are centred."""
    covariance = sums.scatter / sums.cells.sum()
    variance = covariance.diagonal().clamp(min=0)
    scale = torch.where(variance > 0, variance.rsqrt(), torch.zeros_like(variance))
    matrix = (1 - shrinkage) * covariance * scale[:, None] * scale
    matrix.diagonal().copy_(torch.ones_like(scale))
    real, fake = sums.means / sums.cells[:, None]
    moved = ((fake - real) * scale)[:, None]
    weight = torch.cholesky_solve(moved, torch.linalg.cholesky(matrix))[:, 0] * scale
    return weight, -weight @ (real + fake) / 2


class StreamingDiscriminant(Method):
    """A linear head from class means and a common covariance."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.sums: Moments | None = None

    def fit(self, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        """Add the stage's tasks and solve."""
        self.review(stage, detector, trainer)
        assert self.sums is not None
        if not (self.sums.cells > 0).all():
            raise UserError("The tasks learned so far have pictures of one class only",
                            where=f"stage {stage.key}, method slda", expected="real and fake training pictures",
                            do="add those of the other class to a task")
        write_head(detector, *discriminant(self.sums, self.config.shrinkage))

    def review(self, earlier: StageData, detector: Detector, trainer: Trainer) -> None:
        """Add the tasks of a stage."""
        for features, labels in by_task(earlier.train, detector, trainer).values():
            found = moments(features, labels, centred=True)
            self.sums = found if self.sums is None else self.sums.plus(found)

    def shape(self, detector: Detector, weights: Mapping[str, Tensor]) -> None:
        """Give `detector` the linear head that this method leaves."""
        detector.head = nn.Linear(weights["head.weight"].shape[1], 2)

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.sums is None else self.sums.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.sums = Moments.load(state) if state else None


def build(config: Config, seed: int) -> StreamingDiscriminant:
    """Return streaming linear discriminant analysis."""
    return StreamingDiscriminant(config)
