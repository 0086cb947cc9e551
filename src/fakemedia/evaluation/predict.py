"""Scores of a network on pixel stores, batches and images."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from fakemedia.core.types import FAKE, REAL
from fakemedia.runtime.modes import evaluating
from fakemedia.store.batches import Batch, EvalBatches, on_device
from fakemedia.store.pixels import PixelStore

Autocast = Callable[[], AbstractContextManager[Any]]


def predict(network: Any, store: PixelStore, *, batch_size: int, crop: int, rows: NDArray[np.int64] | None = None,
            autocast: Autocast = nullcontext) -> NDArray[np.float64]:
    """Return the logit z_fake - z_real of the centre crop of each image, float64 (N,), in the store's order.

    `network` is a Detector on its device; `crop` is in pixels; `rows` picks images (default: all). The randomness of
    torch is not touched.
    """
    batches = EvalBatches(store, batch_size=batch_size, crop=crop, rows=rows)
    return predict_batches(network, batches, autocast=autocast)


def predict_batches(network: Any, batches: Iterable[Batch], *, autocast: Autocast = nullcontext) -> NDArray[np.float64]:
    """Return the logit z_fake - z_real of each image of `batches`, float64 (N,), in their order; see `predict`."""
    device = next(network.parameters()).device
    with evaluating(network):
        return margins(torch.cat([class_logits(network, batch.images, autocast=autocast)
                                  for batch in on_device(batches, device)]))


@torch.inference_mode()
def class_logits(network: Any, images: Tensor, *, autocast: Autocast = nullcontext) -> Tensor:
    """Return the logits of uint8 images (N, 3, H, W), on any device: float32 (N, 2), on the network's device."""
    return logits_and_features(network, images, autocast=autocast)[0]


@torch.inference_mode()
def logits_and_features(network: Any, images: Tensor, *, autocast: Autocast = nullcontext) -> tuple[Tensor, Tensor]:
    """Return the logits and features of uint8 images (N, 3, H, W), on any device, by one forward pass.

    Both on the network's device: logits float32 (N, 2); features float32 (N, D), what the head reads before any
    standardisation.
    """
    device = next(network.parameters()).device
    inputs = network.prepare(images.to(device))
    with autocast():
        features = network.features(inputs)
        return network.classify(features).float(), features.float()


def margins(logits: Tensor) -> NDArray[np.float64]:
    """Return z_fake - z_real of logits (N, 2), float64 (N,)."""
    values = logits.cpu().double().numpy()
    return values[:, FAKE] - values[:, REAL]


def score_suite(network: Any, suite: Mapping[str, PixelStore], *, batch_size: int, crop: int,
                autocast: Autocast = nullcontext) -> pd.DataFrame:
    """Return the scores of the suite's test images, task by task in the order given.

    Columns: id (str), task (str), label (int8; 1 fake), source (str, the source photograph), logit (float64).
    """
    return score_table(suite, lambda store: {"logit": predict(network, store, batch_size=batch_size, crop=crop,
                                                              autocast=autocast)})


def score_table(suite: Mapping[str, PixelStore],
                columns: Callable[[PixelStore], Mapping[str, NDArray[np.float64]]]) -> pd.DataFrame:
    """Return the table of `score_suite` with the `columns` of each store, (N,) each: logit and perhaps others."""
    return pd.concat([
        pd.DataFrame({
            "id": store.ids, "task": task, "label": store.labels.astype(np.int8), "source": store.sources,
            **columns(store),
        })
        for task, store in suite.items()
    ], ignore_index=True)
