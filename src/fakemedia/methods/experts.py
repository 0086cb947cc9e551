"""One expert per task: its own ridge head, and a router that selects the task whose pictures are closest.

The router compares the features, scaled to length 1, with K centres of each task (k-means); the nearest centre's task
decides (S-Prompts, Wang et al. 2022). An expert depends on its own task alone, not on seeds or other tasks. Features
separate content rather than traces, so tasks with similar pictures are confused: check how often the router is right.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fakemedia.core.errors import UserError
from fakemedia.core.rng import derive
from fakemedia.evaluation.novelty import task_centres as centres
from fakemedia.methods.method import Method, StageData, Trainer
from fakemedia.methods.moments import by_task
from fakemedia.methods.ridge import best_head, task_solver, validation_pictures
from fakemedia.networks.detector import Detector

TRAINS_BODY = False
FIRST_STAGE_IS_FINETUNE = False
UNLEARNS = True
NEEDS_OWN_REALS = True
VERSION = 5
"""5: centres are found in float32."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Size of the router, and regularisation of the experts."""

    centres: int = 5
    """K, centres per task."""
    strength: float | None = None
    """lambda of the ridge heads; None: chosen as `ridge` does, on the task's validation pictures."""

    def __post_init__(self) -> None:
        if self.centres < 1 or (self.strength is not None and not self.strength > 0):
            raise ValueError("centres of at least 1, and strength above 0 or none")


class ExpertsHead(nn.Module):
    """Linear heads of T tasks and the centres that choose among them."""

    centres: Tensor
    """(T, K, D)."""

    def __init__(self, tasks: int, centres: int, width: int) -> None:
        """Create `tasks` experts; all zero."""
        super().__init__()
        self.register_buffer("centres", torch.zeros(tasks, centres, width))
        self.weight = nn.Parameter(torch.zeros(tasks, width))
        self.bias = nn.Parameter(torch.zeros(tasks))

    def route(self, features: Tensor) -> Tensor:
        """Return the number of the expert for each of the features (N, D), int64 (N,)."""
        centres = self.centres.flatten(0, 1)
        # |x - c|^2 without what all centres share.
        distances = centres.square().sum(1) - 2 * F.normalize(features) @ centres.T
        return distances.argmin(1).div(self.centres.shape[1], rounding_mode="floor")

    def forward(self, features: Tensor) -> Tensor:
        """Return logits (N, 2) of features (N, D)."""
        experts = self.route(features)
        margins = (features * self.weight[experts]).sum(1) + self.bias[experts]
        return torch.stack([-margins, margins], 1) / 2


def task_centres(features: Tensor, count: int, seed: int) -> Tensor:
    """Return `count` centres (K, D) of the features (N, D) scaled to length 1; repeated if there are fewer pictures."""
    return torch.from_numpy(centres(F.normalize(features).cpu().numpy(), count, seed)).to(features)


def _head(centres: Tensor, weight: Tensor, bias: Tensor) -> ExpertsHead:
    """Return the head of experts with centres (T, K, D), weight (T, D) and bias (T,), on their device."""
    head = ExpertsHead(*centres.shape).to(centres.device)
    for parameter, values in zip((head.centres, head.weight, head.bias), (centres, weight, bias), strict=True):
        parameter.copy_(values)
    return head


class Experts(Method):
    """One expert per task, and a router."""

    def __init__(self, config: Config) -> None:
        self.config = config

    def fit(self, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        """Add an expert for each task of the stage."""
        self.review(stage, detector, trainer)

    @torch.no_grad()
    def review(self, earlier: StageData, detector: Detector, trainer: Trainer) -> None:
        """Add an expert for each task of a stage."""
        validation_stores = {task: store for task, store in earlier.validation.items() if task in earlier.train}
        validation = by_task(validation_stores, detector, trainer) if self.config.strength is None else {}
        for task, (features, labels) in by_task(earlier.train, detector, trainer, training=True).items():
            if not (labels.bincount(minlength=2) > 0).all():
                raise UserError("The task has training pictures of one class only", where=f"{task}, method experts",
                                expected="real and fake training pictures", do="use ridge or replay")
            task_validation = {task: validation[task]} if task in validation else {}
            pictures = validation_pictures(task_validation, {
                task: earlier.validation[task].sources for task in task_validation})
            weight, bias = best_head(task_solver(features, labels), self.config.strength, pictures)
            self._add(detector, task_centres(features, self.config.centres, derive(0, "centres", task)), weight, bias)

    @torch.no_grad()
    def unlearn(self, task: str, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        """Remove the expert of `task`; the experts are in the order of the tasks seen."""
        previous_head = detector.head
        if not isinstance(previous_head, ExpertsHead) or len(previous_head.weight) != len(stage.seen):
            raise UserError("The checkpoint does not hold an expert for each task", where=f"stage {stage.key}",
                            expected=f"{len(stage.seen)} experts", do="train it again")
        rows = [row for row, seen_task in enumerate(stage.seen) if seen_task != task]
        detector.head = _head(previous_head.centres[rows], previous_head.weight[rows], previous_head.bias[rows])

    def _add(self, detector: Detector, centres: Tensor, weight: Tensor, bias: Tensor) -> None:
        parts = [centres[None], weight[None].float(), bias[None].float()]
        if isinstance(previous_head := detector.head, ExpertsHead):
            parts = [torch.cat(pair) for pair in zip(
                (previous_head.centres, previous_head.weight, previous_head.bias), parts, strict=True)]
        detector.head = _head(*parts)

    def shape(self, detector: Detector, weights: Mapping[str, Tensor]) -> None:
        """Give `detector` the head that `weights` belong to, if it is one of experts."""
        if "head.centres" in weights:
            detector.head = ExpertsHead(*weights["head.centres"].shape)


def build(config: Config, seed: int) -> Experts:
    """Return experts with a router."""
    return Experts(config)
