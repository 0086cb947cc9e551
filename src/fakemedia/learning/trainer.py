"""Training of one stage: its batches, its validation and its loop."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from fakemedia.core.training import TrainingConfig
from fakemedia.learning.optimizers import Schedule, make_optimizer
from fakemedia.learning.resume import ResumeFiles
from fakemedia.learning.training_loop import Trained, TrainingLoop, copied_state
from fakemedia.learning.validation import VALIDATION_CACHE_BYTES, Validation
from fakemedia.memory.draws import MemoryBatches
from fakemedia.memory.memory import Memory
from fakemedia.methods.method import GradientMethod, StageData
from fakemedia.methods.moments import by_task
from fakemedia.networks.detector import Detector
from fakemedia.networks.norm_statistics import measure_statistics
from fakemedia.runtime.device import Runtime
from fakemedia.store.augmentations.augmentation import make_augment
from fakemedia.store.batches import Batch, EvalBatches, TrainBatches, on_device
from fakemedia.store.pixels import PixelStore


@dataclass(kw_only=True)
class StageTrainer:
    """The trainer of one stage, as `methods.method.Trainer` describes it to methods.

    With `folder`, the history goes to `<folder>.history.jsonl` and the state, after each epoch and inside it after
    every `runtime.save_minutes`, to `<folder>.resume.pt`, from which the next trainer with the same `identity`
    resumes, with the same result bit for bit. `on_epoch` receives each record of this process.
    """

    config: TrainingConfig
    runtime: Runtime
    seed: int
    """Seed of the loop, and of the choice of validation images."""
    folder: Path | None = None
    identity: Mapping[str, str] = field(default_factory=dict)
    label: str = ""
    on_epoch: Callable[[Mapping[str, Any]], None] | None = None
    on_saved: Callable[[Path], None] | None = None
    """Called with `folder` after each save of the state, and counted as part of its time."""
    trained: Trained | None = None
    """The result of `train`; None before."""

    def train(self, method: GradientMethod, stage: StageData, detector: Detector) -> None:
        """Train `detector`, which is on the runtime's device, and leave the selected epoch's weights in it.

        The selected epoch has the best mean accuracy over the tasks of `stage.validation` (the earliest of several), or
        is the last one if there are none. Raises UserError for a loss or weights that are not finite; the last state
        saved is kept. Ctrl-C and SIGTERM end as KeyboardInterrupt, with the state after the last complete step saved.
        """
        if self.trained is not None:
            raise RuntimeError("a method trains once a stage")
        batches = self.training_batches(stage, shared=True)
        optimizer = make_optimizer(detector, self.config)
        loop = TrainingLoop(
            detector=detector, method=method, stage=stage, train=batches, config=self.config, seed=self.seed,
            runtime=self.runtime, optimizer=optimizer, schedule=Schedule(optimizer, self.config, batches.steps),
            validation=self._validation(stage, batches.images),
            files=None if self.folder is None else ResumeFiles(self.folder, self.identity, self.on_saved),
        )
        with self.runtime.reproducible():
            self.trained = loop.run(self.label or stage.key, self.on_epoch)
            if self.config.norm_statistics == "reestimated":
                self._measure_statistics(stage, detector)
                self.trained = replace(self.trained, weights=copied_state(detector), measured_again=True)

    def _measure_statistics(self, stage: StageData, detector: Detector) -> None:
        """Measure the statistics of batch normalisation over one pass, as one process does.

        Of several processes each takes some of the batches, or its share of each where the layers themselves combine
        the statistics of all.
        """
        rank, world = self.runtime.rank, self.runtime.world
        batches = self._balanced(stage)
        if any(isinstance(layer, nn.SyncBatchNorm) for layer in detector.modules()):
            parts = (images[len(images) * rank // world:len(images) * (rank + 1) // world] for images in batches)
            measure_statistics(detector, map(detector.prepare, parts))
        else:
            measure_statistics(detector, map(detector.prepare, islice(batches, rank, None, world)),
                               total=self.runtime.total if world > 1 else None)

    def _balanced(self, stage: StageData) -> Iterator[Tensor]:
        """Yield the images of one pass, each task of the stage and of its memory with the same share of every batch.

        They are the same in every process.
        """
        memory, new = stage.memory, len(stage.train)
        for step, batch in enumerate(self.training_batches(stage, shared=False).epoch(self.config.epochs)):
            images, size = batch.images, len(batch.images)
            if memory is not None:
                count = min(size - 1, max(1, round(size * new / (new + len(memory.memory.stores)))))
                memory_batch = memory.batch(step, size - count, draw="statistics", whole=True)
                images = torch.cat([images[:count], memory_batch.images])
            yield images

    def batches(self, stage: StageData, detector: Detector, *, epoch: int = 0) -> Iterator[Batch]:
        """Yield random crops of the stage's training images with `inputs` set: one pass, the same in every process."""
        for batch in self.training_batches(stage, shared=False).epoch(epoch):
            yield replace(batch, inputs=detector.prepare(batch.images))

    def examples(self, stores: Mapping[str, PixelStore], detector: Detector, *,
                 shared: bool = False) -> Iterator[Batch]:
        """Yield the centre crops of all images of `stores` in order, with `inputs` set.

        They are the same in every process; if `shared`, each of several processes gets every n-th batch of a store.
        """
        for task, store in enumerate(stores.values()):
            batches = self.evaluation_batches(store, self._rows(len(store)) if shared else None)
            for batch in on_device(batches, self.runtime.device):
                yield replace(batch, tasks=batch.tasks + task, inputs=detector.prepare(batch.images))

    def training_examples(self, stores: Mapping[str, PixelStore], detector: Detector, *,
                          shared: bool = False) -> Iterator[Batch]:
        """Yield what `examples` does: one crop of each training image."""
        return self.examples(stores, detector, shared=shared)

    def _rows(self, count: int) -> NDArray[np.int64]:
        """Return this process's share of `count` rows: complete batches, so that each is computed as by one process."""
        batches = np.arange(count) // self._example_batch
        return np.flatnonzero(batches % self.runtime.world == self.runtime.rank)

    @property
    def _example_batch(self) -> int:
        """Images of a batch of examples."""
        return self.runtime.evaluation_batch(self.config.batch_size)

    def total(self, values: Tensor) -> Tensor:
        """Return the sum of `values`, which may be overwritten, over the processes."""
        return self.runtime.total(values)

    def gather(self, parts: Sequence[Tensor], like: Tensor) -> Tensor:
        """Return the outputs (N, ...) of all processes for `shared` examples of one store, in the order of their rows.

        `parts` are the outputs of this process, (n, ...) for each batch; `like` (0, ...) has their type and device.
        """
        rank, world = self.runtime.rank, self.runtime.world
        if world == 1:
            return torch.cat([like, *parts])
        count = int(self.total(torch.tensor(len(parts), device=like.device)))
        sizes = torch.zeros(count, dtype=torch.int64, device=like.device)
        sizes[rank::world] = torch.tensor([len(part) for part in parts], dtype=torch.int64, device=like.device)
        offsets = self.total(sizes).cumsum(0).tolist()
        rows = like.new_zeros(offsets[-1], *like.shape[1:])
        for end, part in zip(offsets[rank::world], parts, strict=True):
            rows[end - len(part):end] = part
        return self.total(rows)

    def picture_features(self, store: PixelStore, detector: Detector) -> NDArray[np.float32]:
        """Return the features of the centre crops of `store`, (N, D), before any standardisation."""
        (features, _), = by_task({store.task: store}, detector, self).values()
        return features.cpu().numpy()

    def accuracies(self, stage: StageData, detector: Detector) -> dict[str, float]:
        """Return the accuracy of `detector` on the stage's validation images by task, percent."""
        return self._validation(stage, sum(len(store) for store in stage.train.values())).accuracies(detector)

    def _validation(self, stage: StageData, images: int) -> Validation:
        def batches(rows: Mapping[str, NDArray[np.int64]]) -> Sequence[Iterable[Batch]]:
            return [self.evaluation_batches(stage.validation[task], numbers, VALIDATION_CACHE_BYTES // len(rows))
                    for task, numbers in rows.items()]

        return Validation(stage.validation, images, self.config, self.seed, self.runtime, batches)

    def evaluation_batches(self, store: PixelStore, rows: NDArray[np.int64] | None = None,
                           room: int = 0) -> Iterable[Batch]:
        """Return the centre crops of images `rows` of `store`, in order; see `EvalBatches.cached` for `room`."""
        batches = EvalBatches(store, batch_size=self._example_batch, crop=self.config.crop, rows=rows)
        return batches.cached(self.runtime.device, room)

    def memory_batches(self, memory: Memory, seed: int) -> MemoryBatches | None:
        """Return the pictures of `memory` as batches, drawn by `seed`: this process's share; None if it is empty."""
        if not memory.stores:
            return None
        return MemoryBatches(memory, crop=self.config.crop, flip=self.config.flip, seed=seed,
                             share=(self.runtime.rank, self.runtime.world), device=self.runtime.device,
                             augment=make_augment(self.config.augment))

    def training_batches(self, stage: StageData, *, shared: bool) -> TrainBatches:
        """Return the training batches on the device: this process's share of each, or the whole."""
        config, runtime = self.config, self.runtime
        batches = TrainBatches(list(stage.train.values()), batch_size=config.batch_size, crop=config.crop,
                               flip=config.flip, seed=stage.seed, augment=make_augment(config.augment),
                               share=(runtime.rank, runtime.world) if shared else (0, 1))
        return batches.to(runtime.device, runtime.room() if shared else 0)
