"""Scores of perturbed test images."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import islice
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray

from fakemedia.core.rng import derive
from fakemedia.evaluation.perturbations.perturbation import Condition
from fakemedia.evaluation.predict import Autocast, class_logits, evaluating, margins
from fakemedia.runtime.threads import cores, thread_map
from fakemedia.store.batches import select_rows
from fakemedia.store.crops import centre_crop
from fakemedia.store.pixels import PixelStore

T = TypeVar("T")


def perturbed_crops(picture: NDArray[np.uint8], id: str, conditions: Sequence[Condition],
                    crop: int) -> NDArray[np.uint8]:
    """Return a picture under each of C conditions, uint8 (C, crop, crop, 3).

    `picture`, uint8 (H, W, 3), is perturbed first and then cropped at the centre, as other test images are.
    """
    return np.stack([centre_crop(condition(picture, id), crop) for condition in conditions])


def score_perturbed(network: Any, suite: Mapping[str, PixelStore], conditions: Sequence[Condition], *,
                    per_task_max: int | None, batch_size: int, crop: int, autocast: Autocast = nullcontext,
                    label: str = "robustness", progress: bool = True) -> pd.DataFrame:
    """Return the scores of the suite's test images under every condition, at most `per_task_max` images per task.

    Columns as `predict.score_suite` gives them, then perturbation (str) and strength (float64). A picture is read once
    and perturbed by all cores while the network computes. The images of a task are the same for every network.
    """
    images = [(task, store, row) for task, store in suite.items()
              for row in select_rows(store, per_task_max, derive(0, "robustness", task)).tolist()]

    def perturbed(item: tuple[str, PixelStore, int]) -> NDArray[np.uint8]:
        _, store, row = item
        return perturbed_crops(store[row], store.ids[row], conditions, crop)

    chunk = max(1, batch_size // len(conditions))
    crops = thread_map(perturbed, images, workers=cores(), total=len(images), title=label, progress=progress,
                       ahead=2 * chunk)
    with evaluating(network):
        logits = margins(torch.cat([
            class_logits(network, torch.from_numpy(np.concatenate(batch)).permute(0, 3, 1, 2), autocast=autocast)
            for batch in _groups(crops, chunk)]))
    scores = pd.DataFrame({
        "id": [store.ids[row] for _, store, row in images], "task": [task for task, _, _ in images],
        "label": np.array([store.labels[row] for _, store, row in images], np.int8),
        "source": [store.sources[row] for _, store, row in images],
    })
    condition_columns = pd.DataFrame({"perturbation": [condition.name for condition in conditions],
                                      "strength": [condition.strength for condition in conditions]})
    table = scores.merge(condition_columns, how="cross")
    table.insert(4, "logit", logits)
    return table


def _groups(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """Yield the items in lists of `size`, the last one may be shorter."""
    remaining = iter(items)
    while group := list(islice(remaining, size)):
        yield group
