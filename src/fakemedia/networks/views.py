"""Views of a picture: the crops that features are computed of."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.rng import derive, integers
from fakemedia.store.crops import centre
from fakemedia.store.pixels import PixelStore

CENTRE = "centre"
CORNERS = ("top_left", "top_right", "bottom_left", "bottom_right")
FLIP = "_flip"
_RANDOM = re.compile(r"random(:?)(\d+)")


@dataclass(frozen=True, kw_only=True)
class FeatureConfig:
    """Features of a network of which only the head is trained."""

    views: tuple[str, ...] = (CENTRE,)
    """Crops of each training picture: `centre`, `corners`, one corner such as `top_left`, these with `_flip`, and
    `random:<n>`. Validation and test pictures are seen by their centre."""
    max_gib: float = 20.0
    """Upper limit of the stored features, GiB."""

    def __post_init__(self) -> None:
        read_views(self.views)
        if not self.max_gib > 0:
            raise ValueError("max_gib above 0")


def read_views(names: Iterable[str], *, where: object = None) -> tuple[str, ...]:
    """Return the views that `names` stand for, each once, in order; UserError for an unknown name.

    A view is `centre`, a corner such as `top_left`, one of these mirrored (`centre_flip`), or `random<k>`: crop k of
    those drawn by seed, of which half are mirrored. `corners` stands for the four, `random:<n>` for n of them.

    >>> read_views(["centre", "random:2"])
    ('centre', 'random0', 'random1')
    """
    views: list[str] = []
    for name in names:
        drawn = _RANDOM.fullmatch(str(name))
        if name == "corners":
            views += CORNERS
        elif drawn and drawn[1]:
            views += [f"random{number}" for number in range(int(drawn[2]))]
        elif drawn or str(name).removesuffix(FLIP) in (CENTRE, *CORNERS):
            views.append(str(name))
        else:
            known = [CENTRE, *CORNERS, *(f"{place}{FLIP}" for place in (CENTRE, *CORNERS)), "corners", "random:<n>"]
            raise unknown_name("view", name, known, where=where)
    if not views:
        raise UserError("There is no view", where=where, expected="one at least, such as centre")
    return tuple(dict.fromkeys(views))


def view_crops(store: PixelStore, rows: NDArray[np.int64], view: str, crop: int, seed: int) -> NDArray[np.uint8]:
    """Return the crops of `crop` x `crop` pixels that `view` shows of the images `rows`, uint8 (N, crop, crop, 3).

    `seed` draws those of a random view; each depends only on the seed, the view and the row.
    """
    tops, lefts = store.limits(rows, crop)
    mirrored = np.full(len(rows), view.endswith(FLIP))
    place = view.removesuffix(FLIP)
    if drawn := _RANDOM.fullmatch(place):
        number = int(drawn[2])
        mirrored = integers(derive(seed, "view flip", number), rows, 2).astype(bool)
        tops = integers(derive(seed, "view top", number), rows, tops + 1)
        lefts = integers(derive(seed, "view left", number), rows, lefts + 1)
    elif place == CENTRE:
        tops, lefts = centre(store.heights[rows], store.widths[rows], crop)
    else:
        tops, lefts = tops * place.startswith("bottom"), lefts * place.endswith("right")
    images = store.crops(rows, tops, lefts, crop)
    images[mirrored] = images[mirrored, :, ::-1]
    return images
