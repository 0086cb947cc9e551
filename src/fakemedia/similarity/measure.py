"""The interface of similarity measures: samples of tasks in, a matrix of distances out.

A measure is one file with a `Config` and `build(config) -> Measure`. The expensive part is computed once per task
(`summarise`), the cheap part once per pair of tasks (`distance`), so its cost is linear in images. Its file may define
`VERSION`, raised when its distances change, and `READS`, what it reads under any settings.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from fakemedia.artefacts.files import replacing
from fakemedia.core.errors import UserError
from fakemedia.core.hashing import fingerprint
from fakemedia.core.types import CLASS_FOLDERS, FAKE, REAL
from fakemedia.similarity.distance_recipes import SAMPLES_VERSION
from fakemedia.similarity.spectra import TILE, spectral_statistics
from fakemedia.store.batches import select_rows
from fakemedia.store.pixels import PixelStore

BATCH_SIZE = 64


@dataclass(frozen=True, eq=False, kw_only=True)
class TaskSample:
    """Images of one task, their local spectra and the features that a frozen network gives them.

    All measures receive the same sample, so spectra and features are computed once.
    """

    task: str
    images: NDArray[np.uint8]
    """Crops in their native resolution, (N, H, W, 3)."""
    labels: NDArray[np.integer]
    """0 real, 1 fake, (N,)."""
    network: Any = None
    """A torch module with `prepare(images uint8 (N, 3, H, W)) -> inputs` and `features(inputs) -> (N, D)`, such as any
    detector of `networks`; None if no measure reads features."""
    cache: ArrayCache | None = None
    """Where spectra and features are stored between runs; None: nowhere."""

    def of(self, label: int) -> NDArray[np.bool_]:
        """Return the mask (N,) of the images with this label."""
        return self.labels == label

    @cached_property
    def features(self) -> NDArray[np.float64]:
        """Features of the frozen network, (N, D); UserError without a network or if a feature is not finite."""
        network = require_network(self)
        features = self._cached("features", lambda: extract_features(network, self.images))
        not_finite = int((~np.isfinite(features)).any(axis=1).sum())
        if not_finite:
            raise UserError(f"The features of {not_finite} images by the network are not finite",
                            where=f"task {self.task}", expected="finite features",
                            do="check the weights of the network that the measures start from")
        return features

    @cached_property
    def spectra(self) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Level and spread of the local spectra, (N, 16, 9) both (see `spectra.spectral_statistics`)."""
        if min(self.images.shape[1:3]) < TILE:
            raise UserError(f"The crops are {_size(self)} pixels", where=f"task {self.task}",
                            expected=f"at least {TILE}x{TILE}")
        level, spread = self._cached("spectra", lambda: np.stack(spectral_statistics(self.images)))
        return level, spread

    def _cached(self, name: str, compute: Callable[[], NDArray]) -> NDArray:
        return compute() if self.cache is None else self.cache.array(name, compute)


@dataclass(frozen=True, kw_only=True)
class ArrayCache:
    """Arrays in files whose names contain the fingerprint of their inputs."""

    folder: Path
    keys: Mapping[str, str]
    """Fingerprint of all that an array depends on, by its name."""

    def array(self, name: str, compute: Callable[[], NDArray]) -> NDArray:
        """Return the array `name`, computed and written (atomically) unless a valid file exists."""
        path = self.folder / f"{name}-{self.keys[name]}.npy"
        try:
            return np.load(path)
        except (OSError, ValueError, EOFError):
            array = compute()
        with replacing(path) as scratch, scratch.open("wb") as file:
            np.save(file, array)
        return array


def sample_task(store: PixelStore, *, maximum: int | None, crop: int, seed: int, network: Any = None,
                network_key: str = "", folder: Path | None = None) -> TaskSample:
    """Return centre crops of `crop` pixels a side of at most `maximum` images of the store, drawn by `seed`.

    With `folder`, spectra and features are stored there; `network_key` distinguishes the features of different
    networks.
    """
    rows = select_rows(store, maximum, seed)
    selection = {"store": store.fingerprint, "maximum": maximum, "crop": crop, "seed": seed}
    cache = None if folder is None else ArrayCache(folder=folder, keys={
        "spectra": fingerprint({**selection, "version": SAMPLES_VERSION}),
        "features": fingerprint({**selection, "version": SAMPLES_VERSION, "network": network_key})})
    return TaskSample(task=store.task, images=store.centre_crops(rows, crop), labels=store.labels[rows],
                      network=network, cache=cache)


@dataclass(frozen=True, kw_only=True)
class Measure:
    """A distance between tasks, split into a part for each task and a part for each pair of tasks."""

    summarise: Callable[[TaskSample], Any]
    """Returns the summary of one task that `distance` takes; called once per task."""
    distance: Callable[[Any, Any], float]
    """The distance, at least 0, from the summary of one task to that of another."""
    reads: Literal["name", "images", "features"]
    """The part of a sample that it reads; `features` needs a network."""
    symmetric: bool = True
    """Whether distance(a, b) = distance(b, a)."""
    min_images: int = 2
    """Images of each class of each task that it needs."""


def distance_matrix(measure: Measure, samples: Sequence[TaskSample], *, progress: bool = True) -> pd.DataFrame:
    """Return the distances between tasks as a square table, float64 (T, T), labelled by task in the given order.

    Row = the task that the distance starts from, column = the task that it leads to; the diagonal is 0 by definition.
    Raises UserError for samples that `check_samples` refuses or a distance that is not finite.
    """
    check_samples(measure, samples)
    tasks = [sample.task for sample in samples]
    disable = None if progress else True
    summaries = [measure.summarise(sample) for sample in tqdm(samples, desc="tasks", unit="task", disable=disable)]
    matrix = np.zeros((len(tasks), len(tasks)))
    for i, first in enumerate(summaries):
        for j, second in enumerate(summaries):
            if i < j or (i > j and not measure.symmetric):
                matrix[i, j] = measure.distance(first, second)
            elif i > j:
                matrix[i, j] = matrix[j, i]
            if not np.isfinite(matrix[i, j]):
                raise UserError(f"The distance between two tasks is {matrix[i, j]}",
                                where=f"tasks {tasks[i]} and {tasks[j]}", expected="a finite number")
    return pd.DataFrame(matrix, index=tasks, columns=tasks)


def check_samples(measure: Measure, samples: Sequence[TaskSample]) -> None:
    """Raise UserError unless there are two tasks or more, named once each, with the images that `measure` needs."""
    tasks = [sample.task for sample in samples]
    if len(tasks) < 2:
        raise UserError("A distance needs two tasks", where=f"tasks {', '.join(tasks) or '(none)'}",
                        expected="at least 2 tasks", do="name more tasks in the sequence")
    for task in tasks:
        if tasks.count(task) > 1:
            raise UserError(f"The task {task!r} is given twice", expected="each task once")
    if measure.reads == "name":
        return
    for sample in samples:
        _check_images(sample, measure.min_images)
        if sample.images.shape[1:] != samples[0].images.shape[1:]:
            raise UserError(f"The crops are {_size(sample)}, those of {tasks[0]} are {_size(samples[0])} pixels",
                            where=f"task {sample.task}", expected="crops of one size")
        if measure.reads == "features":
            require_network(sample)


def check_names(measure: Measure, tasks: Iterable[str]) -> None:
    """Raise UserError if `measure` reads the names of tasks and does not know one of `tasks`."""
    if measure.reads == "name":
        for task in tasks:
            measure.summarise(TaskSample(task=task, images=np.empty((0, 0, 0, 3), np.uint8), labels=np.empty(0, int)))


def _check_images(sample: TaskSample, minimum: int) -> None:
    images, labels, source = sample.images, np.asarray(sample.labels), f"task {sample.task}"
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UserError(f"The images are {images.dtype} {images.shape}", where=source, expected="uint8 (N, H, W, 3)")
    if labels.shape != images.shape[:1] or not np.isin(labels, (REAL, FAKE)).all():
        raise UserError("The labels do not fit the images", where=source, expected="0 or 1 for each image")
    for label, name in enumerate(CLASS_FOLDERS):
        class_images = images[labels == label]
        if len(class_images) < minimum:
            raise UserError(f"There are {len(class_images)} images of class {name}", where=source,
                            expected=f"at least {minimum}", do="sample more images, or leave the task out")
        if all(image.min() == image.max() for image in class_images):
            raise UserError(f"Every image of class {name} is constant", where=source,
                            expected="pictures with texture", do="check how the images were made")


def _size(sample: TaskSample) -> str:
    return f"{sample.images.shape[2]}x{sample.images.shape[1]}"


def require_network(sample: TaskSample) -> Any:
    """Return the sample's network; UserError if it has none."""
    if sample.network is None:
        raise UserError("The measure reads features and no network is given", where=f"task {sample.task}",
                        expected="a frozen network", do="name the network of the sequence")
    return sample.network


def network_inputs(network: Any, images: NDArray[np.uint8]) -> Iterator[torch.Tensor]:
    """Yield uint8 images (N, H, W, 3) as batches of the network's inputs, on the network's device."""
    device = next(network.parameters()).device
    for start in range(0, len(images), BATCH_SIZE):
        batch = torch.from_numpy(np.ascontiguousarray(images[start:start + BATCH_SIZE]))
        yield network.prepare(batch.permute(0, 3, 1, 2).to(device))


def extract_features(network: Any, images: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the network's features in evaluation mode, float64 (N, D); the network's mode is restored."""
    training = network.training
    network.eval()
    try:
        with torch.inference_mode():
            parts = [network.features(inputs).float().cpu() for inputs in network_inputs(network, images)]
    finally:
        network.train(training)
    return torch.cat(parts).double().numpy()
