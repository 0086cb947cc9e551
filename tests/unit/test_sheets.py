"""Sample sheets: noted, and cut on demand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut, chelsea, coffee, rocket

from fakemedia.ingest.sheets import tiles_of
from tests.trees import checked, open_source, write_tree


def sheet(tiles: int, side: int, padding: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    period = side + padding
    made = Image.new("RGB", (tiles * period + padding, tiles * period + padding))
    for number in range(tiles * tiles):
        tile = Image.fromarray(rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)).resize((side, side))
        made.paste(tile, (padding + number % tiles * period, padding + number // tiles * period))
    return np.asarray(made)


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize(("tiles", "side"), [(4, 64), (8, 32), (8, 96), (5, 50)])
def test_a_sample_sheet_is_noted(tmp_path: Path, tiles: int, side: int, padding: int) -> None:
    root = write_tree(tmp_path)
    Image.fromarray(sheet(tiles, side, padding)).save(root / "a/train/1_fake/sheet.png")
    _, findings = checked(open_source("folder", root))
    found = findings.loc[findings["finding"] == "sheet"]
    assert found[["path", "severity"]].to_numpy().tolist() == [["a/train/1_fake/sheet.png", "note"]]
    assert f"a grid of {tiles * tiles} equal tiles" in found["detail"].iloc[0]


def test_other_pictures_are_no_sheets() -> None:
    pictures = [np.asarray(Image.fromarray(picture).resize((256, 256)))
                for picture in np.random.default_rng(1).integers(0, 256, (40, 9, 9, 3), dtype=np.uint8)]
    pictures += [astronaut(), coffee(), chelsea(), rocket(), np.zeros((256, 256, 3), np.uint8),
                 np.random.default_rng(2).integers(0, 256, (512, 512, 3), dtype=np.uint8)]
    pictures += [picture[:256, :256].repeat(2, 0).repeat(2, 1) for picture in pictures[-6:]]
    assert [tiles_of(picture) for picture in pictures] == [0] * len(pictures)
