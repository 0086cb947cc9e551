"""Pages that open by themselves, made from the templates of this package: nothing fetched, readable on a phone."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from math import isnan
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from fakemedia.reporting.rendering import Drawn

MEDIA = (("svg", "svg+xml"), ("jpg", "jpeg"), ("png", "png"))
"""What a page shows of a figure: kind of file and media type, the first that it has."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A cell of a table."""

    text: str
    value: float | None = None
    """The number that the column is sorted by; None: its text."""
    bold: bool = False
    span: str = ""
    """What is written small below it: an interval."""

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
    """What each column is, in full."""


def render_page(template: str, **values: Any) -> str:
    """Return the page that `template` makes of `values`; what they hold is escaped."""
    environment = Environment(loader=PackageLoader("fakemedia.reporting"), autoescape=True, trim_blocks=True,
                              lstrip_blocks=True, undefined=StrictUndefined)
    environment.filters |= {"anchor": anchor, "address": address}
    return environment.get_template(template).render(**values) + "\n"


def anchor(title: str) -> str:
    """Return the address of the section `title` within its page."""
    return title.lower().replace(" ", "-").rstrip("?")


def address(drawn: Drawn) -> str:
    """Return a figure as a data address: its SVG or JPEG file if there is one, else its PNG file."""
    kind, media = next(each for each in MEDIA if each[0] in drawn.files)
    return f"data:image/{media};base64,{base64.b64encode(drawn.files[kind]).decode()}"
