"""Views of a picture: the crops that features are computed of."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from fakemedia.core import plugin
from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.rng import derive, integers
from fakemedia.store.augmentations.augmentation import KIND, NONE, augmented, make_augment
from fakemedia.store.crops import centre
from fakemedia.store.pixels import PixelStore

CENTRE = "centre"
CORNERS = ("top_left", "top_right", "bottom_left", "bottom_right")
QUARTERS = ("quarter_0", "quarter_1", "quarter_2", "quarter_3")
"""The crops at the centres of the four quarters of a picture, row by row: those that a picture is scored by."""
VIEW_GROUPS = {"corners": CORNERS, "quarters": QUARTERS}
FLIP = "_flip"
AUGMENTED = "+"
_RANDOM = re.compile(r"random(:?)(\d+)")


def read_views(names: Iterable[str], *, where: object = None) -> tuple[str, ...]:
    """Return the views that `names` stand for, each once, in order; UserError for an unknown name.

    A view is `centre`, a corner such as `top_left`, one of these mirrored (`centre_flip`), or `random<k>`: crop k of
    those drawn by seed, of which half are mirrored. `corners` stands for the four, `quarters` for the crops at the
    centres of the four quarters, `random:<n>` for n random ones. Each of these may be augmented: `centre+blur_jpeg`.

    >>> read_views(["centre", "random:2"])
    ('centre', 'random0', 'random1')
    """
    views: list[str] = []
    for name in names:
        position, plus, augment = str(name).partition(AUGMENTED)
        random_view = _RANDOM.fullmatch(position)
        if plus and augment not in plugin.names(KIND):
            raise unknown_name("augmentation", augment, plugin.names(KIND), where=where)
        if position in VIEW_GROUPS:
            views += [f"{view}{plus}{augment}" for view in VIEW_GROUPS[position]]
        elif random_view and random_view[1]:
            views += [f"random{number}{plus}{augment}" for number in range(int(random_view[2]))]
        elif random_view or position.removesuffix(FLIP) in (CENTRE, *QUARTERS, *CORNERS):
            views.append(str(name))
        else:
            choices = [CENTRE, *CORNERS, *(f"{position}{FLIP}" for position in (CENTRE, *CORNERS)), "quarters",
                       "corners", "random:<n>"]
            raise unknown_name("view", name, choices, where=where)
    if not views:
        raise UserError("There is no view", where=where, expected="one at least, such as centre")
    return tuple(dict.fromkeys(views))


def with_augmented(names: Iterable[str], augment: str) -> tuple[str, ...]:
    """Return the views `names`, followed by each of them augmented by `augment`; `none` adds no view.

    >>> with_augmented(["centre", "random:2"], "blur_jpeg")
    ('centre', 'random:2', 'centre+blur_jpeg', 'random:2+blur_jpeg')
    """
    views = tuple(names)
    return views if augment == NONE else (*views, *(f"{view}{AUGMENTED}{augment}" for view in views))


def view_seed(view: str, seed: int) -> int | None:
    """Return `seed` if the crops of `view` depend on it, else None."""
    return seed if AUGMENTED in view or view.startswith("random") else None


def view_crops(store: PixelStore, rows: NDArray[np.int64], view: str, crop: int, seed: int) -> NDArray[np.uint8]:
    """Return the crops of `crop` x `crop` pixels that `view` shows of the images `rows`, uint8 (N, crop, crop, 3).

    `seed` draws those of a random or augmented view; each depends only on the seed, the view and the row.
    """
    tops, lefts = store.limits(rows, crop)
    position, _, augment = view.partition(AUGMENTED)
    mirrored = np.full(len(rows), position.endswith(FLIP))
    position = position.removesuffix(FLIP)
    if random_view := _RANDOM.fullmatch(position):
        number = int(random_view[2])
        mirrored = integers(derive(seed, "view flip", number), rows, 2).astype(bool)
        tops = integers(derive(seed, "view top", number), rows, tops + 1)
        lefts = integers(derive(seed, "view left", number), rows, lefts + 1)
    elif position == CENTRE:
        tops, lefts = centre(store.heights[rows], store.widths[rows], crop)
    elif position in QUARTERS:
        row, column = divmod(QUARTERS.index(position), 2)
        tops = cell_starts(store.heights[rows], row, crop, tops)
        lefts = cell_starts(store.widths[rows], column, crop, lefts)
    else:
        tops, lefts = tops * position.startswith("bottom"), lefts * position.endswith("right")
    images = store.crops(rows, tops, lefts, crop)
    images[mirrored] = images[mirrored, :, ::-1]
    change = make_augment(augment) if augment else None
    return images if change is None else augmented(images, change, derive(seed, "view augment", view), rows)


def cell_starts(lengths: NDArray[np.int64], half: int, crop: int, limit: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the starts (N,), at most `limit`, of crops in the middle of a half, 0 or 1, of lines of `lengths`."""
    return np.clip(((2 * half + 1) * lengths - 2 * crop) // 4, 0, limit)
