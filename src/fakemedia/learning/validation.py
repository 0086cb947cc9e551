"""Validation of a stage: the images that select the epoch, and the accuracy on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from fakemedia.core.rng import derive
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import FAKE
from fakemedia.evaluation.predict import predict_batches
from fakemedia.networks.detector import Detector
from fakemedia.runtime.device import Runtime
from fakemedia.store.batches import Batch, select_rows
from fakemedia.store.pixels import PixelStore

PASSES = 3
"""Cost of training on an image, in forward passes (the backward pass costs two)."""
HELD = 2**29
"""Bytes of validation crops that a stage keeps on the device."""
LEAST_VALIDATION = 16
"""Least number of validation images of a task, at any cost."""


def validation_images(config: TrainingConfig, train_images: int, tasks: int) -> int | None:
    """Return the most validation images of a task, if an epoch trains on `train_images`; None: all."""
    limits = [] if config.validation_max is None else [config.validation_max]
    if config.validation_share is not None:
        passes = PASSES * train_images * config.validation_every * config.validation_share
        limits.append(max(LEAST_VALIDATION, int(passes / tasks)))
    return min(limits, default=None)


class Validation:
    """This process's share of the images that choose the epoch."""

    def __init__(self, stores: Mapping[str, PixelStore], train_images: int, config: TrainingConfig, seed: int,
                 runtime: Runtime,
                 batches: Callable[[PixelStore, NDArray[np.int64], int], Iterable[Batch]]) -> None:
        """Draw the images of each task by `seed`, `validation_images` of them; no stores: none.

        `batches` gives those of a store, of some rows, to be read repeatedly within so many bytes.
        """
        self._runtime = runtime
        self._batches: dict[str, tuple[Iterable[Batch], np.ndarray]] = {}
        for task, store in stores.items():
            limit = validation_images(config, train_images, len(stores))
            rows = select_rows(store, limit, derive(seed, "validation", task))[runtime.rank::runtime.world]
            self._batches[task] = batches(store, rows, HELD // len(stores)), store.labels[rows]

    def __bool__(self) -> bool:
        return bool(self._batches)

    def accuracies(self, detector: Detector) -> dict[str, float]:
        """Return the accuracy of `detector` at the threshold 0.5 by task, percent, over the images of all processes."""
        return {task: self._accuracy(detector, *images) for task, images in self._batches.items()}

    def _accuracy(self, detector: Detector, batches: Iterable[Batch], labels: np.ndarray) -> float:
        count = 0
        if len(labels):  # Each process has a share, which is empty if there are fewer images than processes.
            logits = predict_batches(detector, batches, autocast=self._runtime.autocast)
            count = int(((logits > 0) == (labels == FAKE)).sum())
        right, images = self._runtime.total(torch.tensor([count, len(labels)], device=self._runtime.device)).tolist()
        return 100.0 * right / images
