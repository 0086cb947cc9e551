"""Training of the head only, on features that the frozen body computes once per picture and view."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from itertools import chain, islice
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
from fakemedia.memory.memory import Memory, StoredPictures
from fakemedia.methods.method import StageData
from fakemedia.networks.detector import Detector
from fakemedia.networks.features import FeatureCache, Features, body_sha256
from fakemedia.networks.taps import Taps
from fakemedia.networks.views import CENTRE, read_views, view_seed, with_augmented
from fakemedia.store.batches import Batch, Draws, TrainBatches
from fakemedia.store.pixels import PixelStore

EVALUATION_BATCH = 4096
"""Pictures whose features the head evaluates at once."""


class Head(Detector):
    """The head of a detector as a detector whose inputs are features, float32 (N, D); the weights are shared."""

    def __init__(self, detector: Detector, *, standardised: bool = False) -> None:
        """Use the head of `detector` without its body; `standardised`: its inputs are standardised already."""
        nn.Module.__init__(self)
        self.front, self.body, self.head = nn.Identity(), nn.Identity(), detector.head
        self.register_buffer("feature_mean", None if standardised else detector.feature_mean)
        self.register_buffer("feature_scale", None if standardised else detector.feature_scale)
        self.register_buffer("correction", detector.correction)
        self.blocks, self.taps, self.width, self.maps = detector.blocks, "head", detector.width, False

    def prepare(self, images: Tensor) -> Tensor:
        """Return the features unchanged."""
        return images


@dataclass(frozen=True, kw_only=True)
class FrozenBody:
    """A body whose weights do not change: it is needed only where features must be computed."""

    build: Callable[[], Detector]
    """Returns the network, on the runtime's device."""
    sha256: str
    """`networks.features.body_sha256` of it."""
    taps: Taps
    width: int
    """D, the numbers of its features."""

    @classmethod
    def of(cls, network: Detector) -> FrozenBody:
        """Return the body of `network`, which is on its device."""
        return cls(build=lambda: network, sha256=body_sha256(network), taps=network.taps, width=network.width)

    @cached_property
    def network(self) -> Detector:
        """The network, built when it is first needed."""
        return self.build()

    def facts(self) -> dict[str, Any]:
        """Return what a checkpoint records of the body."""
        return {"sha256": self.sha256, "taps": self.taps, "width": self.width}


@contextmanager
def fitting(trainer: StageTrainer, network: Detector, tuned: Tune, feature_folder: Callable[[str], Path] | None,
            standardised: Mapping[str, PixelStore], train: Mapping[str, PixelStore],
            body: FrozenBody | None = None) -> Iterator[tuple[StageTrainer, Detector]]:
    """Yield what a method receives: `trainer` and `network`, or, if only the head is tuned, those of features.

    `feature_folder` gives the folder for the features of a task; None: a temporary one, for a single process. `train`
    holds the training stores that a memory may have been selected from. From now on the head sees features
    standardised by the pictures of `standardised`, if any, so that one learning rate suits all features. The final head
    becomes that of `network`, whose body may be missing if `body` is given.
    """
    if tuned.kind != "head":
        yield trainer, network
        return
    with TemporaryDirectory() as scratch:
        head_trainer = HeadTrainer(**vars(trainer), network=network, train_stores=train, body=body,
                                   feature_folder=feature_folder or (lambda task: Path(scratch) / task))
        if standardised:
            _standardise(network, [head_trainer.features(store).values[0] for store in standardised.values()])
        head = Head(network, standardised=True)
        yield head_trainer, head
        network.head = head.head


def _standardise(network: Detector, features: Sequence[NDArray[np.float32]]) -> None:
    """Let the head of `network` see features standardised by `features`, (N, D) each; constant ones become 0."""
    values = np.concatenate(features).astype(np.float64)
    mean, deviation = values.mean(0), values.std(0)
    scale = np.divide(1.0, deviation, out=np.zeros_like(deviation), where=deviation > 1e-6 * (1 + np.abs(mean)))
    device = next(network.parameters()).device
    network.feature_mean, network.feature_scale = (torch.from_numpy(statistic).float().to(device)
                                                   for statistic in (mean, scale))


class FeatureBatches(TrainBatches):
    """Batches as `TrainBatches` draws them, with the features of a random view of each picture as images."""

    def __init__(self, stores: Sequence[PixelStore], inputs: Tensor, **settings: object) -> None:
        """Take `inputs`, (views, N, D), of the N pictures of `stores`, one store after another."""
        super().__init__(stores, **settings)  # type: ignore[arg-type]
        self._inputs, self._views, self._starts = inputs.flatten(0, 1), len(inputs), _starts(stores)

    def to(self, device: torch.device, room: int) -> FeatureBatches:
        """Make the batches on `device` from now on."""
        self._device = device
        return self

    def _draw(self, epoch: int) -> Draws:
        """Return the draws of an epoch, the number of each picture's view as `tops`."""
        draws = super()._draw(epoch)
        views = integers(derive(self.seed, "view", epoch), np.arange(len(draws.rows)), self._views)
        return replace(draws, tops=views, positions=views * self._starts[-1] + self._starts[draws.tasks] + draws.rows)

    def _batch(self, draws: Draws, epoch: int) -> Batch:
        images = self._inputs.index_select(0, torch.from_numpy(draws.positions))
        return Batch(images=images, labels=torch.from_numpy(draws.labels), tasks=torch.from_numpy(draws.tasks),
                     rows=torch.from_numpy(draws.rows))


class FeatureMemory(MemoryBatches):
    """Batches as `MemoryBatches` draws them, with the features of a random view of each picture as images."""

    def __init__(self, memory: Memory, inputs: Tensor, **settings: Any) -> None:
        """Take `inputs`, (views, N, D), of the N pictures of `memory`, one task after another, the centre first."""
        super().__init__(memory, **settings)
        self._inputs, self._views, self._starts = inputs.flatten(0, 1), len(inputs), _starts([*memory.stores.values()])

    def _images(self, tasks: NDArray[np.int64], rows: NDArray[np.int64], positions: NDArray[np.int64],
                at_centre: bool, draw: str) -> Tensor:
        first = at_centre or self._views == 1
        views = 0 if first else integers(derive(self.seed, draw, "view"), positions, self._views)
        indices = views * self._starts[-1] + self._starts[tasks] + rows
        return self._inputs.index_select(0, torch.from_numpy(indices))  # indexing takes three times as long


def _starts(stores: Sequence[PixelStore]) -> NDArray[np.int64]:
    """Return the position of each store's first picture among those of all, and the number of all."""
    return np.cumsum([0, *map(len, stores)])


@dataclass(kw_only=True)
class HeadTrainer(StageTrainer):
    """A trainer whose batches hold features of `network`, for a `Head` of it."""

    network: Detector
    """On the runtime's device; only its head changes."""
    feature_folder: Callable[[str], Path]
    """Returns the folder for the features of a task."""
    train_stores: Mapping[str, PixelStore] = field(default_factory=dict)
    """Training stores by task: the features of a memory's pictures are read among theirs, where these are kept."""
    body: FrozenBody | None = None
    """The body, if `network` has none."""

    def training_batches(self, stage: StageData, *, shared: bool) -> TrainBatches:
        """Return the training batches on the device: this process's share of each, or the whole."""
        config, stores = self.config, list(stage.train.values())
        inputs = self._stacked(stores, with_augmented(config.views, config.augment))
        share = (self.runtime.rank, self.runtime.world) if shared else (0, 1)
        return FeatureBatches(stores, inputs, batch_size=config.batch_size, crop=config.crop, flip=False,
                              seed=stage.seed, share=share).to(self.runtime.device, 0)

    def _validation(self, stage: StageData, images: int) -> Validation:
        """Return the validation images of all tasks in common batches.

        A head costs nothing beside their features: no limit of the cost.
        """
        def batches(rows: Mapping[str, NDArray[np.int64]]) -> Sequence[Iterable[Batch]]:
            stores = [(stage.validation[task], numbers) for task, numbers in rows.items()]
            values = [self._standardised(self.features(store))[0][torch.from_numpy(numbers)]
                      for store, numbers in stores]
            labels = [store.labels[numbers] for store, numbers in stores]
            joined = np.concatenate(labels) if labels else np.empty(0, np.int64)
            return [self._batches(torch.cat(values), joined, np.arange(len(joined)))] if labels else []

        config = replace(self.config, validation_share=None)
        return Validation(stage.validation, images, config, self.seed, self.runtime, batches)

    @property
    def _example_batch(self) -> int:
        """Images of a batch of examples: features cost nothing to classify."""
        return EVALUATION_BATCH

    def evaluation_batches(self, store: PixelStore, rows: NDArray[np.int64] | None = None,
                           room: int = 0) -> Iterable[Batch]:
        """Return the features of the centre crops of the images `rows` of `store`, in order, on the device.

        They are standardised where the head expects that, as those of all batches and examples.
        """
        rows = np.arange(len(store)) if rows is None else rows
        return self._batches(self._standardised(self.features(store))[0], store.labels, rows)

    def training_examples(self, stores: Mapping[str, PixelStore], detector: Detector, *,
                          shared: bool = False) -> Iterator[Batch]:
        """Yield the features of all images of `stores` in each of the training views, view by view.

        If `shared`, each of several processes gets every n-th batch of a store.
        """
        views = with_augmented(self.config.views, self.config.augment)
        first, step = (self.runtime.rank, self.runtime.world) if shared else (0, 1)
        for task, store in enumerate(stores.values()):
            batches = chain.from_iterable(self._batches(values, store.labels, np.arange(len(store)))
                                          for values in self._standardised(self.features(store, views)))
            for batch in islice(batches, first, None, step):
                yield replace(batch, tasks=batch.tasks + task, inputs=detector.prepare(batch.images))

    def picture_features(self, store: PixelStore, detector: Detector) -> NDArray[np.float32]:
        """Return the features of the centre crops of `store`, (N, D), before any standardisation."""
        return self.features(store).values[0]

    def _batches(self, values: Tensor, labels: NDArray[np.int64], rows: NDArray[np.int64]) -> list[Batch]:
        values = values if len(rows) == len(values) else values[torch.from_numpy(rows)]
        return [Batch(images=values[start:start + self._example_batch], labels=torch.from_numpy(labels[part]),
                      tasks=torch.zeros(len(part), dtype=torch.int64), rows=torch.from_numpy(part),
                      ).to(self.runtime.device)
                for start in range(0, len(rows), self._example_batch)
                for part in [rows[start:start + self._example_batch]]]

    def _standardised(self, features: Features) -> Tensor:
        """Return the values of `features` as the head sees them, (views, N, D), in the host's memory."""
        values, mean, scale = torch.from_numpy(features.values), self.network.feature_mean, self.network.feature_scale
        return values if mean is None or scale is None else (values - mean.cpu()).mul_(scale.cpu())

    def _stacked(self, stores: Sequence[PixelStore], views: Sequence[str]) -> Tensor:
        """Return the head's inputs for the pictures of `stores`, one store after another, (views, N, D)."""
        parts = [self._standardised(self.features(store, views)) for store in stores]
        return parts[0] if len(parts) == 1 else torch.cat(parts, 1)

    def memory_batches(self, memory: Memory, seed: int) -> MemoryBatches | None:
        """Return the features of the pictures of `memory` as batches, this process's share; None if it is empty."""
        if not memory.stores:
            return None
        views = [CENTRE, *(view for view in with_augmented(self.config.views, self.config.augment) if view != CENTRE)]
        return FeatureMemory(memory, self._stacked([*memory.stores.values()], views), flip=False,
                             crop=self.config.crop, seed=seed, share=(self.runtime.rank, self.runtime.world),
                             device=self.runtime.device)

    def features(self, store: PixelStore, views: Sequence[str] = (CENTRE,)) -> Features:
        """Return the features of all pictures of `store` in `views`."""
        if isinstance(store, AddedReals):
            parts = [self.features(part, views) for part in store.parts]
            values = np.concatenate([part.values for part in parts], 1)[:, store.rows]
            return Features(values=values, labels=store.labels, task=store.task, views=parts[0].views)
        key = (store.fingerprint, tuple(views))
        if key not in self._features_read:
            in_memory = isinstance(store, StoredPictures)
            self._features_read[key] = (self._memory_features(store, views) if in_memory
                                        else self._cache(store.task).read(store, views))
        return self._features_read[key]

    def _memory_features(self, store: StoredPictures, views: Sequence[str]) -> Features:
        """Return the features of pictures of a memory, from those of the training store that they are from.

        The few pictures change at every stage: features that must be computed are not stored.
        """
        train_store = self.train_stores.get(store.task)
        is_random = any(view_seed(view, 0) is not None for view in read_views(views))
        rows = None if train_store is None or is_random else store.rows_in(train_store)
        stored = None if train_store is None or rows is None else self._cache(train_store.task).find(train_store, views)
        if stored is None:
            return self._cache(store.task).compute(store, views)
        return replace(stored, values=stored.values[:, rows], labels=store.labels)

    @cached_property
    def _features_read(self) -> dict[tuple[str, tuple[str, ...]], Features]:
        return {}

    @cached_property
    def _caches(self) -> dict[str, FeatureCache]:
        return {}

    def _cache(self, task: str) -> FeatureCache:
        if task not in self._caches:
            size = self.runtime.evaluation_batch(self.config.batch_size)
            folders = [self.feature_folder(name) for name in (task, f"{task}-")]
            self._caches[task] = FeatureCache(
                folder=folders[0], detector=lambda: self.frozen.network, crop=self.config.crop, runtime=self.runtime,
                batch_size=size, within=Path(commonpath(folders)), weights=self.frozen.sha256, taps=self.frozen.taps)
        return self._caches[task]

    @cached_property
    def frozen(self) -> FrozenBody:
        """The body that features are computed by."""
        return self.body or FrozenBody.of(self.network)
