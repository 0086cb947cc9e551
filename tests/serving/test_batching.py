"""Crops of concurrent requests in common batches."""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

from fakemedia.scoring.model import Model, Outputs
from fakemedia.serving.batching import Batcher, Computed


class Summing:
    """A model whose logit is the sum of a crop; it remembers the sizes of its batches, and how many ran at once."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.facts = SimpleNamespace(novelty=None)
        self.sizes: list[int] = []
        self.running = self.most = 0
        self._seconds, self._lock = seconds, threading.Lock()

    def outputs(self, crops: np.ndarray) -> Outputs:
        with self._lock:
            self.sizes.append(len(crops))
            self.running += 1
            self.most = max(self.most, self.running)
        time.sleep(self._seconds)
        with self._lock:
            self.running -= 1
        return Outputs(logits=crops.sum((1, 2, 3)).astype(float), embeddings=None)


def picture(value: int, crops: int) -> np.ndarray:
    return np.full((crops, 1, 1, 3), value, np.uint8)


def submit(batcher: Batcher, model: Summing, values: list[int], crops: int) -> list[Future[Computed]]:
    answers: list[Future[Computed]] = [Future() for _ in values]
    for value, answer in zip(values, answers, strict=True):
        batcher.submit(cast(Model, cast(Any, model)), picture(value, crops), answer)
    return answers


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_picture_gets_its_own_logits(threads: int) -> None:
    batcher, models = Batcher(max_crops=8, wait=0.001, threads=threads), [Summing(0.001), Summing(0.001)]
    answers = [(value, submit(batcher, models[value % 2], [value], 1 + value % 4)[0]) for value in range(80)]
    for value, answer in answers:
        assert answer.result(10).logits.tolist() == [3 * value] * (1 + value % 4)
    batcher.close()
    assert max(models[0].sizes + models[1].sizes) <= 8
    assert sum(models[0].sizes) + sum(models[1].sizes) == sum(1 + value % 4 for value in range(80))


def test_several_batches_are_computed_at_once() -> None:
    batcher, model = Batcher(max_crops=4, wait=0.0, threads=2), Summing(0.05)
    answers = submit(batcher, model, list(range(8)), 4)
    assert [answer.result(10).logits[0] for answer in answers] == [3 * value for value in range(8)]
    batcher.close()
    assert model.most == 2


def test_waiting_pictures_are_answered_when_it_closes() -> None:
    batcher, model = Batcher(max_crops=4, wait=5.0, threads=2), Summing(0.02)
    answers = submit(batcher, model, list(range(9)), 3)
    batcher.close()
    assert all(answer.done() for answer in answers)
    assert [int(answer.result().logits[0]) for answer in answers] == [3 * value for value in range(9)]


def test_a_cancelled_picture_is_not_computed_and_an_error_reaches_its_pictures_alone() -> None:
    batcher, model = Batcher(max_crops=3, wait=0.0, threads=2), Summing()
    model.outputs = lambda crops: 1 / 0  # type: ignore[method-assign,assignment,return-value]
    answer: Future[Computed] = Future()
    answer.cancel()
    batcher.submit(cast(Model, cast(Any, model)), picture(1, 3), answer)
    failed, = submit(batcher, model, [1], 3)
    with pytest.raises(ZeroDivisionError):
        failed.result(10)
    good, = submit(batcher, Summing(), [2], 3)
    assert good.result(10).logits.tolist() == [6, 6, 6]
    batcher.close()
