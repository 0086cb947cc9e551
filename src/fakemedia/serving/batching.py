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
    """One thread that runs the network on the waiting crops, `max_crops` at once."""

    def __init__(self, *, max_crops: int, wait: float, on_batch: Callable[[int], None] = lambda crops: None) -> None:
        """An incomplete batch waits `wait` seconds for more crops; `on_batch` gets the crops of each batch."""
        self._max_crops, self._wait, self._on_batch = max_crops, wait, on_batch
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="batches", daemon=True)
        self._thread.start()

    def submit(self, model: Model, crops: NDArray[np.uint8], answer: Future[Computed]) -> None:
        """Complete `answer` with what `model` gives for the crops of one picture, uint8 (K, crop, crop, 3).

        It is cancelled like any future; a job that is cancelled before its batch is not computed.
        """
        if len(crops):
            self._jobs.put(_Job(model, crops, answer))
        elif answer.set_running_or_notify_cancel():
            answer.set_result(Computed(logits=np.empty(0), embedding=None, novelty=np.nan))

    def close(self) -> None:
        """Process the waiting jobs, then stop the thread."""
        self._jobs.put(None)
        self._thread.join()

    def _run(self) -> None:
        next_job: _Job | None = None
        while True:
            job = next_job or self._jobs.get()
            if job is None:
                return
            batch, next_job, is_closed = self._collect(job)
            running = [job for job in batch if job.answer.set_running_or_notify_cancel()]
            if running:
                self._compute(running)
            if is_closed:
                if next_job is not None and next_job.answer.set_running_or_notify_cancel():
                    self._compute([next_job])
                return

    def _collect(self, first: _Job) -> tuple[list[_Job], _Job | None, bool]:
        """Return the jobs of a batch for one model, the job that begins the next one, and whether this is the end."""
        batch, crops, until = [first], len(first.crops), time.monotonic() + self._wait
        while crops < self._max_crops:
            try:
                remaining = until - time.monotonic()
                job = self._jobs.get(timeout=remaining) if remaining > 0 else self._jobs.get_nowait()
            except queue.Empty:
                return batch, None, False
            if job is None:
                return batch, None, True
            if job.model is not first.model or crops + len(job.crops) > self._max_crops:
                return batch, job, False
            batch.append(job)
            crops += len(job.crops)
        return batch, None, False

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
