"""Sample sheets: noted, and cut on demand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage.data import astronaut, chelsea, coffee, rocket

from fakemedia.ingest import cut_sheets
from fakemedia.ingest.collection import collection_config
from fakemedia.ingest.derived import derivation, derived
from fakemedia.ingest.index import refreshed
from fakemedia.ingest.sheets import tiles_of
from fakemedia.store.decode import decode
from tests.trees import TOTAL, checked, open_source, write_tree


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


@pytest.mark.parametrize("padding", [0, 2])
def test_sheets_are_cut_into_tiles_that_share_them_as_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                             padding: int) -> None:
    root, pixels = write_tree(tmp_path / "in"), sheet(4, 64, padding)
    Image.fromarray(pixels).save(root / "a/train/1_fake/sheet.png")
    (root / "a/train/1_fake/broken.png").write_bytes(b"no picture")
    config = collection_config({"source": {"name": "folder", "root": str(root)}, "cut_sheets": True}, where="mine")
    source = derived(open_source("folder", root), config, cache=tmp_path / "cache")
    index, findings = checked(source)
    assert len(index) == TOTAL + 16 + 1
    tiles = index.loc[index["path"].str.contains("sheet.png")]
    assert set(tiles["source"]) == {"a/train/1_fake/sheet.png"}
    assert (tiles["width"].tolist(), tiles["split"].unique().tolist()) == ([64] * 16, ["train"])
    found = findings.loc[findings["finding"].isin(["sheet", "cut_sheet"]), ["finding", "severity", "path"]]
    assert found.to_numpy().tolist() == [["cut_sheet", "note", "a/train/1_fake/sheet.png"]]
    for number, path in enumerate(sorted(tiles["path"])):
        top, left = (padding + place * (64 + padding) for place in divmod(number, 4))
        assert np.array_equal(decode(source.reader(path)()), pixels[top:top + 64, left:left + 64])

    assert refreshed(index, source, "a") is index
    monkeypatch.setattr(cut_sheets, "grid_of", None)
    again = derived(open_source("folder", root), config, cache=tmp_path / "cache")
    assert len(again.items("a")) == len(index)
    assert derivation(config) == {"sheets": 1}
    monkeypatch.setattr(cut_sheets.sheets, "VERSION", 99)
    with pytest.raises(TypeError):
        derived(open_source("folder", root), config, cache=tmp_path / "cache").items("a")
    monkeypatch.setattr(cut_sheets.sheets, "VERSION", 1)
    for path in (tmp_path / "cache").iterdir():
        path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(TypeError):
        derived(open_source("folder", root), config, cache=tmp_path / "cache").items("a")
