"""Crops of concurrent requests go through the network together."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fakemedia.scoring.model import Model
from fakemedia.scoring.scores import picture_novelty


@dataclass(frozen=True, kw_only=True)
class Computed:
    """What the network gives for the crops of one picture."""

    logits: NDArray[np.float64]
    """z_fake - z_real of each crop, (K,)."""
    embedding: NDArray[np.float32] | None
    """Mean of the embeddings of the crops, (D,); None without crops, and from models without embeddings."""
    novelty: float
    """See `scoring.scores.picture_novelty`."""


@dataclass(frozen=True)
class _Job:
    model: Model
    crops: NDArray[np.uint8]
    answer: Future[Computed]


class Batcher:
    """Threads that run the network on the waiting crops, each on `max_crops` at once."""

    def __init__(self, *, max_crops: int, wait: float, threads: int,
                 on_batch: Callable[[int], None] = lambda crops: None) -> None:
        """An incomplete batch waits `wait` seconds for more crops; `on_batch` gets the crops of each batch."""
        self._max_crops, self._wait, self._on_batch = max_crops, wait, on_batch
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._next: _Job | None = None
        self._collecting = threading.Lock()
        self._threads = [threading.Thread(target=self._run, name=f"batches-{number}", daemon=True)
                         for number in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, model: Model, crops: NDArray[np.uint8], answer: Future[Computed]) -> None:
        """Complete `answer` with what `model` gives for the crops of one picture, uint8 (K, crop, crop, 3).

        It is cancelled like any future; a job that is cancelled before its batch is not computed.
        """
        if len(crops):
            self._jobs.put(_Job(model, crops, answer))
        elif answer.set_running_or_notify_cancel():
            answer.set_result(Computed(logits=np.empty(0), embedding=None, novelty=np.nan))

    def close(self) -> None:
        """Process the waiting jobs, then stop the threads."""
        self._jobs.put(None)
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._collecting:
                batch = self._collect()
            if not batch:
                return
            running = [job for job in batch if job.answer.set_running_or_notify_cancel()]
            if running:
                self._compute(running)

    def _collect(self) -> list[_Job]:
        """Return the jobs of the next batch, all for one model; none at the end."""
        first, self._next = self._next or self._jobs.get(), None
        if first is None:
            self._jobs.put(None)  # For the other threads.
            return []
        batch, crops, until = [first], len(first.crops), time.monotonic() + self._wait
        while crops < self._max_crops:
            try:
                remaining = until - time.monotonic()
                job = self._jobs.get(timeout=remaining) if remaining > 0 else self._jobs.get_nowait()
            except queue.Empty:
                break
            if job is None:
                self._jobs.put(None)
                break
            if job.model is not first.model or crops + len(job.crops) > self._max_crops:
                self._next = job
                break
            batch.append(job)
            crops += len(job.crops)
        return batch

    def _compute(self, batch: list[_Job]) -> None:
        crops = np.concatenate([job.crops for job in batch]) if len(batch) > 1 else batch[0].crops
        self._on_batch(len(crops))
        try:
            outputs = [batch[0].model.outputs(crops[start:start + self._max_crops])
                       for start in range(0, len(crops), self._max_crops)]
            logits = np.concatenate([part.logits for part in outputs])
            embeddings = [part.embeddings for part in outputs if part.embeddings is not None]
            rows = np.concatenate(embeddings) if embeddings else None
        except Exception as error:  # The thread must keep running: the requests of this batch get the error.
            for job in batch:
                job.answer.set_exception(error)
            return
        start = 0
        for job in batch:
            part = slice(start, start + len(job.crops))
            start = part.stop
            embeddings = None if rows is None else rows[part]
            novelty = picture_novelty(job.model.facts.novelty, embeddings, np.array([len(job.crops)]))
            job.answer.set_result(Computed(
                logits=logits[part], novelty=float(novelty[0]),
                embedding=None if embeddings is None else embeddings.mean(axis=0, dtype=np.float32)))
