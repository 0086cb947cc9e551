"""The correction of a detector's log-odds after a stage, which becomes a part of the detector."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor

from fakemedia.evaluation.calibration import equal_weights, fit_affine
from fakemedia.evaluation.predict import predict_batches
from fakemedia.learning.trainer import StageTrainer
from fakemedia.networks.detector import Detector
from fakemedia.store.pixels import PixelStore


def affine_correction(detector: Detector, validation: Mapping[str, PixelStore], trainer: StageTrainer) -> Tensor:
    """Return the a and b that correct the log-odds of `detector` to a d + b, float32 (2,), on its device.

    They are fitted on all pictures of `validation`, stores by task, each class of each task with the same weight.
    Every process computes the same.
    """
    logits = np.concatenate([predict_batches(detector, trainer.evaluation_batches(store),
                                             autocast=trainer.runtime.autocast) for store in validation.values()])
    labels = np.concatenate([store.labels for store in validation.values()])
    tasks = [task for task, store in validation.items() for _ in range(len(store))]
    return torch.tensor(fit_affine(labels, logits, equal_weights(labels, tasks)), device=trainer.runtime.device)
