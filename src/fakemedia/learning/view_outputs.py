"""Logits and features of pictures in any view, by a network or by its head on the features that are kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from fakemedia.core.training import TrainingConfig
from fakemedia.evaluation.novelty import (
    CENTRES,
    MAX_PICTURES,
    Novelty,
    limit,
    nearest,
    packed,
    spread,
    task_centres,
    unit,
)
from fakemedia.evaluation.novelty import unpacked as as_stored
from fakemedia.evaluation.predict import logits_and_features, margins, score_table
from fakemedia.learning.head_trainer import EVALUATION_BATCH, FrozenBody, Head, HeadTrainer
from fakemedia.networks.detector import Detector
from fakemedia.networks.views import CENTRE, QUARTERS, view_crops
from fakemedia.runtime.device import Runtime
from fakemedia.runtime.modes import evaluating
from fakemedia.store.batches import EvalBatches, on_device
from fakemedia.store.pixels import PixelStore

Floats = NDArray[np.float64]
Features = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class ViewOutputs:
    """Reads a detector's outputs on pixel stores."""

    network: Detector
    """On the runtime's device."""
    config: TrainingConfig
    runtime: Runtime
    feature_folder: Callable[[str], Path] | None
    """Returns the folder that keeps the features of a task's pictures, if the head alone was trained; None: every
    picture passes through the network."""
    body: FrozenBody | None = None
    """The body, if `network` has none."""

    def read(self, store: PixelStore, view: str = CENTRE,
             rows: NDArray[np.int64] | None = None) -> tuple[Floats, Features]:
        """Return z_fake - z_real (N,) and features (N, D) of the pictures `rows` of `store` (default: all)."""
        rows = np.arange(len(store)) if rows is None else rows
        network = self.network if self._head_trainer is None else Head(self.network)
        autocast = {} if self._head_trainer else {"autocast": self.runtime.autocast}
        with evaluating(network):
            outputs = [tuple(tensor.cpu() for tensor in logits_and_features(network, images, **autocast))
                       for images in self._images(store, view, rows)]
        return (margins(torch.cat([logits for logits, _ in outputs])),
                torch.cat([features for _, features in outputs]).numpy())

    @cached_property
    def _head_trainer(self) -> HeadTrainer | None:
        return None if self.feature_folder is None else HeadTrainer(config=self.config, runtime=self.runtime, seed=0,
                                                                    network=self.network,
                                                                    feature_folder=self.feature_folder, body=self.body)

    @property
    def _size(self) -> int:
        return self.runtime.evaluation_batch(self.config.batch_size) if self._head_trainer is None else EVALUATION_BATCH

    def _images(self, store: PixelStore, view: str, rows: NDArray[np.int64]) -> Iterator[Tensor]:
        """Yield the pictures `rows` in batches, uint8 (n, 3, crop, crop); their features (n, D) if they are kept."""
        parts = np.split(rows, range(self._size, len(rows), self._size))
        crop = self.config.crop
        if self._head_trainer is not None:
            values = self._head_trainer.features(store, (view,)).values[0]
            values = values if len(rows) == len(values) else values[rows]
            yield from torch.from_numpy(values).split(self._size)
        elif view == CENTRE:
            batches = EvalBatches(store, batch_size=self._size, crop=crop, rows=rows)
            yield from (batch.images for batch in on_device(batches, self.runtime.device))
        else:
            yield from (torch.from_numpy(view_crops(store, part, view, crop, 0)).permute(0, 3, 1, 2) for part in parts)


def score_stores(outputs: ViewOutputs, suite: Mapping[str, PixelStore], novelty: Novelty | None, *,
                 several: bool = False) -> pd.DataFrame:
    """Return the scores of the centre crops of the pictures of `suite`, as `evaluation.predict.score_suite` does.

    With `novelty` there is the further column novelty (float64): the distance over the threshold. With `several`,
    logits are the means over the crops QUARTERS instead, without novelty.
    """
    def columns(store: PixelStore) -> dict[str, Floats]:
        if several:
            views = _views(store, outputs.config.crop)
            return {"logit": np.mean([outputs.read(store, view)[0] for view in views], axis=0)}
        logits, features = outputs.read(store)
        return {"logit": logits} if novelty is None else {
            "logit": logits, "novelty": novelty.distances(features) / novelty.threshold}

    return score_table(suite, columns)


def validate_stores(outputs: ViewOutputs, train: Mapping[str, PixelStore], validation: Mapping[str, PixelStore],
                    weights_sha256: str) -> tuple[pd.DataFrame, Novelty]:
    """Return the scores of validation pictures, and the novelty of the detector that has learned the tasks `train`.

    Columns as in `score_stores`, and logit_crops (float64): the mean logit of the crops QUARTERS, as a picture is
    scored. The centres of the novelty are those of training pictures.
    """
    centres_by_task = [task_centres(unit(outputs.read(store, rows=spread(len(store), MAX_PICTURES))[1]), CENTRES, 0)
                       for store in train.values()]
    text, width = packed(np.concatenate(centres_by_task)), centres_by_task[0].shape[1]
    centres = as_stored(text, width)

    def columns(store: PixelStore) -> dict[str, Floats]:
        logits, features = outputs.read(store)
        crops = [outputs.read(store, view) for view in _views(store, outputs.config.crop)]
        return {"logit": logits, "logit_crops": np.mean([view_logits for view_logits, _ in crops], axis=0),
                "novelty": nearest(features, centres),
                "distance": np.mean([nearest(view_features, centres) for _, view_features in crops], axis=0)}

    scores = score_table(validation, columns)
    novelty = Novelty(centres=text, width=width, threshold=limit(scores["novelty"].to_numpy()),
                      crops_threshold=limit(scores["distance"].to_numpy()), images=len(scores), tasks=tuple(train),
                      weights_sha256=weights_sha256)
    return scores.assign(novelty=scores["novelty"] / novelty.threshold).drop(columns="distance"), novelty


def _views(store: PixelStore, crop: int) -> Sequence[str]:
    """Return QUARTERS; the centre alone where no picture is larger than the crop."""
    larger = max(store.heights.max(), store.widths.max()) > crop
    return QUARTERS if larger else (CENTRE,)
