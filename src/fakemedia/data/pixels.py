"""The pixel store: the images of one split of a task, decoded once, uint8 and memory-mapped."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import PIL
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray
from PIL import features

from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.fingerprint import fingerprint
from fakemedia.data.decode import decode
from fakemedia.data.files import sync
from fakemedia.data.index import check_readable, content_id, index_fingerprint
from fakemedia.data.parallel import thread_map
from fakemedia.data.sources.base import Source

FORMAT = 1
"""Version of the files and of the decoding rules; part of every store's fingerprint."""
POLICIES = ("native",)
"""`native`: every picture in its own size, never resized, since resampling erases the traces that detectors live on."""
PIXELS, IMAGES, MANIFEST = "pixels.u8", "images.parquet", "manifest.json"
REBUILD = "delete the folder and run the ingestion again"


def store_fingerprint(index: pd.DataFrame, split: str, policy: str = "native") -> str:
    """Return the fingerprint that a store of `split` built from `index` has."""
    return fingerprint({"format": FORMAT, "index": index_fingerprint(index, split), "policy": policy})


class PixelStore:
    """The decoded images of one split; files are opened on first use, so copies and pickles are cheap.

    Attributes: `folder`, `task`, `split`, `policy`, `fingerprint` (content and policy).
    """

    def __init__(self, folder: str | Path) -> None:
        """Read the manifest in `folder`; UserError if there is no whole store of this version."""
        self.folder = Path(folder).absolute()
        try:
            self._manifest: dict[str, Any] = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            known = self._manifest["format"] == FORMAT
            whole = known and (self.folder / PIXELS).stat().st_size == self._manifest["bytes"]
        except (OSError, ValueError, KeyError) as error:
            raise UserError(f"No pixel store can be opened ({error!r})", where=self.folder, do=REBUILD) from None
        if not whole:
            raise UserError("The pixel store is damaged or of another version", where=self.folder,
                            expected=f"format {FORMAT} and as many bytes of pixels as its manifest says", do=REBUILD)
        self.task: str = self._manifest["task"]
        self.split: str = self._manifest["split"]
        self.policy: str = self._manifest["policy"]
        self.fingerprint: str = self._manifest["fingerprint"]

    @classmethod
    def open(cls, folder: str | Path) -> PixelStore:
        """Return the store in `folder`; UserError if there is no whole store of this version."""
        return cls(folder)

    def __reduce__(self) -> tuple[type[PixelStore], tuple[Path]]:
        return PixelStore, (self.folder,)

    def __len__(self) -> int:
        return self._manifest["images"]

    def __repr__(self) -> str:
        return f"PixelStore({self.task!r}, {self.split!r}, {len(self)} images)"

    @cached_property
    def _images(self) -> pd.DataFrame:
        return pd.read_parquet(self.folder / IMAGES)

    @cached_property
    def ids(self) -> list[str]:
        """Content ids."""
        return self._images["id"].tolist()

    @cached_property
    def labels(self) -> NDArray[np.int64]:
        """0 real, 1 fake, (N,)."""
        return self._images["label"].to_numpy(np.int64)

    @cached_property
    def sources(self) -> list[str]:
        """Source groups."""
        return self._images["source"].tolist()

    @cached_property
    def heights(self) -> NDArray[np.int64]:
        """Pixels, (N,)."""
        return self._images["height"].to_numpy(np.int64)

    @cached_property
    def widths(self) -> NDArray[np.int64]:
        """Pixels, (N,)."""
        return self._images["width"].to_numpy(np.int64)

    @cached_property
    def _offsets(self) -> NDArray[np.int64]:
        return _offsets(self.heights, self.widths)

    @cached_property
    def _pixels(self) -> NDArray[np.uint8]:
        return np.memmap(self.folder / PIXELS, np.uint8, mode="r").view(np.ndarray)

    def __getitem__(self, i: int) -> NDArray[np.uint8]:
        """Return image `i`, uint8 (H, W, 3): a read-only view of the file."""
        height, width = int(self.heights[i]), int(self.widths[i])
        start = int(self._offsets[i])
        return self._pixels[start:start + 3 * height * width].reshape(height, width, 3)

    def limits(self, rows: NDArray[np.integer], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the largest top and the largest left of a crop of `size` in the images `rows`; 0 in smaller ones."""
        return np.maximum(self.heights[rows] - size, 0), np.maximum(self.widths[rows] - size, 0)

    def crops(self, rows: NDArray[np.integer], tops: NDArray[np.integer], lefts: NDArray[np.integer],
              size: int) -> NDArray[np.uint8]:
        """Return square crops, uint8 (N, size, size, 3), a copy.

        `rows`, `tops` and `lefts` are (N,). An image smaller than `size` is first padded to it, centred, by reflection
        without repeating the edge (a side of one pixel repeats it). IndexError: a crop is outside its image.
        """
        bounds = self.limits(rows, size)
        if any(((at < 0) | (at > bound)).any() for at, bound in zip((tops, lefts), bounds, strict=True)):
            raise IndexError(f"a crop of {size} pixels lies outside its image")
        if self._uniform and size <= min(self.heights[0], self.widths[0]):
            return self._windows(size)[rows, tops, lefts].reshape(len(rows), size, size, 3)
        out = np.empty((len(rows), size, size, 3), np.uint8)
        for k, (i, top, left) in enumerate(zip(rows.tolist(), tops.tolist(), lefts.tolist(), strict=True)):
            image = self[i]
            height, width, _ = image.shape
            if min(height, width) >= size:
                out[k] = image[top:top + size, left:left + size]
            else:
                out[k] = image.take(_reflected(width, left, size), 1).take(_reflected(height, top, size), 0)
        return out

    @cached_property
    def _uniform(self) -> bool:
        return bool((self.heights == self.heights[0]).all() and (self.widths == self.widths[0]).all())

    def _windows(self, size: int) -> NDArray[np.uint8]:
        """Return a view (N, tops, lefts, size, 3 size) of every crop in a store of equal images."""
        n, height, width = len(self), int(self.heights[0]), int(self.widths[0])
        line = 3 * width
        return as_strided(self._pixels, (n, height - size + 1, width - size + 1, size, 3 * size),
                          (height * line, line, 3, line, 1), writeable=False)

    def verify(self) -> None:
        """Read the whole store once; UserError if anything in it is not as it was written."""
        if _checksum((self.folder / IMAGES).read_bytes()) != self._manifest["checksum"]:
            raise UserError("The pixel store's table of images is damaged", where=self.folder, do=REBUILD)
        for i, expected in enumerate(self._images["checksum"]):
            if _checksum(self[i].data) != expected:
                raise UserError(f"Image {i} (id {self.ids[i]}) of the pixel store is damaged", where=self.folder,
                                do=REBUILD)


def build_store(index: pd.DataFrame, source: Source, split: str, folder: str | Path, *, policy: str = "native",
                workers: int, progress: bool = True) -> PixelStore:
    """Decode the images of `split` into a store in `folder`, replacing another store that is there; return it.

    Each of the `workers` threads writes its pictures straight to their place, so memory holds one picture a thread.
    The store is built in a folder beside `folder` and moved there when whole; of several processes that build the same
    store at once, the first to end wins. UserError: an unknown policy, an empty split, an unreadable image, a file that
    changed since it was indexed, or a `folder` that holds something else.
    """
    folder = Path(folder)
    if policy not in POLICIES:
        raise unknown_name("policy", policy, POLICIES)
    rows = index.loc[index["split"] == split]
    if rows.empty:
        raise UserError(f"The {split} split is empty", where=folder, expected="at least one image")
    check_readable(rows)
    if _holds_something_else(folder):
        raise UserError("The folder for a pixel store holds something else", where=folder, expected="a new folder")
    fingerprint = store_fingerprint(index, split, policy)
    folder.parent.mkdir(parents=True, exist_ok=True)
    building = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}")
    building.mkdir()
    try:
        _write(rows, source, building, policy=policy, fingerprint=fingerprint, workers=workers, progress=progress)
        while not _moved(building, folder):
            if _is_store(folder, fingerprint):
                break
            _move_away(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return PixelStore.open(folder)


def ensure_store(index: pd.DataFrame, source: Source, split: str, folder: str | Path, *, policy: str = "native",
                 workers: int, progress: bool = True) -> PixelStore:
    """Return the store in `folder` if it is the one that `build_store` would build; build it otherwise."""
    if _is_store(folder, store_fingerprint(index, split, policy)):
        return PixelStore.open(folder)
    return build_store(index, source, split, folder, policy=policy, workers=workers, progress=progress)


def _write(rows: pd.DataFrame, source: Source, folder: Path, *, policy: str, fingerprint: str, workers: int,
           progress: bool) -> None:
    heights, widths = rows["height"].to_numpy(), rows["width"].to_numpy()
    task, split = str(rows["task"].iloc[0]), str(rows["split"].iloc[0])
    jobs = list(zip(rows["path"], rows["id"], _offsets(heights, widths).tolist(), strict=True))
    total = int(3 * (heights * widths).sum())

    with (folder / PIXELS).open("wb") as file:
        descriptor = file.fileno()

        def write(job: tuple[str, str, int]) -> str:
            path, expected, offset = job
            data = source.read(path)
            if content_id(data) != expected:
                raise UserError("The image changed after it was indexed", where=path, do="run the ingestion again")
            pixels = decode(data)
            _write_at(descriptor, pixels.data.cast("B"), offset)
            return _checksum(pixels.data)

        file.truncate(total)
        checksums = thread_map(write, jobs, workers=workers, title=f"decode {task} {split}", progress=progress)
        os.fsync(descriptor)
    images = rows[["id", "label", "source", "height", "width"]].assign(checksum=checksums)
    images.to_parquet(folder / IMAGES, index=False)
    manifest = {
        "format": FORMAT, "task": task, "split": split, "policy": policy, "fingerprint": fingerprint,
        "images": len(rows), "bytes": total, "checksum": _checksum((folder / IMAGES).read_bytes()),
        "versions": {"pillow": PIL.__version__, "libjpeg_turbo": features.version("libjpeg_turbo"),
                     "numpy": np.__version__},
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n", encoding="utf-8")
    for name in (IMAGES, MANIFEST, "."):
        sync(folder / name)


def _holds_something_else(folder: Path) -> bool:
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return False
    except NotADirectoryError:
        return True
    return bool(names) and MANIFEST not in names


def _is_store(folder: str | Path, fingerprint: str) -> bool:
    try:
        return PixelStore.open(folder).fingerprint == fingerprint
    except UserError:
        return False


def _moved(new: Path, folder: Path) -> bool:
    """Rename the folder `new` to `folder` unless one that is not empty stands there; say whether it was done."""
    try:
        new.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def _move_away(folder: Path) -> None:
    """Delete a folder, first renaming it, so that it is never seen half deleted."""
    old = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.old")
    with suppress(FileNotFoundError):  # Another process moved it away first.
        folder.rename(old)
        shutil.rmtree(old)


def _write_at(descriptor: int, data: memoryview, offset: int) -> None:
    while data:
        written = os.pwrite(descriptor, data, offset)
        data, offset = data[written:], offset + written


def _offsets(heights: NDArray[np.int64], widths: NDArray[np.int64]) -> NDArray[np.int64]:
    ends = np.cumsum(3 * heights * widths)
    return np.concatenate([[0], ends[:-1]])


def _checksum(data: bytes | memoryview) -> str:
    return hashlib.sha256(data).hexdigest()[:32]


def _reflected(length: int, start: int, size: int) -> NDArray[np.int64]:
    """Return the positions in a line of `length` pixels that a crop of `size` at `start` of the padded line shows."""
    if length == 1:
        return np.zeros(size, np.int64)
    period = 2 * (length - 1)
    positions = (np.arange(size) + start - max(size - length, 0) // 2) % period
    return np.minimum(positions, period - positions)
