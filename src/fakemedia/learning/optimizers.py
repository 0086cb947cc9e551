"""The optimiser, and the schedule of its learning rate."""

from __future__ import annotations

import torch
from torch.optim import lr_scheduler

from fakemedia.core.training import TrainingConfig
from fakemedia.networks.detector import Detector
from fakemedia.networks.tuning import parameter_groups


def make_optimizer(network: Detector, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimiser of `config` over the trained parameters of `network`, fused: one pass over them.

    Norms and biases are not decayed (see `networks.tuning.parameter_groups`).
    """
    groups = parameter_groups(network, config.weight_decay)
    if config.optimizer == "sgd":
        return _SGD(groups, lr=config.lr, momentum=config.momentum, fused=True)
    return _AdamW(groups, lr=config.lr, betas=(config.momentum, 0.999), fused=True)


class _NotCaptured(torch.optim.Optimizer):
    """Steps are not captured in a graph of a GPU: torch would search the system for a GPU at each, for 0.3 ms."""

    def _accelerator_graph_capture_health_check(self) -> None:
        pass


class _SGD(_NotCaptured, torch.optim.SGD):
    pass


class _AdamW(_NotCaptured, torch.optim.AdamW):
    pass


class Schedule:
    """The learning rate of `config` over a stage of `steps` steps per epoch, by torch's schedulers.

    `one_cycle`: half a cosine from lr/25 up to lr in the first 30 % of the stage, then down to lr/250000 (Smith and
    Topin 2018, in two phases), by step. `cosine`: lr_min + (lr - lr_min) (1 + cos(pi epoch / period)) / 2, continuing
    after `period` (Loshchilov and Hutter 2017, without restarts), by epoch.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, config: TrainingConfig, steps: int) -> None:
        """Set the learning rate of the first step."""
        self._optimizer, self._by_epoch = optimizer, config.schedule == "cosine"
        if config.schedule == "one_cycle":
            self._scheduler = lr_scheduler.OneCycleLR(optimizer, max_lr=config.lr, total_steps=config.epochs * steps,
                                                      cycle_momentum=False)
        elif config.schedule == "cosine":
            self._scheduler = lr_scheduler.CosineAnnealingLR(optimizer, T_max=config.period, eta_min=config.lr_min)
        else:
            self._scheduler = lr_scheduler.ConstantLR(optimizer, factor=1.0)

    @property
    def rate(self) -> float:
        """The learning rate of the next step."""
        return self._optimizer.param_groups[0]["lr"]

    def after_step(self) -> None:
        """Set the learning rate of the next step."""
        if not self._by_epoch:
            self._scheduler.step()

    def after_epoch(self) -> None:
        """Set the learning rate of the next epoch."""
        if self._by_epoch:
            self._scheduler.step()

    def state_dict(self) -> dict:
        """Return what a resumed stage needs, beside the state of the optimiser."""
        return self._scheduler.state_dict()

    def load_state_dict(self, state: dict) -> None:
        """Restore what `state_dict` returned; the optimiser is restored before."""
        self._scheduler.load_state_dict(state)
