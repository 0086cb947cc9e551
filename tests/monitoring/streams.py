"""Logs of scored pictures for tests, whose pictures change at a known time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from fakemedia.serving.log import Row, ScoreLog, packed
from tests.serving.test_log import ROW

DAY = 86400.0


def write_pictures(path: Path, count: int, *, shift: float = 0.0, sources: Sequence[str] = ("",), first: int = 0,
                   detector: str = "d", verdict: str = "fake") -> None:
    """Add pictures `first`, `first` + 1, ... to a log, one a minute; logits and embeddings are moved by `shift`."""
    written = ScoreLog(path, rows=10**6)
    written.add(picture(number, shift, sources[number % len(sources)], detector, verdict)
                for number in range(first, first + count))
    written.close()


def picture(number: int, shift: float, source: str, detector: str, verdict: str) -> Row:
    """Return the row of a picture."""
    values = np.random.default_rng(number).normal(shift, 1, 4)
    return replace(ROW, time=20000 * DAY + 60 * number, source=source, sha256=f"{number:064x}", detector=detector,
                   logit=float(values[0]), verdict=verdict, embedding=packed(values))
