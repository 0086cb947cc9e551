"""Sample sheets: pictures that are a grid of equal square tiles, as generators' authors show them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

MIN_TILE = 32
"""Smallest side of a tile, pixels."""
MIN_EDGES = 6
"""Fewest lines between tiles, of both directions together, that make a grid: 4 x 4 tiles have six."""
PADDINGS = (0, 2)
"""Widths of the lines that separate the tiles; 2 is the default of torchvision's `make_grid`, which adds a border."""
CONTRAST = 1.2
"""How many times larger steps across every line are than nine tenths of those inside tiles."""
LINES = 32
"""Rows, and columns, that are sampled."""


VERSION = 1
"""Version of the tiles: raised when other pictures are cut, or differently."""


@dataclass(frozen=True)
class Grid:
    """The grid of a sample sheet."""

    side: int
    """Of a tile, pixels."""
    padding: int
    """Width of the lines between tiles, pixels; above 0 they also surround the whole grid."""
    tiles: int


def tiles_of(pixels: NDArray[np.uint8]) -> int:
    """Return how many tiles a picture, uint8 (H, W, 3), is a grid of; 0 if it is not a grid."""
    grid = grid_of(pixels)
    return 0 if grid is None else grid.tiles


def tile(pixels: NDArray[np.uint8], number: int, side: int, padding: int) -> NDArray[np.uint8]:
    """Return the tile `number`, row by row, of a sheet, uint8 (H, W, 3)."""
    period = side + padding
    row, column = divmod(number, pixels.shape[1] // period)
    top, left = padding + row * period, padding + column * period
    return pixels[top:top + side, left:left + side]


def grid_of(pixels: NDArray[np.uint8]) -> Grid | None:
    """Return the grid of tiles that a picture, uint8 (H, W, 3), shows; None if it is not a grid.

    Between two tiles, grey levels step along the whole line. A picture whose sides do not fit equal square tiles is
    not examined.
    """
    height, width, _ = pixels.shape
    grids = [(side, padding) for padding in PADDINGS for side in _sides(height, width, padding)]
    if not grids:
        return None
    down = _steps(pixels[:, ::max(1, width // LINES), 1])
    grids = [grid for grid in grids if _has_lines(down, *grid)]
    if not grids:
        return None
    across = _steps(pixels[::max(1, height // LINES), :, 1].T)
    return next((Grid(side, padding, (height // (side + padding)) * (width // (side + padding)))
                 for side, padding in grids if _has_lines(across, side, padding)), None)


def _sides(height: int, width: int, padding: int) -> list[int]:
    """Return the sides of square tiles that fill the picture, the smallest first: those of a grid also fit its
    multiples."""
    return [side for side in range(MIN_TILE, min(height, width) // 2 + 1)
            if (height - padding) % (side + padding) == 0 and (width - padding) % (side + padding) == 0
            and (height + width) // (side + padding) - 2 >= MIN_EDGES]


def _steps(lines: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Return the mean difference between each row of `lines` and the next, float64."""
    return np.abs(np.diff(lines.astype(np.int16), axis=0)).mean(1)


def _has_lines(steps: NDArray[np.float64], side: int, padding: int) -> bool:
    """Return whether `steps` are large at every line between tiles, at either edge of a padded one.

    They are compared with steps inside the tiles, and with those between the blocks of 8 pixels of a JPEG there.
    """
    period = side + padding
    edges = np.arange(period + padding - 1, len(steps) - 1, period)
    if len(edges) == 0:
        return False
    line_steps = np.maximum(steps[edges], steps[edges - padding])
    inside = np.ones(len(steps), bool)
    inside[[edges, edges - padding]] = False
    typical = np.quantile(steps[inside], 0.9)
    blocks = steps[7::8][inside[7::8]]
    if len(blocks):
        typical = max(typical, np.quantile(blocks, 0.9))
    return bool(line_steps.min() > max(CONTRAST * typical, 1.0))
