"""What the viewer shows of a dataset."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fakemedia.catalog import FiguresDataset, IndexDataset, TextDataset, previews
from fakemedia.reporting.rendering import render_figure
from fakemedia.reporting.style import new_figure
from fakemedia.store.pixels import PixelStore


def test_pictures_are_the_store_s_real_above_fake(noise_store: Callable[..., PixelStore]) -> None:
    store = noise_store(images=8, size=previews.SIDE)
    sheet = np.asarray(Image.open(io.BytesIO(base64.b64decode(previews.pictures(store)))))
    for label in (0, 1):
        for place, row in enumerate(np.flatnonzero(store.labels == label)):
            left, top = place * (previews.SIDE + 2), label * (previews.SIDE + 2)
            assert (sheet[top:top + previews.SIDE, left:left + previews.SIDE] == store[int(row)]).all()
    assert (sheet[:, 4 * (previews.SIDE + 2):] == 255).all(), "no more pictures than there are"


def test_nothing_is_shown_before_there_is_a_file(tmp_path: Path) -> None:
    for dataset in (FiguresDataset(str(tmp_path / "a.json")), TextDataset(str(tmp_path / "a.txt")),
                    IndexDataset(str(tmp_path / "index"))):
        assert dataset.preview() is None


def test_texts_are_shown_as_they_are_written_but_no_pages(tmp_path: Path) -> None:
    for name in ("headline.txt", "report.html"):
        (tmp_path / name).write_text("a < b\n", encoding="utf-8")
    assert TextDataset(str(tmp_path / "headline.txt")).preview() == "<pre>a &lt; b\n</pre>"
    assert TextDataset(str(tmp_path / "report.html")).preview() is None


def test_figures_are_read_back_as_they_were_drawn(tmp_path: Path) -> None:
    figure = new_figure(3, 2)
    figure.add_subplot().plot([1, 2])
    pictures = [render_figure(name, figure, f"Caption of {name}.") for name in ("one", "two")]
    dataset = FiguresDataset(str(tmp_path / "some.json"))
    dataset.save(pictures)
    assert dataset.load() == pictures
    assert (tmp_path / "two.pdf").read_bytes().startswith(b"%PDF")
    sheet = Image.open(io.BytesIO(base64.b64decode(dataset.preview())))
    assert sheet.height == pytest.approx(2 * 1200 * 2 / 3, abs=2)
    dataset.save(pictures[:1])
    assert not (tmp_path / "two.png").exists(), "what is no longer drawn is removed"
