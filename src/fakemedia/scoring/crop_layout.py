"""Which crops of a picture are scored: spread evenly over its content, without empty ones.

A detector sees a square of a few pixels, a small part of a large picture. Several crops make the score of a picture
independent of what its centre shows. Borders of one colour, such as the page around a photograph, are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fakemedia.store.crops import centre, cropped

Pixels = NDArray[np.uint8]
CROPS = 4
"""Crops of a picture at most where several are scored: as many as are calibrated (`networks.views.QUARTERS`)."""
EVEN = 2.0
"""Standard deviation, grey levels, in every channel, under which a crop is empty: it shows no trace."""
TOLERANCE = 8
"""Grey levels by which the pixels of a border of one colour differ from its first at most, as after compression."""
MIN_BORDER = 8
"""Pixels: narrower borders are treated like the rest."""


@dataclass(frozen=True, kw_only=True)
class View:
    """The crops of one picture."""

    crops: Pixels
    """uint8 (K, size, size, 3); K = 0 for an even picture."""
    positions: NDArray[np.int64]
    """Top and left of each crop in the picture, pixels, (K, 2); negative where a small picture is padded."""
    share: float
    """Share of the picture that the crops show, 0 to 1, without its even borders."""
    height: int
    """Size of the picture, pixels."""
    width: int


def view(picture: Pixels, size: int, max_crops: int = CROPS) -> View:
    """Return the crops of `size` x `size` pixels, at most `max_crops`, of a picture, uint8 (H, W, 3).

    For one crop it is the centre crop, as in training and evaluation. Pictures smaller than a crop are padded as in
    `store.crops.cropped`.
    """
    height, width, _ = picture.shape
    top, bottom, left, right = (0, height, 0, width) if max_crops == 1 else content_box(picture)
    content = picture[top:bottom, left:right]
    positions = [] if not content.size else _positions(content, size, max_crops)
    crops = np.array([cropped(content, *position, size) for position in positions], np.uint8).reshape(-1, size, size, 3)
    padding = [max(size - side, 0) // 2 for side in content.shape[:2]]
    offsets = np.array([top - padding[0], left - padding[1]], np.int64)
    return View(crops=crops, positions=np.array(positions, np.int64).reshape(-1, 2) + offsets,
                share=_share(content.shape[:2], positions, size), height=height, width=width)


def content_box(picture: Pixels) -> tuple[int, int, int, int]:
    """Return top, bottom, left and right of a picture, uint8 (H, W, 3), without borders of one colour, pixels."""
    top = _border(picture)
    bottom = max(top, len(picture) - _border(picture[::-1]))
    columns = picture[top:bottom].transpose(1, 0, 2)
    if not columns.size:
        return top, top, 0, 0
    left = _border(columns)
    return top, bottom, left, max(left, len(columns) - _border(columns[::-1]))


def is_even(crop: Pixels) -> bool:
    """Return whether a crop, uint8 (H, W, 3), is of one colour, apart from slight noise."""
    return all(crop[..., channel].std() < EVEN for channel in range(3))


def _border(lines: Pixels) -> int:
    """Return the number of first lines (of L, N, 3) with the colour of the first pixel; 0 below MIN_BORDER."""
    colour = lines[0, 0].astype(np.int16)
    start, chunk = 0, 1
    while start < len(lines):
        differs = (np.abs(lines[start:start + chunk].astype(np.int16) - colour) > TOLERANCE).any(axis=(1, 2))
        if differs.any():
            start += int(differs.argmax())
            break
        start, chunk = start + len(differs), 2 * chunk
    return start if start >= MIN_BORDER else 0


def _positions(content: Pixels, size: int, max_crops: int) -> list[tuple[int, int]]:
    """Return top and left of the crops of `content` that are not empty."""
    height, width, _ = content.shape

    def filled(positions: list[tuple[int, int]]) -> list[tuple[int, int]]:
        return [(top, left) for top, left in positions if not is_even(cropped(content, top, left, size))]

    if max_crops == 1:
        return filled([centre(height, width, size)])
    cells = _grid(height, width, size, max_crops)
    filled_cells = filled(cells)
    if len(filled_cells) == len(cells):
        return filled_cells
    all_cells = filled(_grid(height, width, size, math.inf))
    picks = np.linspace(0, len(all_cells) - 1, min(max_crops, len(all_cells))).round().astype(int)
    return [all_cells[pick] for pick in picks]


def _grid(height: int, width: int, size: int, max_crops: float) -> list[tuple[int, int]]:
    """Return crops at the centres of equal cells of the picture, as many as cover it or `max_crops`."""
    rows, columns = math.ceil(height / size), math.ceil(width / size)
    if rows * columns > max_crops:
        rows = min(max(round(math.sqrt(max_crops * height / width)), 1), rows)
        columns = min(max(int(max_crops) // rows, 1), columns)
        rows = min(max(int(max_crops) // columns, 1), rows)
    return [(top, left) for top in _starts(height, size, rows) for left in _starts(width, size, columns)]


def _starts(length: int, size: int, count: int) -> list[int]:
    return [min(max(math.floor((i + 0.5) * length / count - size / 2), 0), max(length - size, 0)) for i in range(count)]


def _share(shape: tuple[int, ...], positions: list[tuple[int, int]], size: int) -> float:
    if not positions:
        return 0.0
    covered = np.zeros(shape, np.bool_)
    for top, left in positions:
        covered[top:top + size, left:left + size] = True
    return float(covered.mean())
