"""Where real photographs come from, and the split of each."""

from __future__ import annotations

import importlib.util
import logging
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from fakemedia.core.errors import UserError
from fakemedia.core.rng import generator
from fakemedia.core.types import SPLITS

logger = logging.getLogger(__name__)
PACKAGED = "packaged"
SUFFIXES = frozenset({".avif", ".bmp", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"})
"""Files with these endings are accepted as photographs; of others, those in FORMATS."""
FORMATS = ("AVIF", "BMP", "JPEG", "JPEG2000", "PNG", "PPM", "TIFF", "WEBP")
SHARES = {"val": 0.2, "test": 0.2}

_SKIMAGE, _SKLEARN, _MATPLOTLIB = "skimage/data", "sklearn/datasets/images", "matplotlib/mpl-data/sample_data"
# Every split has textures and objects, colour and grey; the two views of the motorcycle are one scene, hence one view.
_PACKAGED_SPLIT = {
    "train": (
        f"{_SKIMAGE}/astronaut.png", f"{_SKIMAGE}/camera.png", f"{_SKIMAGE}/chelsea.png", f"{_SKLEARN}/china.jpg",
        f"{_SKIMAGE}/grass.png", f"{_SKIMAGE}/gravel.png", f"{_SKIMAGE}/motorcycle_left.png",
    ),
    "val": (f"{_SKIMAGE}/coins.png", f"{_MATPLOTLIB}/grace_hopper.jpg"),
    "test": (
        f"{_SKIMAGE}/brick.png", f"{_SKIMAGE}/coffee.png", f"{_SKLEARN}/flower.jpg", f"{_SKIMAGE}/rocket.jpg",
    ),
}


@dataclass(frozen=True, kw_only=True)
class Photograph:
    """A real photograph: its `name` identifies it in `sources.csv`."""

    name: str
    path: Path

    def read(self) -> Image.Image:
        """Return the photograph as an RGB image; UserError if it cannot be decoded."""
        try:
            with Image.open(self.path) as image:
                return image.convert("RGB")
        except (OSError, UnidentifiedImageError) as error:
            raise UserError("The photograph cannot be read", where=self.path, expected="an image file",
                            do=f"repair or remove it ({error})") from None


def _packaged_photograph(path: str) -> Photograph:
    package, _, relative = path.partition("/")
    spec = importlib.util.find_spec(package)
    folders = spec.submodule_search_locations if spec else None
    file = Path(folders[0], relative) if folders else Path(path)
    if not file.is_file():
        raise UserError("A packaged photograph is missing", where=file, expected=f"the sample data of {package}",
                        do="name a folder of photographs instead of 'packaged'")
    return Photograph(name=file.stem, path=file)


def _photographs_in(folder: Path, root: Path) -> list[Photograph]:
    paths = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    files = [path for path in paths if path.suffix.lower() in SUFFIXES or _is_photograph(path)]
    if len(files) < len(paths):
        logger.warning("%d files in %s are no photographs that can be read", len(paths) - len(files), folder)
    return [Photograph(name=path.relative_to(root).as_posix(), path=path) for path in files]


def _is_photograph(path: Path) -> bool:
    try:
        with Image.open(path, formats=FORMATS):
            return True
    except (OSError, ValueError, Image.DecompressionBombError):
        return False


def _divide(photographs: list[Photograph], seed: int) -> dict[str, list[Photograph]]:
    counts = {split: math.ceil(share * len(photographs)) for split, share in SHARES.items()}
    order = generator(seed, "photographs").permutation(len(photographs))
    test, val, train = np.split(order, np.cumsum([counts["test"], counts["val"]]))
    return {split: [photographs[i] for i in sorted(rows)]
            for split, rows in {"train": train, "val": val, "test": test}.items()}


def find_photographs(location: str, seed: int) -> dict[str, list[Photograph]]:
    """Return the photographs of each split; no photograph is in two splits.

    `location` is "packaged" (13 photographs packaged with scikit-image, scikit-learn and matplotlib, with a fixed
    split) or a folder: with subfolders train, val and test, which are the split, or with images directly in it, which
    are divided 60/20/20 by `seed`. Raises UserError for a missing folder and for a split without photographs.
    """
    if location == PACKAGED:
        return {split: [_packaged_photograph(path) for path in paths] for split, paths in _PACKAGED_SPLIT.items()}
    root = Path(location)
    if not root.is_dir():
        raise UserError("There is no such folder of photographs", where=root, expected="a folder, or 'packaged'")
    if any((root / split).is_dir() for split in SPLITS):
        by_split = {split: _photographs_in(root / split, root) if (root / split).is_dir() else [] for split in SPLITS}
    else:
        by_split = _divide(_photographs_in(root, root), seed)
    for split, photographs in by_split.items():
        if not photographs:
            raise UserError(f"No photograph for the split {split!r}", where=root,
                            expected="at least three images in the folder, or one in each of train, val and test")
    return by_split
