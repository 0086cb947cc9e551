"""Contact sheets: example pictures, each with its task, class, score and verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from fakemedia.core.types import FAKE, REAL
from fakemedia.reporting.examples import MOST, Example
from fakemedia.reporting.style import TWO_COLUMNS, new_figure, styled

LARGEST = 160
"""Pixels of the longer side above which a picture is shown smaller."""
LETTERS = 20
"""Letters that fit above a picture."""
CAPTION = 0.36
"""Height of what is written above a picture, inches."""
CLASSES = {REAL: "real", FAKE: "fake"}


@styled
def pairs_figure(pairs: Mapping[str, Sequence[Example]]) -> Figure:
    """Draw a real and a fake picture of each task, side by side."""
    shown = [(example.picture, f"{_short(task)}\n{CLASSES[example.label]}")
             for task, pair in pairs.items() for example in pair]
    return _sheet([shown[start:start + MOST] for start in range(0, len(shown), MOST)])


@styled
def errors_figure(errors: Sequence[Example]) -> Figure:
    """Draw the real pictures called fake and, below, the fake ones that are not."""
    rows = [[example for example in errors if example.label == label] for label in (REAL, FAKE)]
    return _sheet([[(example.picture, f"{_short(example.task)}: {CLASSES[example.label]}\n"
                     f"P(fake) {example.probability:.3f}: {CLASSES[int(example.probability > 0.5)]}")
                    for example in row] for row in rows if row])


def _short(task: str) -> str:
    return task if len(task) <= LETTERS - 6 else f"{task[:LETTERS - 7]}\N{HORIZONTAL ELLIPSIS}"


def _sheet(rows: Sequence[Sequence[tuple[NDArray[np.uint8], str]]]) -> Figure:
    """Return pictures (H, W, 3) in rows of MOST places, each below its text."""
    figure = new_figure(TWO_COLUMNS, len(rows) * (TWO_COLUMNS / MOST + CAPTION))
    for places, row in zip(figure.subplots(len(rows), MOST, squeeze=False), rows, strict=True):
        for axes, (picture, text) in zip(places, row, strict=False):
            image = Image.fromarray(picture)
            image.thumbnail((LARGEST, LARGEST))
            axes.imshow(np.asarray(image), interpolation="none")
            axes.set_title(text, fontsize=6.5, loc="left")
        for axes in places:
            axes.set_axis_off()
    return figure
