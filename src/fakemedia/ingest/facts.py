"""From an image file: facts for the index, and the picture for a store."""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fakemedia.ingest.perceptual import perceptual_facts
from fakemedia.ingest.sheets import tiles_of
from fakemedia.store.decode import DecodeError, checksum, content_id, read_picture
from fakemedia.store.policies import policy_function

UNMEASURED = {"id": "", "codec": "", "mode": "", "width": 0, "height": 0, "quality": 0, "phash": "", "mean": 0.0,
              "spread": 0.0, "tiles": 0, "error": ""}
"""The facts measured of a file's content, with their values for an unreadable file."""


def measure(read: Callable[[], bytes], policy: str | None,
            known_ids: Collection[str] = ()) -> tuple[tuple[dict[str, Any], str], NDArray[np.uint8] | None]:
    """Return the facts of UNMEASURED about the file that `read` gives, and its picture under `policy` after the
    picture's checksum; without a policy, or where the file is unreadable, no picture.

    Of a file whose content id is in `known_ids` only the id is returned: it is not decoded. `error` tells why a file is
    unreadable.
    """
    facts = dict(UNMEASURED)
    try:
        data = read()
        facts["id"] = content_id(data)
        if facts["id"] in known_ids:
            return ({"id": facts["id"]}, ""), None
        picture = read_picture(data)
    except OSError as error:
        return (facts | {"error": error.strerror or str(error)}, ""), None
    except DecodeError as error:
        return (facts | {"error": str(error)}, ""), None
    height, width, _ = picture.pixels.shape
    facts |= {"codec": picture.codec, "mode": picture.mode, "width": width, "height": height,
              "quality": picture.quality, **vars(perceptual_facts(picture.pixels)), "tiles": tiles_of(picture.pixels)}
    if policy is None:
        return (facts, ""), None
    pixels = np.ascontiguousarray(policy_function(policy)(picture.pixels))
    return (facts, checksum(pixels.data)), pixels
