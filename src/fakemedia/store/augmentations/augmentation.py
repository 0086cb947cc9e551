"""The interface of augmentations of training crops.

An augmentation file defines a frozen, keyword-only `Config` and `build(config)`, which returns an `Augment`. `VERSION`
(default 1) is raised when the augmented crops change.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from fakemedia.core import plugin
from fakemedia.core.rng import integers

Crops = NDArray[np.uint8]
Augment = Callable[[Crops, int], Crops]
"""A function of a crop, uint8 (H, W, 3), not changed in place, and its seed; it returns the same shape and type."""
KIND, NONE = "store.augmentations", "none"


def make_augment(name: str) -> Augment | None:
    """Return the augmentation `name`; None for `none`. UserError for an unknown one."""
    return None if name == NONE else plugin.create(KIND, name, {})


def augment_version(name: str) -> int:
    """Return the version of the augmentation `name`."""
    return plugin.constant(KIND, name, "VERSION", 1)


def augmented(crops: Crops, augment: Augment, key: int, counters: NDArray[np.integer]) -> Crops:
    """Return the augmented `crops`, (N, H, W, 3): the seed of each depends on `key` and its counter (N,) alone."""
    seeds = integers(key, counters, 2**32 - 1).tolist()
    return np.stack([augment(crop, seed) for crop, seed in zip(crops, seeds, strict=True)])


def check_probability(probability: float) -> None:
    """Raise ValueError unless `probability` is from 0 to 1."""
    if not 0 <= probability <= 1:
        raise ValueError("a probability from 0 to 1")
