"""Previews of datasets in the viewer: rows of a table, a text, some pictures; none while there is no file."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Callable
from functools import wraps
from typing import TYPE_CHECKING, Any, TypeVar

from kedro_datasets._typing import HTMLPreview, ImagePreview, JSONPreview, TablePreview

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.store.pixels import PixelStore

ROWS = 20
PICTURES = 6
SIDE = 96
"""Pixels."""
Preview = TypeVar("Preview", bound=Callable)


def if_exists(preview: Preview) -> Preview:
    """Return the method `preview`, which then returns None while the dataset's file is missing."""

    @wraps(preview)
    def wrapped(self: Any) -> Any:
        return preview(self) if self._path.exists() else None

    return wrapped  # type: ignore[return-value]


def table(frame: pd.DataFrame) -> TablePreview:
    """Return the first rows."""
    return TablePreview(frame.head(ROWS).to_dict(orient="split"))


def text(content: str) -> HTMLPreview:
    """Return `content` unchanged."""
    return HTMLPreview(f"<pre>{html.escape(content)}</pre>")


def facts(content: dict[str, Any]) -> JSONPreview:
    """Return keys and values."""
    return JSONPreview(json.dumps(content))


def image(png: bytes) -> ImagePreview:
    """Return the picture in a PNG file's bytes."""
    return ImagePreview(base64.b64encode(png).decode())


def pictures(store: PixelStore) -> ImagePreview:
    """Return centre crops of the first pictures of each class: the real ones above the fake ones."""
    import numpy as np
    from PIL import Image

    sheet = Image.new("RGB", (PICTURES * (SIDE + 2), 2 * (SIDE + 2)), "white")
    for label in (0, 1):
        rows = np.flatnonzero(store.labels == label)[:PICTURES]
        tops, lefts = (limit // 2 for limit in store.limits(rows, SIDE))
        for column, crop in enumerate(store.crops(rows, tops, lefts, SIDE)):
            sheet.paste(Image.fromarray(crop), (column * (SIDE + 2), label * (SIDE + 2)))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return image(buffer.getvalue())
