"""Ridge regression on the features of the unchanged network: one pass, no steps, nothing forgotten.

    minimise  mean over cells of E_cell (w z + b - y)^2 + lambda |w|^2,    y = -1 real, 1 fake

A cell is a class of a task, z are the features, standardised over all cells. Only sums over cells are kept, so the head
after a sequence of tasks is the one that all tasks together give, in any order (RanPAC, McDonnell et al. 2023; balanced
as AIR, Fang et al. 2024). The outputs are no log-odds: calibration makes probabilities of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from fakemedia.core.errors import UserError
from fakemedia.core.types import FAKE, REAL
from fakemedia.methods.method import Method, StageData, Trainer
from fakemedia.methods.moments import Moments, by_task, moments, write_head
from fakemedia.networks.detector import Detector

TRAINS_BODY = False
FIRST_STAGE_IS_FINETUNE = False
STRENGTHS = tuple(10 ** (power / 2) for power in range(-2, 3))
"""Values of lambda that validation chooses from; the features have variance 1. Smaller ones fit the few pictures of a
task by heart, and a validation split of few source groups does not tell."""
DEFAULT_STRENGTH = 0.1


@dataclass(frozen=True, kw_only=True)
class Config:
    """Regularisation."""

    strength: float | None = None
    """lambda; None: the one with the least squared error on validation pictures of all tasks seen, every class of every
    task with the same weight (0.1 where there are none)."""

    def __post_init__(self) -> None:
        if self.strength is not None and not self.strength > 0:
            raise ValueError("strength above 0, or none")


@dataclass(frozen=True)
class Solver:
    """Ridge heads of the same sums."""

    correlation: Tensor
    """Of the features over cells, (D, D)."""
    target: Tensor
    """Mean over cells of the standardised features times y, (D,)."""
    mean: Tensor
    scale: Tensor
    """1 over the standard deviation of each feature; 0 for one that does not vary."""
    offset: Tensor
    """Mean of y."""

    def head(self, strength: float) -> tuple[Tensor, Tensor]:
        """Return weight (D,) and bias (scalar) of raw features, by Cholesky in float64."""
        matrix = self.correlation.clone()
        matrix.diagonal().add_(strength)
        solved = torch.cholesky_solve(self.target[:, None], torch.linalg.cholesky(matrix))[:, 0]
        weight = solved * self.scale
        return weight, self.offset - weight @ self.mean


def solver(sums: Moments) -> Solver:
    """Return what heads are solved from; `sums` are raw."""
    count = sums.cells.sum()
    mean = sums.means.sum(0) / count
    covariance = sums.scatter / count - torch.outer(mean, mean)
    variance = covariance.diagonal().clamp(min=0)
    scale = torch.where(variance > 1e-12 * (1 + mean.square()), variance.rsqrt(), torch.zeros_like(variance))
    offset = (sums.cells[1] - sums.cells[0]) / count
    target = ((sums.means[1] - sums.means[0]) / count - mean * offset) * scale
    return Solver(covariance * scale[:, None] * scale, target, mean, scale, offset)


Weighed = tuple[Tensor, Tensor, float]


def targets(tasks: Iterable[tuple[Tensor, Tensor]]) -> list[Weighed]:
    """Return the features, the target y and the weight of a picture for each class of each task.

    `tasks` are features (N, D) and labels (N,).
    """
    cells = [(features[labels == label].double(), 2.0 * label - 1) for features, labels in tasks
             for label in (REAL, FAKE)]
    return [(values, values.new_tensor(target), 1 / len(values)) for values, target in cells if len(values)]


def best_head(sums: Moments, strength: float | None, validation: list[Weighed]) -> tuple[Tensor, Tensor]:
    """Return the head of `strength`, or the one with the least error on `validation` (the strongest of several)."""
    found = solver(sums)
    if strength is not None or not validation:
        return found.head(strength or DEFAULT_STRENGTH)
    heads = [found.head(each) for each in reversed(STRENGTHS)]
    errors = [sum(float(share * (values @ weight + bias - wanted).square().sum())
                  for values, wanted, share in validation) for weight, bias in heads]
    return heads[errors.index(min(errors))]


class Ridge(Method):
    """A linear head from sums over all tasks seen."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.sums: Moments | None = None

    def fit(self, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        """Add the stage's tasks and solve."""
        self.review(stage, detector, trainer)
        assert self.sums is not None
        if not (self.sums.cells > 0).all():
            raise UserError("The tasks learned so far have pictures of one class only",
                            where=f"stage {stage.key}", expected="real and fake training pictures",
                            do="add those of the other class to a task")
        seen = by_task(stage.validation, detector, trainer) if self.config.strength is None else {}
        write_head(detector, *best_head(self.sums, self.config.strength, targets(seen.values())))

    def review(self, earlier: StageData, detector: Detector, trainer: Trainer) -> None:
        """Add the tasks of a stage."""
        for features, labels in by_task(earlier.train, detector, trainer).values():
            found = moments(features, labels)
            self.sums = found if self.sums is None else self.sums.plus(found)

    def shape(self, detector: Detector, weights: Mapping[str, Tensor]) -> None:
        """Give `detector` the linear head that this method leaves."""
        detector.head = nn.Linear(weights["head.weight"].shape[1], 2)

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.sums is None else self.sums.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.sums = Moments.load(state) if state else None


def build(config: Config, seed: int) -> Ridge:
    """Return ridge regression."""
    return Ridge(config)
