"""Decoding, and the pixel store."""

from __future__ import annotations

import copy
import io
import pickle
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fakemedia.core.errors import UserError
from fakemedia.ingest.build_store import build_store, ensure_store, store_fingerprint
from fakemedia.ingest.index import build_index
from fakemedia.sources.source import Item
from fakemedia.store import decode as decoding
from fakemedia.store.decode import DecodeError, decode, read_picture
from fakemedia.store.pixels import PixelStore

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)


def encoded(image: Image.Image, codec: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, codec, **options)
    return buffer.getvalue()


class Pictures:
    """A source of one task whose training images are given as arrays."""

    def __init__(self, *pixels: np.ndarray) -> None:
        self.files = {f"{number:03d}.png": encoded(Image.fromarray(image)) for number, image in enumerate(pixels)}

    def tasks(self) -> list[str]:
        return ["gan"]

    def items(self, task: str) -> list[Item]:
        return [Item(path=path, split="train", label=number % 2, class_name="", source="", bytes=len(data), mtime_ns=0)
                for number, (path, data) in enumerate(self.files.items())]

    def reader(self, path: str) -> Callable[[], bytes]:
        return lambda: self.files[path]


def images(*sides: tuple[int, int]) -> list[np.ndarray]:
    return [RNG.integers(0, 256, (height, width, 3), dtype=np.uint8) for height, width in sides]


def store_of(folder: Path, *pixels: np.ndarray) -> PixelStore:
    source = Pictures(*pixels)
    return build_store(index_of(source), source, "train", folder, workers=2, progress=False)


def index_of(source: Pictures) -> pd.DataFrame:
    return build_index(source, "gan", workers=1, progress=False)


@pytest.mark.parametrize("codec", ["BMP", "PNG", "PPM", "TIFF"])
def test_lossless_codecs_give_the_pixels_back(codec: str) -> None:
    picture = read_picture(encoded(Image.fromarray(RGB), codec))
    np.testing.assert_array_equal(picture.pixels, RGB)
    assert (picture.pixels.dtype, picture.codec, picture.mode) == (np.uint8, codec.lower(), "RGB")


@pytest.mark.parametrize(("codec", "options"), [("WEBP", {"lossless": True}), ("JPEG", {"quality": 95}), ("GIF", {})])
def test_other_codecs_are_told_by_content(codec: str, options: dict[str, object]) -> None:
    picture = read_picture(encoded(Image.new("RGB", (16, 8), (200, 100, 50)), codec, **options))
    assert (picture.codec, picture.pixels.shape) == (codec.lower(), (8, 16, 3))
    np.testing.assert_allclose(picture.pixels.astype(int), np.broadcast_to([200, 100, 50], (8, 16, 3)), atol=3)


def test_grey_and_bilevel_become_rgb() -> None:
    grey = RGB[..., 0]
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(grey))), np.repeat(grey[..., None], 3, 2))
    bilevel = Image.fromarray(grey).convert("1")
    np.testing.assert_array_equal(decode(encoded(bilevel))[..., 0], np.asarray(bilevel) * 255)


def test_sixteen_bit_grey_keeps_the_upper_byte() -> None:
    grey = RNG.integers(0, 2**16, (4, 6), dtype=np.uint16)
    for codec in ("PNG", "TIFF"):
        np.testing.assert_array_equal(decode(encoded(Image.fromarray(grey), codec))[..., 1], grey >> 8)
    header = b"P5 6 4 65535\n"
    np.testing.assert_array_equal(decode(header + grey.astype(">u2").tobytes())[..., 2], grey >> 8)


@pytest.mark.parametrize("samples", [np.full((2, 2), 0.5, np.float32), np.full((2, 2), 70000, np.int32)])
def test_samples_without_a_known_range_are_refused(samples: np.ndarray) -> None:
    with pytest.raises(DecodeError, match="samples"):
        decode(encoded(Image.fromarray(samples), "TIFF"))


def test_transparency_is_composited_over_white() -> None:
    rgba = np.zeros((1, 3, 4), np.uint8)
    rgba[0, :, 3] = (0, 255, 51)
    expected = [[255] * 3, [0] * 3, [204] * 3]
    np.testing.assert_array_equal(decode(encoded(Image.fromarray(rgba)))[0], expected)
    palette = Image.new("P", (2, 1))
    palette.putpalette([10, 20, 30, 40, 50, 60])
    palette.putdata([0, 1])
    np.testing.assert_array_equal(decode(encoded(palette))[0], [[10, 20, 30], [40, 50, 60]])
    np.testing.assert_array_equal(decode(encoded(palette, transparency=0))[0], [[255] * 3, [40, 50, 60]])
    np.testing.assert_array_equal(decode(encoded(Image.new("RGB", (1, 1), (1, 2, 3)), transparency=(1, 2, 3)))[0, 0],
                                  [255] * 3)
    np.testing.assert_array_equal(decode(encoded(Image.new("LA", (1, 1), (9, 0))))[0, 0], [255] * 3)


def test_cmyk_is_converted() -> None:
    for codec in ("JPEG", "TIFF"):
        picture = read_picture(encoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), codec))
        assert picture.mode == "CMYK"
        np.testing.assert_allclose(picture.pixels.astype(int), np.broadcast_to([255, 0, 0], (8, 8, 3)), atol=3)


@pytest.mark.parametrize("codec", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_are_turned_upright(codec: str, orientation: int) -> None:
    stored_by = {2: Image.Transpose.FLIP_LEFT_RIGHT, 3: Image.Transpose.ROTATE_180, 4: Image.Transpose.FLIP_TOP_BOTTOM,
                 5: Image.Transpose.TRANSPOSE, 6: Image.Transpose.ROTATE_90, 7: Image.Transpose.TRANSVERSE,
                 8: Image.Transpose.ROTATE_270}
    image = Image.fromarray(RGB)
    stored = image.transpose(stored_by[orientation]) if orientation > 1 else image
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if codec == "WEBP" else {}
    np.testing.assert_array_equal(decode(encoded(stored, codec, exif=exif, **options)), RGB)


def test_broken_exif_leaves_the_picture_as_stored() -> None:
    for block in (b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0", b"Exif\0\0MM\0*\0\0\0\x08\xff\xff"):
        assert decode(encoded(Image.fromarray(RGB), "JPEG", exif=block)).shape == RGB.shape


@pytest.mark.parametrize("codec", ["GIF", "WEBP"])
def test_of_an_animation_the_first_frame_counts(codec: str) -> None:
    frames = [Image.new("RGB", (4, 4), (value, value, value)) for value in (0, 255)]
    data = encoded(frames[0], codec, save_all=True, append_images=frames[1:])
    np.testing.assert_array_equal(decode(data), np.zeros((4, 4, 3)))


@pytest.mark.parametrize("codec", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF"])
def test_truncated_files_are_refused(codec: str) -> None:
    data = encoded(Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)), codec)
    for part in (0, 1, len(data) // 2):
        with pytest.raises(DecodeError):
            decode(data[:part])


@given(st.binary(max_size=60), st.integers(0, 200), st.sampled_from(["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP"]))
@settings(max_examples=150)
def test_damaged_files_decode_or_are_refused(junk: bytes, at: int, codec: str) -> None:
    data = encoded(Image.fromarray(RGB), codec)
    try:
        pixels = decode(data[:at] + junk + data[at + len(junk):])
    except DecodeError:
        return
    assert pixels.dtype == np.uint8
    assert pixels.shape[2:] == (3,)


def test_more_pixels_than_the_bound_are_refused_undecoded(monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(Image.fromarray(RGB))
    monkeypatch.setattr(decoding, "MAX_PIXELS", RGB[..., 0].size)
    decode(data)
    monkeypatch.setattr(decoding, "MAX_PIXELS", RGB[..., 0].size - 1)
    with pytest.raises(DecodeError, match="7 x 5 pixels"):
        decode(data)


def test_store_holds_the_decoded_images(tmp_path: Path) -> None:
    pixels = images((5, 7), (4, 4), (1, 9))
    source = Pictures(*pixels)
    index = index_of(source)
    store = build_store(index, source, "train", tmp_path / "stores" / "train", workers=2, progress=False)
    assert (store.task, store.split, store.policy, len(store)) == ("gan", "train", "native", 3)
    assert store.fingerprint == store_fingerprint(index, "train")
    assert store.ids == index["id"].tolist()
    assert store.sources == index["source"].tolist()
    np.testing.assert_array_equal(store.labels, [0, 1, 0])
    np.testing.assert_array_equal(store.heights, [5, 4, 1])
    np.testing.assert_array_equal(store.widths, [7, 4, 9])
    assert all(values.dtype == np.int64 for values in (store.labels, store.heights, store.widths))
    for i, expected in enumerate(pixels):
        np.testing.assert_array_equal(store[i], expected)
        assert not store[i].flags.writeable
    assert sorted(path.name for path in store.folder.iterdir()) == ["images.parquet", "manifest.json", "pixels.u8"]
    assert [path.name for path in store.folder.parent.iterdir()] == ["train"]
    store.verify()


def test_store_copies_and_pickles_by_its_folder(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", *images((30, 30)))
    _ = store[0]
    assert len(pickle.dumps(store)) < 500
    for other in (copy.deepcopy(store), pickle.loads(pickle.dumps(store))):
        assert other.fingerprint == store.fingerprint
        np.testing.assert_array_equal(other[0], store[0])


@given(st.data())
@settings(max_examples=25)
def test_crops_are_those_of_the_padded_image(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    side = st.integers(1, 12)
    sides = data.draw(st.one_of(st.lists(st.tuples(side, side), min_size=1, max_size=4),
                                st.tuples(side, side).map(lambda size: [size] * 3)))
    size = data.draw(st.integers(1, 16))
    pixels = images(*sides)
    store = store_of(tmp_path_factory.mktemp("crops") / "s", *pixels)
    rows = np.array(data.draw(st.lists(st.integers(0, len(sides) - 1), max_size=6)), np.int64)
    max_top, max_left = store.limits(rows, size)
    tops = np.array([data.draw(st.integers(0, int(bound))) for bound in max_top], np.int64)
    lefts = np.array([data.draw(st.integers(0, int(bound))) for bound in max_left], np.int64)
    crops = store.crops(rows, tops, lefts, size)
    assert crops.shape == (len(rows), size, size, 3)
    assert crops.flags.writeable
    for crop, row, top, left in zip(crops, rows, tops, lefts, strict=True):
        missing = [max(size - length, 0) for length in sides[row]]
        pads = [(gap // 2, gap - gap // 2) for gap in missing]
        padded = pixels[row]
        for axis, pad in enumerate(pads):
            mode = "edge" if padded.shape[axis] == 1 else "reflect"
            padded = np.pad(padded, [pad if axis == a else (0, 0) for a in range(3)], mode=mode)
        np.testing.assert_array_equal(crop, padded[top:top + size, left:left + size])


@pytest.mark.parametrize(("sides", "top"), [([(8, 8)], 5), ([(8, 8)], -1), ([(8, 8), (9, 9)], 5), ([(2, 2)], 1)])
def test_crops_outside_the_image_are_refused(tmp_path: Path, sides: list[tuple[int, int]], top: int) -> None:
    store = store_of(tmp_path / "s", *images(*sides))
    with pytest.raises(IndexError):
        store.crops(np.array([0]), np.array([top]), np.array([0]), 4)


def test_building_again_replaces_the_store(tmp_path: Path) -> None:
    first = store_of(tmp_path / "s", *images((5, 5)))
    before = first[0].copy()
    second = store_of(tmp_path / "s", *images((6, 6)))
    assert second.fingerprint != first.fingerprint
    assert second.heights.tolist() == [6]
    np.testing.assert_array_equal(first[0], before)
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


def test_many_may_build_the_same_store_at_once(tmp_path: Path) -> None:
    source = Pictures(*images(*[(8, 8)] * 8))
    index = index_of(source)
    failures = []

    def work() -> None:
        try:
            for _ in range(3):
                build_store(index, source, "train", tmp_path / "s", workers=1, progress=False)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    assert [path.name for path in tmp_path.iterdir()] == ["s"]
    PixelStore.open(tmp_path / "s").verify()


def test_ensure_store_builds_only_what_is_stale(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = Pictures(*images((5, 5), (5, 5)))
    index = index_of(source)

    def ensure(table: pd.DataFrame) -> PixelStore:
        return ensure_store(table, source, "train", tmp_path / "s", workers=1, progress=False)

    first = ensure(index).folder.stat().st_ino
    assert ensure(index).folder.stat().st_ino == first
    assert ensure(index.assign(label=1 - index["label"])).labels.tolist() == [1, 0]
    (tmp_path / "s" / "pixels.u8").write_bytes(b"")
    ensure(index).verify()


@pytest.mark.parametrize("damage", ["manifest.json", "pixels.u8"])
def test_a_store_that_is_not_whole_does_not_open(tmp_path: Path, damage: str) -> None:
    store = store_of(tmp_path / "s", *images((5, 5)))
    path = store.folder / damage
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(UserError, match="pixel store"):
        PixelStore.open(store.folder)
    path.unlink()
    with pytest.raises(UserError, match="pixel store"):
        PixelStore.open(store.folder)


@pytest.mark.parametrize("sides", [[(5, 5), (5, 5)], [(5, 5), (6, 4)]])
def test_a_damaged_picture_is_found_when_it_is_read(tmp_path: Path, sides: list[tuple[int, int]]) -> None:
    """Inverted bytes of pixels.u8 were scored without a word."""
    pictures = images(*sides)
    store = store_of(tmp_path / "s", *pictures)
    with (store.folder / "pixels.u8").open("r+b") as file:
        file.seek(80)
        file.write(bytes([255 - store[1].ravel()[5]]))
    again = PixelStore.open(store.folder)
    _ = again[0]
    for read in (lambda: again[1], lambda: again.centre_crops(np.array([0, 1]), 2), again.verify):
        with pytest.raises(UserError, match=r"Image 1 .* is damaged"):
            read()
    with pytest.raises(UserError, match="No pixel store"):  # It counts as missing from now on.
        PixelStore.open(store.folder)
    source = Pictures(*pictures)
    build_store(index_of(source), source, "train", store.folder, workers=1, progress=False).verify()


def test_a_changed_table_of_images_is_found(tmp_path: Path) -> None:
    store = store_of(tmp_path / "s", *images((5, 5), (5, 5)))
    arrow = pq.read_table(store.folder / "images.parquet")
    pq.write_table(arrow.set_column(1, "label", [[1, 1]]), store.folder / "images.parquet")
    with pytest.raises(UserError, match="pixel store"):
        PixelStore.open(store.folder)


def test_bad_input_leaves_nothing_behind(tmp_path: Path) -> None:
    source = Pictures(*images((5, 5), (5, 5)))
    index = index_of(source)

    def build(table: pd.DataFrame = index, split: str = "train", **options: str) -> None:
        build_store(table, source, split, tmp_path / "s", workers=1, progress=False, **options)

    for policy, what in (("resise", "Unknown policy"), ("resize", "cannot be used"), ("jpeg:101", "from 1 to 100")):
        with pytest.raises(UserError, match=what):
            build(policy=policy)
    with pytest.raises(UserError, match="val split is empty"):
        build(split="val")
    with pytest.raises(UserError, match="cannot be read: broken"):
        build(index.assign(error="broken"))
    source.files["001.png"] = encoded(Image.fromarray(RGB))
    with pytest.raises(UserError, match=r"(?s)changed after it was indexed.*001\.png"):
        build()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "thesis.txt").write_text("mine")
    with pytest.raises(UserError, match="has other content"):
        build(index_of(source))
    assert (tmp_path / "s" / "thesis.txt").exists()


def test_a_store_that_was_never_made_is_not_called_damaged(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"not ingested[\s\S]*--tags ingestion"):
        PixelStore.open(tmp_path / "train")
