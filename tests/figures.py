"""Figures without their drawing, which takes most of the time of a small run."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from io import BytesIO
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from fakemedia.reporting import gallery


def _png() -> bytes:
    buffer = BytesIO()
    Image.new("RGB", (1, 1)).save(buffer, "PNG")
    return buffer.getvalue()


STUBS = {"png": _png(), "pdf": b"%PDF-", "svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
         "jpg": b"\xff\xd8\xff"}
"""Files that show nothing, or are cut, in the formats of figures."""


def stub_figures(monkeypatch: pytest.MonkeyPatch, kinds: Collection[str] = frozenset(STUBS)) -> None:
    """Make figures stubs where they are written in one of `kinds`; their axes are made as ever."""
    savefig = Figure.savefig

    def save(figure: Figure, file: BytesIO, *, format: str, **options: Any) -> None:
        if format in kinds:
            file.write(STUBS[format])
        else:
            savefig(figure, file, format=format, **options)

    monkeypatch.setattr(Figure, "savefig", save)
    if set(STUBS) <= set(kinds):
        monkeypatch.setattr(Figure, "draw_without_rendering", lambda figure: None)


def leave_blank(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make every figure of a report a stub without axes."""
    stub_figures(monkeypatch)
    blank = tuple(replace(declared, draw=lambda *_: Figure()) for declared in gallery.FIGURES)
    monkeypatch.setattr(gallery, "FIGURES", blank)
