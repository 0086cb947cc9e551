"""Progress of a stage in training: one line on a terminal, a few in a log."""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from datetime import timedelta
from types import TracebackType
from typing import Any

from tqdm import tqdm

INTERVAL = 1.0
"""Seconds between reading the loss terms, which makes the host wait for the device."""
LOG_INTERVAL = 60.0
"""Seconds between lines in a log, at least."""

logger = logging.getLogger(__name__)


class Progress:
    """A progress bar on a terminal; elsewhere a line in the log from time to time, and one at the end."""

    def __init__(self, label: str, *, epochs: int, images: int, done: int) -> None:
        """Begin the stage `label` of `epochs` times `images`, of which `done` images are finished."""
        self.label, self.epochs = label, epochs
        self._bar = tqdm(total=epochs * images, initial=done, desc=label, unit="img", disable=None, dynamic_ncols=True,
                         leave=False)
        self._shown = self._logged = time.monotonic()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._bar.close()

    def step(self, images: int) -> None:
        """Count the images of a step."""
        self._bar.update(images)

    def due(self) -> bool:
        """Return whether it is time to `show` the loss terms."""
        return not self._bar.disable and time.monotonic() - self._shown > INTERVAL

    def show(self, epoch: int, losses: Mapping[str, float], best_accuracy: float) -> None:
        """Show the epoch, from 1, its mean loss terms so far and the best validation accuracy (percent)."""
        self._shown = time.monotonic()
        self._bar.set_postfix_str(_described(epoch, self.epochs, losses, best_accuracy))

    def epoch(self, record: Mapping[str, Any], best_accuracy: float) -> None:
        """Show the record of a finished epoch."""
        self.show(record["epoch"], record["loss"], best_accuracy)
        if self._bar.disable and time.monotonic() - self._logged > LOG_INTERVAL:
            self._logged = time.monotonic()
            remaining = timedelta(seconds=round(record["seconds"] * (self.epochs - record["epoch"])))
            logger.info("%s: %s, %.0f images/s, %s left", self.label,
                        _described(record["epoch"], self.epochs, record["loss"], best_accuracy),
                        record["images_per_second"], remaining)

    def finish(self, history: Sequence[Mapping[str, Any]], best_epoch: int, best_accuracy: float) -> None:
        """Log in one line how the stage ended."""
        seconds = sum(record["seconds"] for record in history)
        rate = sum(record["images_per_second"] * record["seconds"] for record in history) / seconds
        validation = f", validation {best_accuracy:.1f} %" if best_accuracy >= 0 else ""
        logger.debug("%s: epoch %d of %d kept%s, %s at %.0f images/s", self.label, best_epoch, len(history), validation,
                    timedelta(seconds=round(seconds)), rate)


def _described(epoch: int, epochs: int, losses: Mapping[str, float], best_accuracy: float) -> str:
    parts = ", ".join(f"{name} {value:.3f}" for name, value in losses.items() if name != "total")
    text = f"epoch {epoch}/{epochs}, loss {losses['total']:.3f}" + (f" ({parts})" if parts else "")
    return f"{text}, best validation {best_accuracy:.1f} %" if best_accuracy >= 0 else text
