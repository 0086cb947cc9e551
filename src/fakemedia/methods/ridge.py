"""Ridge regression on the features of the unchanged network: one pass, no steps, nothing forgotten.

    minimise  mean over cells of E_cell (w z + b - y)^2 + lambda |w|^2,    y = -1 real, 1 fake

A cell is a class of a task, z are the features, standardised over all cells. Only sums over cells are kept, so the head
after a sequence of tasks is the one that all tasks together give, in any order (RanPAC, McDonnell et al. 2023; balanced
as AIR, Fang et al. 2024). The outputs are no log-odds: calibration makes probabilities of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from fakemedia.core.rng import generator
from fakemedia.methods.method import StageData, Trainer
from fakemedia.methods.moments import (
    FromSums,
    Moments,
    by_task,
    inner_products,
    moments,
    set_linear,
    solved,
    write_margin,
)
from fakemedia.networks.detector import Detector

TRAINS_BODY = False
FIRST_STAGE_IS_FINETUNE = False
UNLEARNS = True
VERSION = 4
"""4: strengths are tried from the middle one on, as long as they are better."""
STRENGTHS = tuple(10.0 ** power for power in range(-3, 5))
"""Values of lambda that validation chooses from. The matrix that lambda is added to is the correlation of the features
over cells: its diagonal is 1."""
DEFAULT_STRENGTH = 1.0


@dataclass(frozen=True, kw_only=True)
class Config:
    """Regularisation, and the features that are regressed on."""

    strength: float | None = None
    """lambda, in units of the variance of a feature; None: one of 0.001, 0.01, ... 10,000 by the squared error on
    validation pictures of all tasks seen, every class of every task with the same weight: from 10 on to where it is
    least, then the strongest that is not worse by more than a standard error over source groups (1 where there are no
    pictures)."""
    projection: int = 0
    """Numbers that a fixed random projection with ReLU makes of the features, for a head that is not linear in them
    (RanPAC: 10,000; the statistics grow with the square); 0: none."""

    def __post_init__(self) -> None:
        if self.strength is not None and not self.strength > 0:
            raise ValueError("strength above 0, or none")
        if self.projection < 0:
            raise ValueError("projection of at least 0")


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
        """Return weight (D,) and bias (scalar) of raw features."""
        weight = solved(self.correlation, strength, self.target) * self.scale
        return weight, self.offset - weight @ self.mean


def solver(sums: Moments) -> Solver:
    """Return the solver of the heads of `sums`, which are raw."""
    cells, totals = sums.cells, sums.totals
    count = cells.sum()
    mean = totals.sum(0) / count
    covariance = (sums.scatter / count).addr_(mean, mean, alpha=-1)
    variance = covariance.diagonal().clamp(min=0)
    scale = _inverse_deviation(variance, mean)
    offset = (cells[1] - cells[0]) / count
    target = ((totals[1] - totals[0]) / count - mean * offset) * scale
    return Solver(covariance.mul_(scale[:, None]).mul_(scale), target, mean, scale, offset)


@dataclass(frozen=True)
class TaskSolver:
    """The heads of `Solver` for the pictures of one task, from their inner products: cheap for N below D."""

    rows: Tensor
    """The standardised features, each times the root of the picture's weight, (N, D)."""
    target: Tensor
    """y minus its mean, times the same roots, (N,)."""
    products: Tensor
    """Inner products of the rows, (N, N)."""
    mean: Tensor
    scale: Tensor
    offset: Tensor

    def head(self, strength: float) -> tuple[Tensor, Tensor]:
        """Return weight (D,) and bias (scalar) of raw features."""
        weight = (self.rows.T @ solved(self.products, strength, self.target)) * self.scale
        return weight, self.offset - weight @ self.mean


def task_solver(features: Tensor, labels: Tensor) -> Solver | TaskSolver:
    """Return the solver of the heads of one task, from features (N, D) and labels (N,) of both classes."""
    if len(features) >= features.shape[1]:
        return solver(moments("task", features, labels))
    values, y = features.double(), 2.0 * labels.double() - 1
    weights = (0.5 / labels.bincount(minlength=2).double())[labels]
    mean = weights @ values
    centred = values - mean
    variance = weights @ centred.square()
    scale = _inverse_deviation(variance, mean)
    roots, offset = weights.sqrt(), weights @ y
    rows = roots[:, None] * centred * scale
    return TaskSolver(rows, roots * (y - offset), inner_products(rows.T), mean, scale, offset)


def _inverse_deviation(variance: Tensor, mean: Tensor) -> Tensor:
    """Return 1 over the standard deviation of each feature; 0 for one that does not vary."""
    return torch.where(variance > 1e-12 * (1 + mean.square()), variance.rsqrt(), torch.zeros_like(variance))


@dataclass(frozen=True)
class ValidationPictures:
    """Pictures that choose among heads."""

    features: Tensor
    """(N, D), float64."""
    labels: NDArray[np.integer]
    tasks: NDArray[np.str_]
    sources: NDArray[np.str_]

    def errors(self, weight: Tensor, bias: Tensor) -> NDArray[np.float64]:
        """Return the squared error of each picture, (N,)."""
        margins = (self.features @ weight + bias).cpu().numpy()
        return np.square(margins - (2.0 * self.labels - 1))

    def best(self, head: Callable[[int], tuple[Tensor, Tensor]], count: int) -> int:
        """Return the number of the selected head of `count`, the most regularised last.

        From the middle one, heads are tried in the direction in which the error falls, until it rises: validation
        errors of ridge regression have a single minimum, as a rule. The selected one is the last whose error, and that
        of those before it, is not above the minimum by more than the standard error of that difference over source
        groups, every class of every task with the same weight (Hastie et al. 2009, Section 7.10).
        """
        cells = np.unique(np.char.add(self.tasks, self.labels.astype(np.str_)), return_inverse=True)[1]
        sizes = np.bincount(cells)
        weights = 1 / (len(sizes) * sizes[cells])
        groups = np.unique(self.sources, return_inverse=True)[1]

        @cache
        def errors(number: int) -> NDArray[np.float64]:
            return self.errors(*head(number))

        def mean(number: int) -> float:
            return float(weights @ errors(number))

        def is_within_error(increase: NDArray[np.float64]) -> bool:
            """Return whether errors that are larger by `increase` (N,) are larger by one standard error at most."""
            centred = increase - (np.bincount(cells, increase) / sizes)[cells]
            parts = np.bincount(groups, weights * centred)
            spread = np.sqrt(np.square(parts).sum() * len(parts) / max(len(parts) - 1, 1))
            return weights @ increase <= spread

        best = count // 2
        while best > 0 and mean(best - 1) <= mean(best):
            best -= 1
        while best < count - 1 and mean(best + 1) < mean(best):
            best += 1
        selected = best
        while selected < count - 1 and is_within_error(errors(selected + 1) - errors(best)):
            selected += 1
        return selected


def validation_pictures(validation: Mapping[str, tuple[Tensor, Tensor]],
                        sources: Mapping[str, list[str]]) -> ValidationPictures | None:
    """Return the pictures of `validation`, features (N, D) and labels (N,) by task; None if there are none."""
    if not validation:
        return None
    return ValidationPictures(torch.cat([features for features, _ in validation.values()]).double(),
                              torch.cat([labels for _, labels in validation.values()]).cpu().numpy(),
                              np.repeat(list(validation), [len(labels) for _, labels in validation.values()]),
                              np.concatenate([np.asarray(sources[task], np.str_) for task in validation]))


def best_head(head_solver: Solver | TaskSolver, strength: float | None,
              pictures: ValidationPictures | None) -> tuple[Tensor, Tensor]:
    """Return the head of `strength`, or if that is None the one of STRENGTHS that `pictures` choose."""
    if strength is not None or pictures is None:
        return head_solver.head(strength or DEFAULT_STRENGTH)
    heads = cache(lambda number: head_solver.head(STRENGTHS[number]))
    return heads(pictures.best(heads, len(STRENGTHS)))


class ProjectedHead(nn.Module):
    """A linear head on max(0, P f) of the features f, with the fixed projection P."""

    projection: Tensor
    """(M, D)."""

    def __init__(self, size: int, width: int) -> None:
        """Draw P, `size` x `width`: the same for all stages, seeds and orders, so that sums can be added."""
        super().__init__()
        gaussian = generator(0, "projection", size, width).standard_normal((size, width), np.float32)
        self.register_buffer("projection", torch.from_numpy(gaussian / np.sqrt(width, dtype=np.float32)))
        self.weight, self.bias = nn.Parameter(torch.zeros(2, size)), nn.Parameter(torch.zeros(2))

    def project(self, features: Tensor) -> Tensor:
        """Return what the linear head sees (N, M) of features (N, D)."""
        return torch.relu(features @ self.projection.T)

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, 2) of features (N, D)."""
        return F.linear(self.project(features), self.weight, self.bias)


class Ridge(FromSums):
    """A head from sums over all tasks seen."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def inputs(self, features: Tensor, detector: Detector) -> Tensor:
        """Return the features, or their projection."""
        return self._projected(detector, features).project(features) if self.config.projection else features

    def solve(self, sums: Moments, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        """Give `detector` the head of the strength that validation chooses."""
        validation = {} if self.config.strength is not None else {
            task: (self.inputs(features, detector), labels)
            for task, (features, labels) in by_task(stage.validation, detector, trainer).items()}
        weight, bias = best_head(solver(sums), self.config.strength, validation_pictures(validation, {
            task: stage.validation[task].sources for task in validation}))
        if self.config.projection:
            write_margin(self._projected(detector, sums.scatter), weight, bias)
        else:
            set_linear(detector, weight, bias)

    def _projected(self, detector: Detector, like: Tensor) -> ProjectedHead:
        """Return the head of `detector`, which becomes a projected one on the device of `like` unless it is one."""
        size = (self.config.projection, detector.width)
        if not isinstance(detector.head, ProjectedHead) or detector.head.projection.shape != size:
            detector.head = ProjectedHead(*size).to(like.device)
        return detector.head

    def shape(self, detector: Detector, weights: Mapping[str, Tensor]) -> None:
        """Give `detector` the head that this method leaves."""
        if "head.projection" in weights:
            detector.head = ProjectedHead(*weights["head.projection"].shape)
        else:
            super().shape(detector, weights)


def build(config: Config, seed: int) -> Ridge:
    """Return ridge regression."""
    return Ridge(config)
