"""The optimiser and its learning rate, which depends on the step alone."""

from __future__ import annotations

import math

import torch

from fakemedia.core.training import TrainingConfig
from fakemedia.networks.detector import Detector

WARM_UP, START_FACTOR, END_FACTOR = 0.3, 25.0, 1e4


def learning_rate(config: TrainingConfig, step: int, steps: int) -> float:
    """Return the learning rate of `step`, counted from 0 over the whole stage, with `steps` steps an epoch.

    `one_cycle`: half a cosine from lr/25 up to lr in the first 30 % of the stage, then down to lr/250000 (Smith and
    Topin 2018, in two phases). `cosine`: lr_min + (lr - lr_min) (1 + cos(pi epoch / period)) / 2, going on past
    `period` (Loshchilov and Hutter 2017, without restarts).
    """
    if config.schedule == "constant":
        return config.lr
    if config.schedule == "cosine":
        return _anneal(config.lr, config.lr_min, step // steps / config.period)
    total = config.epochs * steps
    peak = max(WARM_UP * total - 1, 0)
    low = config.lr / START_FACTOR
    if step < peak:
        return _anneal(low, config.lr, step / peak)
    return _anneal(config.lr, low / END_FACTOR, (step - peak) / max(total - 1 - peak, 1))


def _anneal(start: float, end: float, part: float) -> float:
    return end + (start - end) * (1 + math.cos(math.pi * part)) / 2


def make_optimizer(network: Detector, config: TrainingConfig) -> torch.optim.Optimizer:
    """Return the optimiser of `config` over the trained parameters of `network`, fused: one pass over them."""
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    if config.optimizer == "sgd":
        return torch.optim.SGD(trained, lr=config.lr, momentum=config.momentum,
                               weight_decay=config.weight_decay, fused=True)
    return torch.optim.AdamW(trained, lr=config.lr, betas=(config.momentum, 0.999),
                             weight_decay=config.weight_decay, fused=True)
