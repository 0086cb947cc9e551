"""Contact sheets: example pictures, each with its task, class, score and verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from fakemedia.core.types import FAKE, REAL
from fakemedia.reporting.examples import MAX_EXAMPLES, Example
from fakemedia.reporting.style import TWO_COLUMNS, new_figure, styled

MAX_SIDE = 160
"""Pixels of the longer side above which a picture is shown smaller."""
MAX_LETTERS = 20
"""Letters that fit above a picture."""
CAPTION_HEIGHT = 0.36
"""Height of what is written above a picture, inches."""
CLASSES = {REAL: "real", FAKE: "fake"}


@styled
def pairs_figure(pairs: Mapping[str, Sequence[Example]]) -> Figure:
    """Draw a real and a fake picture of each task, side by side."""
    captioned = [(example.picture, f"{_short(task)}\n{CLASSES[example.label]}")
                 for task, pair in pairs.items() for example in pair]
    return _sheet([captioned[start:start + MAX_EXAMPLES] for start in range(0, len(captioned), MAX_EXAMPLES)])


@styled
def errors_figure(errors: Sequence[Example]) -> Figure:
    """Draw the real pictures called fake and, below, the fake ones that are not."""
    rows = [[example for example in errors if example.label == label] for label in (REAL, FAKE)]
    return _sheet([[(example.picture, f"{_short(example.task)}: {CLASSES[example.label]}\n"
                     f"P(fake) {example.probability:.3f}: {CLASSES[int(example.probability > 0.5)]}")
                    for example in row] for row in rows if row])


def _short(task: str) -> str:
    return task if len(task) <= MAX_LETTERS - 6 else f"{task[:MAX_LETTERS - 7]}\N{HORIZONTAL ELLIPSIS}"


def _sheet(rows: Sequence[Sequence[tuple[NDArray[np.uint8], str]]]) -> Figure:
    """Return pictures (H, W, 3) in rows of MAX_EXAMPLES cells, each below its text."""
    figure = new_figure(TWO_COLUMNS, len(rows) * (TWO_COLUMNS / MAX_EXAMPLES + CAPTION_HEIGHT))
    for cells, row in zip(figure.subplots(len(rows), MAX_EXAMPLES, squeeze=False), rows, strict=True):
        for axes, (picture, text) in zip(cells, row, strict=False):
            image = Image.fromarray(picture)
            image.thumbnail((MAX_SIDE, MAX_SIDE))
            axes.imshow(np.asarray(image), interpolation="none")
            axes.set_title(text, fontsize=6.5, loc="left")
        for axes in cells:
            axes.set_axis_off()
    return figure
