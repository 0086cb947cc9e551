"""The correction of a detector's log-odds after a stage, which becomes a part of the detector."""

from __future__ import annotations

import logging
from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fakemedia.evaluation.calibration import CalibrationConfig, equal_weights, fit_affine
from fakemedia.evaluation.predict import predict_batches
from fakemedia.learning.trainer import StageTrainer
from fakemedia.networks.detector import Detector
from fakemedia.store.pixels import PixelStore

MIN_SOURCES = CalibrationConfig.least_sources
logger = logging.getLogger(__name__)


def affine_correction(detector: Detector, validation: Mapping[str, PixelStore], trainer: StageTrainer) -> Tensor:
    """Return the a and b that correct the log-odds of `detector` to a d + b, float32 (2,), on its device.

    They are fitted on all pictures of `validation`, stores by task, each class of each task with the same weight.
    Every process computes the same. 1 and 0, with a warning, where the pictures come from fewer than MIN_SOURCES
    source photographs: what fits these need not fit others.
    """
    sources = len({source for store in validation.values() for source in store.sources})
    if sources < MIN_SOURCES:
        logger.warning("%s: the log-odds stay uncorrected: the validation pictures come from %d source photographs, "
                       "and a correction needs at least %d.", trainer.label, sources, MIN_SOURCES)
        return torch.tensor([1.0, 0.0], device=trainer.runtime.device)
    logits = np.concatenate([predict_batches(detector, trainer.evaluation_batches(store),
                                             autocast=trainer.runtime.autocast) for store in validation.values()])
    labels = np.concatenate([store.labels for store in validation.values()])
    tasks = [task for task, store in validation.items() for _ in range(len(store))]
    return torch.tensor(fit_affine(labels, logits, equal_weights(labels, tasks)), device=trainer.runtime.device)
