"""What the viewer shows of a dataset."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from fakemedia.catalog import FigureDataset, IndexDataset, TextDataset, previews
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
    for dataset in (FigureDataset(str(tmp_path / "a.png"), "demo"), TextDataset(str(tmp_path / "a.txt"), "demo"),
                    IndexDataset(str(tmp_path / "index.parquet"), "demo", "gan")):
        assert dataset.preview() is None


def test_texts_are_shown_as_they_are_written_but_no_pages(tmp_path: Path) -> None:
    for name in ("headline.txt", "report.html"):
        (tmp_path / name).write_text("a < b\n", encoding="utf-8")
    assert TextDataset(str(tmp_path / "headline.txt"), "demo").preview() == "<pre>a &lt; b\n</pre>"
    assert TextDataset(str(tmp_path / "report.html"), "demo").preview() is None
