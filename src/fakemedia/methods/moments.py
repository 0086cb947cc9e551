"""Sums over features that closed-form heads are solved from; every class of every task has the same weight.

The sums of two sets of tasks add up to those of all, so a sequence ends with the result of joint training, and a task
can be removed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fakemedia.core.errors import UserError
from fakemedia.core.types import FAKE, REAL
from fakemedia.methods.method import Method, StageData, Trainer
from fakemedia.networks.detector import Detector
from fakemedia.runtime.modes import evaluating
from fakemedia.store.batches import Batch
from fakemedia.store.pixels import PixelStore

MEANS = "means."
"""Prefix of the names of the tasks' means in the state of a method."""
REFINEMENTS, BACKWARD_ERROR = 6, 1e-15
"""Steps of refinement at most, and the backward error at which they end: a few roundings of float64."""
BLOCK = 256
"""Columns of a symmetric product that are computed at once."""


@dataclass(frozen=True)
class Moments:
    """Sums over cells, the classes of tasks, in float64; the tasks are those of `means`."""

    means: Mapping[str, Tensor]
    """The means of a task's classes, (2, D); NaN for one without pictures."""
    scatter: Tensor
    """Sum of the cells' mean outer products, (D, D)."""

    @property
    def cells(self) -> Tensor:
        """Cells of each class, (2,)."""
        return (~self._stacked()[:, :, 0].isnan()).double().sum(0)

    @property
    def totals(self) -> Tensor:
        """Sums of the cells' means, (2, D)."""
        return self._stacked().nansum(0)

    def _stacked(self) -> Tensor:
        """Return the means in a fixed order of the tasks, so that sums are equal to the last digit."""
        return torch.stack([self.means[task] for task in sorted(self.means)])

    def plus(self, other: Moments) -> Moments:
        """Return the sums of both; UserError if a task is in both, or the features have other sizes."""
        self._check_size(other)
        if shared := self.means.keys() & other.means.keys():
            raise UserError(f"The task {min(shared)!r} was learned before", expected="a task that is not learned yet",
                            do="leave it out, or give it another name")
        return Moments({**self.means, **other.means}, self.scatter + other.scatter)

    def minus(self, other: Moments) -> Moments:
        """Return the sums without those of the task of `other`; UserError unless its pictures are those in the sums."""
        self._check_size(other)
        (task, means), = other.means.items()
        # The means show it: another picture moves them by a standard deviation over the number of pictures.
        deviation = (self.scatter.diagonal() / self.cells.sum()).sqrt()
        if not torch.allclose(self.means[task] / deviation, means / deviation, rtol=0, atol=1e-5, equal_nan=True):
            raise UserError(f"The training pictures of {task!r} are not those that were learned",
                            expected="the pictures, and a device that gives their features",
                            do="bring back the data as it was learned, and ingest it")
        return Moments({name: task_means for name, task_means in self.means.items() if name != task},
                       self.scatter - other.scatter)

    def _check_size(self, other: Moments) -> None:
        size, other_size = len(self.scatter), len(other.scatter)
        if size != other_size:
            raise UserError("The statistics of the parent checkpoint are of other features",
                            expected=f"{size} numbers a picture, found {other_size}",
                            do="use the taps and the projection that the parent was made with")

    def summed(self, total: Callable[[Tensor], Tensor]) -> Moments:
        """Return the sums of all processes, given those of the share of each; `total` sums over processes."""
        return Moments({task: total(means) for task, means in self.means.items()}, total(self.scatter))

    def state_dict(self) -> dict[str, Tensor]:
        """Return the sums as tensors; half of the symmetric one."""
        values = self.scatter.cpu().numpy()
        half = torch.from_numpy(values[_lower(len(values))]).to(self.scatter.device)
        return {**{f"{MEANS}{task}": means for task, means in self.means.items()}, "scatter": half}

    @classmethod
    def load(cls, state: Mapping[str, Tensor]) -> Moments:
        """Return the sums that `state_dict` returned; UserError if an earlier version did."""
        means = {name.removeprefix(MEANS): tensor for name, tensor in state.items() if name.startswith(MEANS)}
        if not means:
            raise UserError("The statistics of the parent checkpoint were written by an earlier version",
                            expected="the means of each task", do="train it again")
        size = next(iter(means.values())).shape[1]
        scatter, lower = np.empty((size, size)), _lower(size)
        scatter[lower] = state["scatter"].cpu().numpy()
        scatter.T[lower] = scatter[lower]
        return cls(means, torch.from_numpy(scatter).to(state["scatter"].device))


def _lower(size: int) -> NDArray[np.bool_]:
    """Return which elements of a matrix, (size, size), are on or below the diagonal."""
    return np.tri(size, dtype=bool)


@torch.no_grad()
def moments(task: str, features: Tensor, labels: Tensor, counts: Tensor | None = None) -> Moments:
    """Return the sums over the pictures of one task: `features` (N, D), `labels` (N,).

    If these are a share of its pictures, `counts` (2,) are the pictures of its classes; the sums of all shares add up.
    """
    values = features.double()
    counts = labels.bincount(minlength=2) if counts is None else counts
    means = values.new_full((2, values.shape[1]), torch.nan)
    for label in (REAL, FAKE):
        if counts[label]:
            means[label] = values[labels == label].sum(0) / counts[label]
    roots = counts.double().rsqrt()[labels]
    return Moments({task: means}, inner_products(values * roots[:, None]))


def inner_products(values: Tensor) -> Tensor:
    """Return the inner products (D, D) of the columns of `values` (N, D), with half the work of a general product."""
    size = values.shape[1]
    products = values.new_empty(size, size)
    for start in range(0, size, BLOCK):
        end = min(start + BLOCK, size)
        product = values[:, start:end].T @ values[:, start:]
        products[start:end, start:], products[end:, start:end] = product, product[:, end - start:].T
    return products


def solved(matrix: Tensor, strength: float, target: Tensor) -> Tensor:
    """Return x with (matrix + strength I) x = target, (D,), for a symmetric positive definite matrix (D, D), float64.

    By Cholesky in float32 with iterative refinement in float64, which gives the digits of float64 in half the time
    (Higham 2002, "Accuracy and Stability of Numerical Algorithms", chapter 12); in float64 if it does not converge.
    """
    single = matrix.float()
    single.diagonal().add_(strength)
    factor, failed = torch.linalg.cholesky_ex(single)
    solution, size, norm = torch.zeros_like(target), target.norm(), matrix.norm() + strength
    for _ in range(0 if failed else REFINEMENTS):
        residual = target - matrix @ solution - strength * solution
        if residual.norm() <= BACKWARD_ERROR * (size + norm * solution.norm()):
            return solution
        solution = solution + torch.cholesky_solve(residual.float()[:, None], factor)[:, 0]
    damped = matrix.clone()
    damped.diagonal().add_(strength)
    return torch.cholesky_solve(target[:, None], torch.linalg.cholesky(damped))[:, 0]


class FromSums(Method):
    """A method whose head follows from the sums over all tasks seen."""

    sums: Moments | None = None

    def solve(self, sums: Moments, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        """Give `detector` the head that follows from `sums`, which have cells of both classes."""
        raise NotImplementedError

    def inputs(self, features: Tensor, detector: Detector) -> Tensor:
        """Return what is summed of the body's features (N, D)."""
        return features

    def fit(self, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        """Add the stage's tasks and solve."""
        self.review(stage, detector, trainer)
        self._solve(stage, detector, trainer)

    def review(self, earlier: StageData, detector: Detector, trainer: Trainer) -> None:
        """Add the tasks of a stage."""
        for task, store in earlier.train.items():
            task_moments = self._moments(task, store, detector, trainer)
            self.sums = task_moments if self.sums is None else self.sums.plus(task_moments)

    def unlearn(self, task: str, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        """Subtract the sums of `task` and solve."""
        assert self.sums is not None
        if task not in stage.train:
            raise UserError(f"The training pictures of {task!r} are missing, or changed since they were ingested",
                            expected="the pictures that were learned: what was summed of them is subtracted",
                            do="restore them and ingest them: kedro run --tags ingestion")
        self.sums = self.sums.minus(self._moments(task, stage.train[task], detector, trainer))
        self._solve(stage, detector, trainer)

    @torch.no_grad()
    def _moments(self, task: str, store: PixelStore, detector: Detector, trainer: Trainer) -> Moments:
        """Return the sums over the training pictures of a task; every process reads a share of them."""
        with evaluating(detector):
            features, labels = map(torch.cat, zip(*_read(
                trainer.training_examples({task: store}, detector, shared=True), detector), strict=True))
            counts = trainer.total(labels.bincount(minlength=2))
            return moments(task, self.inputs(features, detector), labels, counts).summed(trainer.total)

    def _solve(self, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        if self.sums is None or not (self.sums.cells > 0).all():
            raise UserError("The tasks learned so far have pictures of one class only", where=f"stage {stage.key}",
                            expected="real and fake training pictures", do="add those of the other class to a task")
        self.solve(self.sums, stage, detector, trainer)

    def shape(self, detector: Detector, weights: Mapping[str, Tensor]) -> None:
        """Give `detector` the linear head that this method leaves."""
        detector.head = nn.Linear(weights["head.weight"].shape[1], 2)

    def state_dict(self) -> dict[str, Tensor]:
        return {} if self.sums is None else self.sums.state_dict()

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.sums = Moments.load(state) if state else None


@torch.no_grad()
def by_task(stores: Mapping[str, PixelStore], detector: Detector, trainer: Trainer, *,
            training: bool = False) -> dict[str, tuple[Tensor, Tensor]]:
    """Return the features (N, D), float32, and labels (N,) of the examples of each of `stores`.

    Those that are learned from if `training`. Every process computes a share of them, and returns all.
    """
    results: dict[str, tuple[Tensor, Tensor]] = {}
    read = trainer.training_examples if training else trainer.examples
    with evaluating(detector):
        for task, store in stores.items():
            (no_values, *values), (no_labels, *labels) = zip(*_read(read({task: store}, detector, shared=True),
                                                                    detector), strict=True)
            results[task] = trainer.gather(values, no_values), trainer.gather(labels, no_labels)
    return results


def _read(batches: Iterable[Batch], detector: Detector) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield features and labels of no picture, then those of each batch."""
    device = next(detector.parameters()).device
    yield torch.zeros(0, detector.width, device=device), torch.zeros(0, dtype=torch.int64, device=device)
    for batch in batches:
        assert batch.inputs is not None
        yield detector.features(batch.inputs).float(), batch.labels


def set_linear(detector: Detector, weight: Tensor, bias: Tensor) -> None:
    """Make the detector's head linear, with the margin z_fake - z_real = weight h + bias; `weight` (D,)."""
    if not isinstance(detector.head, nn.Linear):
        detector.head = nn.Linear(len(weight), 2).to(weight.device)
    write_margin(detector.head, weight, bias)


@torch.no_grad()
def write_margin(linear: Any, weight: Tensor, bias: Tensor) -> None:
    """Let `linear`, a module with a weight (2, D) and a bias (2,), give logits with the margin weight h + bias."""
    for parameter, value in ((linear.weight, weight), (linear.bias, bias)):
        parameter.copy_(torch.stack([-value, value]) / 2)
