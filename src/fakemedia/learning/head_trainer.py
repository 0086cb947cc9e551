"""Training of the head only, on features that the frozen body computes once per picture and view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from os.path import commonpath
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fakemedia.core.rng import derive, integers
from fakemedia.core.tune import Tune
from fakemedia.learning.trainer import StageTrainer
from fakemedia.learning.validation import Validation
from fakemedia.memory.added_reals import AddedReals
from fakemedia.memory.draws import MemoryBatches
from fakemedia.memory.held_pictures import HeldPictures, Memory
from fakemedia.methods.method import StageData
from fakemedia.networks.detector import Detector
from fakemedia.networks.features import FeatureCache, Features, body_sha256
from fakemedia.networks.views import CENTRE, read_views, view_seed, with_augmented
from fakemedia.store.batches import Batch, Draws, TrainBatches
from fakemedia.store.pixels import PixelStore


class Head(Detector):
    """The head of a detector as a detector whose inputs are features, float32 (N, D); the weights are shared."""

    def __init__(self, detector: Detector) -> None:
        """Use the head of `detector` without its body."""
        nn.Module.__init__(self)
        self.front, self.body, self.head = nn.Identity(), nn.Identity(), detector.head
        self.register_buffer("feature_mean", detector.feature_mean)
        self.register_buffer("feature_scale", detector.feature_scale)
        self.register_buffer("correction", detector.correction)
        self.blocks, self.taps, self.width, self.maps = detector.blocks, "head", detector.width, False

    def prepare(self, images: Tensor) -> Tensor:
        """Return the features unchanged."""
        return images


@contextmanager
def fitting(trainer: StageTrainer, network: Detector, tuned: Tune, place: Callable[[str], Path] | None,
            standardised: Mapping[str, PixelStore],
            train: Mapping[str, PixelStore]) -> Iterator[tuple[StageTrainer, Detector]]:
    """Yield what a method receives: `trainer` and `network`, or, if only the head is tuned, those of features.

    `place` gives the folder for the features of a task; None: a temporary one, for a single process. `train` holds the
    training stores that a memory may have been selected from. From now on the head sees features standardised by the
    pictures of `standardised`, if any, so that one learning rate suits all features. The final head becomes that of
    `network`.
    """
    if tuned.kind != "head":
        yield trainer, network
        return
    with TemporaryDirectory() as scratch:
        made = HeadTrainer(**vars(trainer), network=network, train_stores=train,
                           place=place or (lambda task: Path(scratch) / task))
        if standardised:
            _standardise(network, [made.features(store).values[0] for store in standardised.values()])
        head = Head(network)
        yield made, head
        network.head = head.head


def _standardise(network: Detector, features: Sequence[NDArray[np.float32]]) -> None:
    """Let the head of `network` see features standardised by `features`, (N, D) each; constant ones become 0."""
    values = np.concatenate(features).astype(np.float64)
    mean, deviation = values.mean(0), values.std(0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6 * (1 + np.abs(mean)))
    device = next(network.parameters()).device
    network.feature_mean, network.feature_scale = (torch.from_numpy(each).float().to(device) for each in (mean, scale))


class FeatureBatches(TrainBatches):
    """Batches as `TrainBatches` draws them, with the features of a random view of each picture as images."""

    def __init__(self, stores: Sequence[PixelStore], features: Sequence[Features], **settings: object) -> None:
        """Take `features` of the pictures of each store, all in the same views."""
        super().__init__(stores, **settings)  # type: ignore[arg-type]
        self._features = features

    def to(self, device: torch.device, room: int) -> FeatureBatches:
        """Make the batches on `device` from now on."""
        self._device = device
        return self

    def _draw(self, epoch: int) -> Draws:
        """Return the draws of an epoch, the number of each picture's view as `tops`."""
        draws, views = super()._draw(epoch), len(self._features[0].views)
        return replace(draws, tops=integers(derive(self.seed, "view", epoch), np.arange(len(draws.rows)), views))

    def _batch(self, draws: Draws, epoch: int) -> Batch:
        values = np.empty((len(draws.rows), self._features[0].values.shape[-1]), np.float32)
        for task, features in enumerate(self._features):
            mine = np.flatnonzero(draws.tasks == task)
            values[mine] = features.values[draws.tops[mine], draws.rows[mine]]
        return Batch(images=torch.from_numpy(values), labels=torch.from_numpy(draws.labels),
                     tasks=torch.from_numpy(draws.tasks), rows=torch.from_numpy(draws.rows))


class FeatureMemory(MemoryBatches):
    """Batches as `MemoryBatches` draws them, with the features of a random view of each picture as images."""

    def __init__(self, memory: Memory, features: Sequence[Features], **settings: Any) -> None:
        """Take `features` of the pictures of each task, all in the same views, the centre first."""
        super().__init__(memory, **settings)
        self._features = features

    def _pictures(self, task: int, rows: NDArray[np.int64], positions: NDArray[np.int64], at_centre: bool,
                  draw: str) -> NDArray[Any]:
        values = self._features[task].values
        if at_centre:
            return values[0, rows]
        return values[integers(derive(self.seed, draw, "view"), positions, len(values)), rows]


@dataclass(kw_only=True)
class HeadTrainer(StageTrainer):
    """A trainer whose batches hold features of `network`, for a `Head` of it."""

    network: Detector
    """On the runtime's device; its body does not change."""
    place: Callable[[str], Path]
    """Returns the folder for the features of a task."""
    train_stores: Mapping[str, PixelStore] = field(default_factory=dict)
    """Training stores by task: the features of a memory's pictures are read among theirs, where these are kept."""

    def training_batches(self, stage: StageData, *, shared: bool) -> TrainBatches:
        """Return the training batches on the device: this process's share of each, or the whole."""
        config, stores = self.config, list(stage.train.values())
        features = [self.features(store, with_augmented(config.views, config.augment)) for store in stores]
        share = (self.runtime.rank, self.runtime.world) if shared else (0, 1)
        return FeatureBatches(stores, features, batch_size=config.batch_size, crop=config.crop, flip=False,
                              seed=stage.seed, share=share).to(self.runtime.device, 0)

    def _validation(self, stage: StageData, images: int) -> Validation:
        """Return the validation images: a head costs nothing beside their features: no limit of the cost."""
        config = replace(self.config, validation_share=None)
        return Validation(stage.validation, images, config, self.seed, self.runtime, self.evaluation_batches)

    def evaluation_batches(self, store: PixelStore, rows: NDArray[np.int64] | None = None,
                           room: int = 0) -> Iterable[Batch]:
        """Return the features of the centre crops of the images `rows` of `store`, in order, on the device."""
        rows = np.arange(len(store)) if rows is None else rows
        return self._batches(self.features(store).values[0], store.labels, rows)

    def training_examples(self, stores: Mapping[str, PixelStore], detector: Detector) -> Iterator[Batch]:
        """Yield the features of all images of `stores` in each of the training views, view by view."""
        views = with_augmented(self.config.views, self.config.augment)
        for task, store in enumerate(stores.values()):
            for values in self.features(store, views).values:
                for batch in self._batches(values, store.labels, np.arange(len(store))):
                    yield replace(batch, tasks=batch.tasks + task, inputs=detector.prepare(batch.images))

    def _batches(self, values: NDArray[np.float32], labels: NDArray[np.int64], rows: NDArray[np.int64]) -> list[Batch]:
        size = self.runtime.evaluation_batch(self.config.batch_size)
        return [Batch(images=torch.from_numpy(values[part]), labels=torch.from_numpy(labels[part]),
                      tasks=torch.zeros(len(part), dtype=torch.int64), rows=torch.from_numpy(part),
                      ).to(self.runtime.device) for part in np.split(rows, range(size, len(rows), size))]

    def memory_batches(self, memory: Memory, seed: int) -> MemoryBatches | None:
        """Return the features of the pictures of `memory` as batches, this process's share; None if it is empty."""
        if not memory.stores:
            return None
        views = [CENTRE, *(view for view in with_augmented(self.config.views, self.config.augment) if view != CENTRE)]
        return FeatureMemory(memory, [self.features(store, views) for store in memory.stores.values()], flip=False,
                             crop=self.config.crop, seed=seed, share=(self.runtime.rank, self.runtime.world),
                             device=self.runtime.device)

    def features(self, store: PixelStore, views: Sequence[str] = (CENTRE,)) -> Features:
        """Return the features of all pictures of `store` in `views`."""
        if isinstance(store, AddedReals):
            parts = [self.features(part, views) for part in store.parts]
            values = np.concatenate([part.values for part in parts], 1)[:, store.rows]
            return Features(values=values, labels=store.labels, task=store.task, views=parts[0].views)
        key = (store.fingerprint, tuple(views))
        if key not in self._held:
            held = isinstance(store, HeldPictures)
            self._held[key] = self._of_memory(store, views) if held else self._cache(store.task).read(store, views)
        return self._held[key]

    def _of_memory(self, store: HeldPictures, views: Sequence[str]) -> Features:
        """Return the features of pictures of a memory, from those of the training store that they are from.

        The few pictures change at every stage: features that must be computed are not stored.
        """
        whole = self.train_stores.get(store.task)
        drawn = any(view_seed(view, 0) is not None for view in read_views(views))
        rows = None if whole is None or drawn else store.rows_in(whole)
        found = None if whole is None or rows is None else self._cache(whole.task).find(whole, views)
        if found is None:
            return self._cache(store.task).compute(store, views)
        return replace(found, values=found.values[:, rows], labels=store.labels)

    @cached_property
    def _held(self) -> dict[tuple[str, tuple[str, ...]], Features]:
        return {}

    @cached_property
    def _caches(self) -> dict[str, FeatureCache]:
        return {}

    def _cache(self, task: str) -> FeatureCache:
        if task not in self._caches:
            size = self.runtime.evaluation_batch(self.config.batch_size)
            places = [self.place(each) for each in (task, f"{task}-")]
            self._caches[task] = FeatureCache(folder=places[0], detector=self.network, crop=self.config.crop,
                                              runtime=self.runtime, batch_size=size, within=Path(commonpath(places)),
                                              weights=self._weights)
        return self._caches[task]

    @cached_property
    def _weights(self) -> str:
        return body_sha256(self.network)
