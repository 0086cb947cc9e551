"""Self-contained HTML pages from the templates of this package: nothing is fetched, readable on a phone."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from fakemedia.reporting.rendering import RenderedFigure

MEDIA = (("svg", "svg+xml"), ("jpg", "jpeg"), ("png", "png"))
"""Kinds of files for pages, with their media types; the first that a figure has is used."""
PALETTE = 256
PLAIN = " /:;=,!?'()*+-.@$[]~_{}"
"""Characters that need no escape in a data URL between double quotation marks."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a table."""

    text: str
    value: float | None = None
    """The number that the column is sorted by; None: its text."""
    bold: bool = False
    span: str = ""
    """Small text below the value: an interval."""

    @property
    def sort(self) -> str | None:
        """The number as the page keeps it; empty for one that is undefined, None for a text."""
        return None if self.value is None else "" if isnan(self.value) else f"{self.value:.6g}"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a page, sorted by a click on a column's head."""

    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    text_columns: int = 1
    """How many columns, from the left, are aligned left."""
    titles: Sequence[str] = ()
    """The full name of each column."""


def render_page(template: str, **values: Any) -> str:
    """Return the page that `template` makes of `values`; what they hold is escaped."""
    environment = Environment(loader=PackageLoader("fakemedia.reporting"), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters |= {"anchor": anchor, "address": address}
    return environment.get_template(template).render(**values) + "\n"


def anchor(title: str) -> str:
    """Return the address of the section `title` within its page."""
    return title.lower().replace(" ", "-").rstrip("?")


def address(figure: RenderedFigure) -> Markup:
    """Return a figure as a data address: its SVG or JPEG file if there is one, else its PNG file in PALETTE colours."""
    kind, media = next(kind_and_media for kind_and_media in MEDIA if kind_and_media[0] in figure.files)
    if kind == "svg":  # As text, which takes three quarters of base64.
        text = figure.files[kind].decode().replace("'", "&apos;").replace('"', "'")
        return Markup(f"data:image/{media},{quote(text, safe=PLAIN)}")
    data = _in_palette(figure.files[kind]) if kind == "png" else figure.files[kind]
    return Markup(f"data:image/{media};base64,{base64.b64encode(data).decode()}")


def _in_palette(png: bytes) -> bytes:
    buffer = io.BytesIO()
    with Image.open(io.BytesIO(png)) as image:
        image.convert("RGB").quantize(PALETTE, dither=Image.Dither.NONE).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()
