"""Novelty of a picture: how far its features are from those of the tasks that a detector has learned.

Each task has K centres (k-means of its training pictures' features, scaled to length 1; the router of S-Prompts, Wang
et al. 2022). The distance of a picture is that of its features, scaled to length 1, from the nearest centre of any
task. Beyond the QUANTILE of the distances of validation pictures, which no centre was fitted to, a picture is unknown.

The features see content first: a picture can be far because of what it shows, and a new generator of known content
near. See docs/explanation/limits.md.
"""

from __future__ import annotations

import json
import math
from base64 import b64decode, b64encode
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fakemedia.artefacts.manifest import Recipe
from fakemedia.core.errors import UserError
from fakemedia.core.hashing import fingerprint
from fakemedia.core.plugin import configure

Floats = NDArray[np.float64]
VERSION = 1
"""Version of `make_novelty`: raised when its results change."""
NOVELTY_FILE = "novelty.json"
"""The file beside a checkpoint."""
CENTRES = 5
"""K, centres of a task, as in S-Prompts."""
QUANTILE = 0.99
"""Share of new pictures of the tasks learned that are not unknown."""
MAX_PICTURES = 200
"""Training pictures of a task, at most, that its centres are fitted to."""
MIN_NORM = 1e-12
MIN_DISTANCE = 1e-6
"""The smallest threshold: shorter distances are rounding errors, as all are if all pictures are equal."""
BLOCK = 1024
"""Pictures whose distances are computed in one matrix product."""


def novelty_recipe(*, checkpoint: str, crop: int, data: Mapping[str, str]) -> Recipe:
    """Return the recipe of a checkpoint's novelty, from content hashes; those of `data` by "task split"."""
    return Recipe(producer="novelty", version=VERSION, inputs={"checkpoint": checkpoint, **data},
                  settings={"crop": crop, "centres": CENTRES, "pictures": MAX_PICTURES, "quantile": QUANTILE})


@dataclass(frozen=True, kw_only=True)
class Novelty:
    """Centres of the tasks that a checkpoint has learned, and the distance beyond which a picture is unknown."""

    centres: str
    """float16 (T K, D), task by task, in base64: the bytes are little-endian, row by row."""
    width: int
    """D, numbers of an embedding."""
    threshold: float
    """Distance of the centre crop of a picture beyond which it is unknown."""
    crops_threshold: float
    """The same for the mean distance of several crops, which varies less."""
    images: int
    """Number of validation pictures that the thresholds come from."""
    tasks: tuple[str, ...]
    """The tasks of the centres, in their order."""
    weights_sha256: str
    """Hash of the checkpoint's weights."""

    def __post_init__(self) -> None:
        if self.width < 1 or not all(math.isfinite(threshold) and threshold > 0
                                     for threshold in (self.threshold, self.crops_threshold)):
            raise ValueError("a width of at least 1 and thresholds above 0")
        if not self._values.size:
            raise ValueError("centres as base64 of float16 numbers, `width` for each")

    @cached_property
    def _values(self) -> Floats:
        """The centres, (T K, D)."""
        return unpacked(self.centres, self.width)

    def distances(self, features: NDArray[np.floating]) -> Floats:
        """Return the distance of each of the features (N, D), scaled to length 1, from the nearest centre: (N,)."""
        return nearest(features, self._values)

    @property
    def content(self) -> str:
        """The hash that the recipes of later artefacts name."""
        return fingerprint(asdict(self))

    def to_json(self) -> str:
        """Return the novelty as JSON text, which `from_json` reads back exactly."""
        return json.dumps(asdict(self), indent=1, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str, *, where: object) -> Novelty:
        """Read the JSON text back; UserError, with the place `where`, if it is not the text of a novelty."""
        try:
            values = json.loads(text)
        except ValueError:
            values = None
        if not isinstance(values, dict):
            raise UserError("The novelty cannot be read", where=where, expected="the JSON of a novelty",
                            do="delete the file and run again with --only-missing-outputs")
        return configure(cls, values, where=where)


def read_novelty(path: Path) -> Novelty | None:
    """Return the novelty in the file `path`; None if there is no file, UserError if it is damaged."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError):
        text = ""
    return Novelty.from_json(text, where=path)


def unit(features: NDArray[np.floating]) -> Floats:
    """Return the features (N, D) scaled to length 1, float64."""
    values = features.astype(np.float64)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), MIN_NORM)


def task_centres(features: NDArray[np.floating], count: int, seed: int) -> NDArray[np.floating]:
    """Return `count` centres (K, D) of features (N, D) of length 1, in their precision; repeated if there are fewer
    pictures."""
    from sklearn.cluster import KMeans  # takes seconds to import

    clusters = KMeans(min(count, len(features)), n_init=4, random_state=seed % 2**32)  # pyright: ignore
    centres = clusters.fit(features).cluster_centers_
    return centres[np.arange(count) % len(centres)]


def packed(centres: NDArray[np.floating]) -> str:
    """Return centres (T K, D) as the text of `Novelty.centres`."""
    return b64encode(centres.astype("<f2").tobytes()).decode()


def unpacked(centres: str, width: int) -> Floats:
    """Return the centres (T K, D) of the text of `Novelty.centres`; ValueError if it is invalid."""
    return np.frombuffer(b64decode(centres, validate=True), "<f2").astype(np.float64).reshape(-1, width)


def nearest(features: NDArray[np.floating], centres: Floats) -> Floats:
    """Return the distance of each of the features (N, D), scaled to length 1, from the nearest of centres (C, D)."""
    norms = (centres**2).sum(1)
    distances = [np.empty(0)]
    for start in range(0, len(features), BLOCK):
        values = unit(features[start:start + BLOCK])
        squares = (values**2).sum(1)[:, None] - 2 * values @ centres.T + norms
        distances.append(np.sqrt(np.maximum(squares.min(1), 0)))
    return np.concatenate(distances)


def limit(distances: Floats) -> float:
    """Return the distance that a new picture like those of `distances` (N,) exceeds with 1 - QUANTILE at most.

    The order statistic of split conformal prediction (Vovk et al. 2005); the largest, if there are too few.
    """
    rank = min(math.ceil((len(distances) + 1) * QUANTILE), len(distances))
    return max(float(np.sort(distances)[rank - 1]), MIN_DISTANCE)


def is_unknown(novelty: Floats) -> NDArray[np.bool_]:
    """Return whether each picture is beyond every known centre; `novelty` (N,) is its distance over the threshold."""
    return novelty > 1


def spread(count: int, maximum: int) -> NDArray[np.int64]:
    """Return at most `maximum` of `count` rows, evenly spread."""
    return np.unique(np.linspace(0, count - 1, min(count, maximum)).round().astype(np.int64))
