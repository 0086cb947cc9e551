"""Figures as files: drawn once, as PDF, PNG and, for pages, SVG."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import matplotlib as mpl
from matplotlib.figure import Figure
from PIL import Image

from fakemedia.reporting.compact_svg import compact
from fakemedia.reporting.style import ONE_COLUMN, RC

MAX_SVG_BYTES = 120_000
"""Bytes above which a figure has no SVG file: pages then show its PNG file."""
JPEG_DPI, JPEG_QUALITY = 130, 80


@dataclass(frozen=True, kw_only=True)
class RenderedFigure:
    """A figure, rendered as files."""

    name: str
    """The name of its files, without ending."""
    caption: str
    wide: bool
    """Whether it takes both columns of a page."""
    files: Mapping[str, bytes]
    """Its files by kind: `pdf`, `png` and, for pages, `svg` unless that is large, or `jpg` for photographs."""


def render_figure(name: str, figure: Figure, caption: str, *, photographs: bool = False) -> RenderedFigure:
    """Return `figure` rendered in every kind; one of photographs has a small JPEG file in place of SVG."""
    web_kind: Literal["jpg", "svg"] = "jpg" if photographs else "svg"
    files = {"pdf": render(figure, "pdf"), "png": render(figure, "png"), web_kind: render(figure, web_kind)}
    if len(files.get("svg", b"")) > MAX_SVG_BYTES:
        del files["svg"]
    return RenderedFigure(name=name, caption=caption, wide=bool(figure.get_figwidth() > ONE_COLUMN), files=files)


def render(figure: Figure, kind: Literal["png", "pdf", "svg", "jpg"]) -> bytes:
    """Return the figure as a file: PNG, PDF with embedded fonts, SVG or JPEG; the same bytes every time."""
    if figure.get_layout_engine() is not None:  # the layout takes longer than the drawing, and is the same every time
        figure.draw_without_rendering()
        figure.set_layout_engine("none")
    dates = {"png": {"Software": None}, "pdf": {"CreationDate": None}, "svg": {"Date": None}, "jpg": {}}
    options: dict[str, Any] = {"dpi": 300, "metadata": dates[kind]}
    if kind == "jpg":
        options = {"dpi": JPEG_DPI, "pil_kwargs": {"quality": JPEG_QUALITY}}
    buffer = io.BytesIO()
    with mpl.rc_context(RC):
        figure.savefig(buffer, format=kind, **options)
    return compact(buffer.getvalue()) if kind == "svg" else buffer.getvalue()


def stacked(pictures: Sequence[bytes], width: int = 1200) -> bytes:
    """Return PNG files stacked vertically as one PNG file of that width, pixels."""
    images = [Image.open(io.BytesIO(picture)).convert("RGB") for picture in pictures]
    scaled = [picture.resize((width, round(picture.height * width / picture.width))) for picture in images]
    sheet = Image.new("RGB", (width, max(1, sum(picture.height for picture in scaled))), "white")
    top = 0
    for picture in scaled:
        sheet.paste(picture, (0, top))
        top += picture.height
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
