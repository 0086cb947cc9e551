"""Weights between those of the last stage and those that this stage trained by fine-tuning.

    coma     theta = (1 - a) theta_last + a theta_trained                        (Marouf et al. 2024)
    cofima   the same, each weight in proportion to its Fisher information       (Marouf et al. 2024)
    magmax   theta_0 plus, for each weight, the larger of theta_last - theta_0 and theta_trained - theta_0
             (Marczak et al. 2024; here each stage starts from the merged weights)

Batch normalisation then measures its statistics again over the stage's pictures, unless it keeps them. Averages are
useful for weights near each other: from pretrained weights, or with a small learning rate. The first stage, and a = 1,
are fine-tuning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from fakemedia.methods.ewc import fisher_diagonal
from fakemedia.methods.method import GradientMethod, StageData, Trainer
from fakemedia.networks.detector import Detector
from fakemedia.networks.norm_statistics import measure_statistics

HOLDS_WEIGHTS = True
CHANGES_SELECTED = True
VERSION = 2
"""2: statistics that batch normalisation keeps are not measured again."""
START, FISHER = "start.", "fisher."


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which average."""

    kind: Literal["coma", "cofima", "magmax"] = "coma"
    """See above."""
    share: float = 0.5
    """a, of the newly trained weights; magmax has none. CoFiMA's code: 0.4."""
    fisher_images: int = 256
    """Training images that the Fisher information of cofima is measured on."""
    fisher_least: float = 1e-4
    """Lower bound of the Fisher information (CoFiMA's code)."""

    def __post_init__(self) -> None:
        if not 0 < self.share <= 1 or self.fisher_images < 1 or not self.fisher_least > 0:
            raise ValueError("share in (0, 1], fisher_images of at least 1 and fisher_least above 0")


def trained(detector: nn.Module) -> dict[str, Tensor]:
    """Return copies of the trained weights of `detector`."""
    return {name: weight.detach().clone() for name, weight in detector.named_parameters() if weight.requires_grad}


def larger(start: Tensor, previous: Tensor, trained: Tensor) -> Tensor:
    """Return for each weight the one of two that is farther from its start."""
    return torch.where((trained - start).abs() > (previous - start).abs(), trained, previous)


class Average(GradientMethod):
    """Fine-tuning followed by an average with the weights before."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.start: dict[str, Tensor] = {}
        self.fisher: dict[str, Tensor] = {}

    def fit(self, stage: StageData, detector: Detector, trainer: Trainer) -> None:
        """Train `detector`; from the second stage on, average it with its weights before."""
        previous = trained(detector)
        if stage.index == 1 and self.config.kind == "magmax":
            self.start = previous
        super().fit(stage, detector, trainer)
        fisher = self._fisher(stage, detector, trainer) if self.config.kind == "cofima" else {}
        if stage.index > 1 and (self.config.share < 1 or self.config.kind == "magmax"):
            self._average(detector, previous, fisher)
            if not detector.keeps_statistics:
                measure_statistics(detector, (batch.inputs for batch in trainer.batches(stage, detector)
                                              if batch.inputs is not None))
        self.fisher = {name: values + self.fisher.get(name, 0.0) for name, values in fisher.items()}

    @torch.no_grad()
    def _average(self, detector: Detector, previous: Mapping[str, Tensor], fisher: Mapping[str, Tensor]) -> None:
        for name, weight in detector.named_parameters():
            if name not in previous:
                continue
            decay, share = 1 - self.config.share, self.config.share
            if self.config.kind == "magmax":
                weight.copy_(larger(self.start.get(name, previous[name]), previous[name], weight))
            elif self.config.kind == "cofima" and name in self.fisher:
                minimum = self.config.fisher_least
                old, new = decay * self.fisher[name].clamp(min=minimum), share * fisher[name].clamp(min=minimum)
                weight.copy_((old * previous[name] + new * weight) / (old + new))
            else:
                weight.copy_(decay * previous[name] + share * weight)

    def _fisher(self, stage: StageData, detector: Detector, trainer: Trainer) -> dict[str, Tensor]:
        """Return the mean Fisher information of the trained weights over the first `fisher_images` images."""
        totals, count = {name: torch.zeros_like(weight) for name, weight in trained(detector).items()}, 0
        for batch in trainer.batches(stage, detector):
            if batch.inputs is None or count >= self.config.fisher_images:
                break
            for name, squares in fisher_diagonal(detector, batch.inputs, batch.labels).items():
                totals[name] += squares
            count += len(batch.labels)
        return {name: total / count for name, total in totals.items()}

    def state_dict(self) -> dict[str, Tensor]:
        return {**{f"{START}{name}": value for name, value in self.start.items()},
                **{f"{FISHER}{name}": value for name, value in self.fisher.items()}}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        self.start = {name.removeprefix(START): value for name, value in state.items() if name.startswith(START)}
        self.fisher = {name.removeprefix(FISHER): value for name, value in state.items() if name.startswith(FISHER)}


def build(config: Config, seed: int) -> Average:
    """Return an average of weights."""
    return Average(config)
