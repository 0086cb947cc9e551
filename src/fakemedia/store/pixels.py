"""The pixel store: the images of one split of a task, decoded once, uint8 and memory-mapped."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.sources.source import Source
from fakemedia.store.crops import centre, cropped
from fakemedia.store.decode import DecodeError, checksum, content_id, decode
from fakemedia.store.policies import policy_function
from fakemedia.store.pool import FORMAT, IMAGES, MANIFEST, PIXELS

REBUILD = "delete the folder and run the ingestion again"


class PixelStore:
    """The decoded images of one split; files are opened on first use, so copies and pickles are cheap.

    A streaming store holds no pixels and decodes the files of its source at every access instead.

    Attributes: `folder`, `task`, `split`, `policy`, `fingerprint` (content and policy),
    `streams`.
    """

    def __init__(self, folder: str | Path) -> None:
        """Read the manifest in `folder`; UserError if there is no whole store of this version."""
        self.folder = Path(folder).absolute()
        try:
            self._manifest: dict[str, Any] = json.loads((self.folder / MANIFEST).read_text(encoding="utf-8"))
            known = self._manifest["format"] == FORMAT
            self.streams = bool(self._manifest["source"])
            whole = known and (self.streams or (self.folder / PIXELS).stat().st_size == self._manifest["bytes"])
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
        with self._reading():
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
        return self._images["offset"].to_numpy(np.int64)

    @cached_property
    def _pixels(self) -> NDArray[np.uint8]:
        with self._reading():
            return np.memmap(self.folder / PIXELS, np.uint8, mode="r").view(np.ndarray)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise UserError(f"The pixel store has gone since it was opened ({error.strerror})", where=self.folder,
                            do=REBUILD) from None

    @cached_property
    def _source(self) -> Source:
        name, settings = self._manifest["source"]["name"], self._manifest["source"]["settings"]
        return plugin.create("sources", name, settings)

    def __getitem__(self, i: int) -> NDArray[np.uint8]:
        """Return image `i`, uint8 (H, W, 3): a read-only view of the file, or freshly decoded."""
        if self.streams:
            return _decoded(self._source, self._images["path"].iloc[i], self.ids[i], self.policy)
        height, width = int(self.heights[i]), int(self.widths[i])
        start = int(self._offsets[i])
        return self._pixels[start:start + 3 * height * width].reshape(height, width, 3)

    def limits(self, rows: NDArray[np.integer], size: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the largest top and the largest left of a crop of `size` in the images `rows`; 0 in smaller ones."""
        return np.maximum(self.heights[rows] - size, 0), np.maximum(self.widths[rows] - size, 0)

    def centre_crops(self, rows: NDArray[np.integer], size: int) -> NDArray[np.uint8]:
        """Return the centre crops of the images `rows`, uint8 (N, size, size, 3), a copy."""
        return self.crops(rows, *centre(self.heights[rows], self.widths[rows], size), size)

    def crops(self, rows: NDArray[np.integer], tops: NDArray[np.integer], lefts: NDArray[np.integer],
              size: int) -> NDArray[np.uint8]:
        """Return square crops, uint8 (N, size, size, 3), a copy.

        `rows`, `tops` and `lefts` are (N,); smaller images are padded as in `cropped`. IndexError: a crop is outside
        its image.
        """
        bounds = self.limits(rows, size)
        if any(((at < 0) | (at > bound)).any() for at, bound in zip((tops, lefts), bounds, strict=True)):
            raise IndexError(f"a crop of {size} pixels lies outside its image")
        if self._uniform and size <= min(self.heights[0], self.widths[0]):
            slots = self._offsets[rows] // (3 * self.heights[0] * self.widths[0])
            return self._windows(size)[slots, tops, lefts].reshape(len(rows), size, size, 3)
        out = np.empty((len(rows), size, size, 3), np.uint8)
        for k, (i, top, left) in enumerate(zip(rows.tolist(), tops.tolist(), lefts.tolist(), strict=True)):
            out[k] = cropped(self[i], top, left, size)
        return out

    @cached_property
    def _uniform(self) -> bool:
        """Whether the pixel file holds nothing but pictures of one size."""
        area = 3 * self.heights[0] * self.widths[0]
        return not self.streams and bool(
            (self.heights == self.heights[0]).all() and (self.widths == self.widths[0]).all()
            and (self._offsets % area == 0).all())

    def _windows(self, size: int) -> NDArray[np.uint8]:
        """Return a view (slots, tops, lefts, size, 3 size) of every crop in a file of equal pictures."""
        height, width = int(self.heights[0]), int(self.widths[0])
        line = 3 * width
        slots = len(self._pixels) // (height * line)
        return as_strided(self._pixels, (slots, height - size + 1, width - size + 1, size, 3 * size),
                          (height * line, line, 3, line, 1), writeable=False)

    def verify(self) -> None:
        """Read the whole store once; UserError if anything in it is not as it was written."""
        if checksum((self.folder / IMAGES).read_bytes()) != self._manifest["checksum"]:
            raise UserError("The pixel store's table of images is damaged", where=self.folder, do=REBUILD)
        for i, expected in enumerate(self._images["checksum"]):
            if checksum(self[i].data) != expected and not self.streams:
                raise UserError(f"Image {i} (id {self.ids[i]}) of the pixel store is damaged", where=self.folder,
                                do=REBUILD)


def _decoded(source: Source, path: str, id: str, policy: str) -> NDArray[np.uint8]:
    """Return a picture of the source under `policy`; UserError if it is not the one that was indexed."""
    try:
        data = source.reader(path)()
        found, pixels = content_id(data), policy_function(policy)(decode(data))
    except (OSError, DecodeError) as error:
        raise not_as_indexed(path, str(error)) from None
    if found != id:
        raise not_as_indexed(path)
    return pixels


def not_as_indexed(path: str, error: str = "") -> UserError:
    """Return the error for an image file that is not the one that was indexed; `error` says why it cannot be read."""
    what = f"cannot be read: {error}" if error else "changed after it was indexed"
    return UserError(f"The image {what}", where=path, do="run the ingestion again")
