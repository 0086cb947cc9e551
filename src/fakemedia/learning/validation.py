"""Validation of a stage: the images that select the epoch, and the accuracy on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import chain

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
VALIDATION_CACHE_BYTES = 2**29
"""Bytes of validation crops that a stage keeps on the device."""
MIN_VALIDATION = 16
"""Minimum number of validation images of a task, at any cost."""


def validation_images(config: TrainingConfig, train_images: int, tasks: int) -> int | None:
    """Return the maximum number of validation images of a task, if an epoch trains on `train_images`; None: all."""
    limits = [] if config.validation_max is None else [config.validation_max]
    if config.validation_share is not None:
        passes = PASSES * train_images * config.validation_every * config.validation_share
        limits.append(max(MIN_VALIDATION, int(passes / tasks)))
    return min(limits, default=None)


class Validation:
    """This process's share of the images that choose the epoch."""

    def __init__(self, stores: Mapping[str, PixelStore], train_images: int, config: TrainingConfig, seed: int,
                 runtime: Runtime,
                 batches: Callable[[Mapping[str, NDArray[np.int64]]], Sequence[Iterable[Batch]]]) -> None:
        """Draw the images of each task by `seed`, `validation_images` of them; no stores: none.

        `batches` returns those of the given rows of the tasks, in order, in parts that can be read repeatedly.
        """
        self._runtime = runtime
        rows = {task: select_rows(store, validation_images(config, train_images, len(stores)),
                                  derive(seed, "validation", task))[runtime.rank::runtime.world]
                for task, store in stores.items()}
        self._labels = {task: stores[task].labels[numbers] for task, numbers in rows.items()}
        self._batches = batches(rows)

    def __bool__(self) -> bool:
        return bool(self._labels)

    def accuracies(self, detector: Detector) -> dict[str, float]:
        """Return the accuracy of `detector` at the threshold 0.5 by task, percent, over the images of all processes."""
        labels = list(self._labels.values())
        sizes = [len(part) for part in labels]
        correct = [0 for _ in labels]
        if any(sizes):  # Each process has a share, which is empty if there are fewer images than processes.
            logits = predict_batches(detector, chain.from_iterable(self._batches), autocast=self._runtime.autocast)
            parts = np.split(logits, np.cumsum(sizes)[:-1])
            correct = [int(((part > 0) == (truth == FAKE)).sum()) for part, truth in zip(parts, labels, strict=True)]
        totals = self._runtime.total(torch.tensor([correct, sizes], device=self._runtime.device)).tolist()
        return {task: 100.0 * count / images for task, count, images in zip(self._labels, *totals, strict=True)}
