"""The pixel store: the images of one split of a task, decoded once, uint8 and memory-mapped."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from fakemedia.artefacts.addresses import READS, is_remote
from fakemedia.artefacts.manifest import FOLDER_MANIFEST, changed_since, checked, read_manifest, touch
from fakemedia.core.errors import UserError
from fakemedia.runtime.threads import cores, thread_map
from fakemedia.sources.source import Source
from fakemedia.store.crops import centre, cropped
from fakemedia.store.decode import DecodeError, checksum, content_id, decode
from fakemedia.store.images import FORMAT, IMAGES, PIXELS, read_facts
from fakemedia.store.policies import policy_function

INGEST_ADVICE = "run the ingestion again: kedro run --tags ingestion"
REBUILD_ADVICE = "delete the folder and run the ingestion again"


@dataclass(frozen=True)
class Files:
    """The image files of a streaming store, found by their content: `paths` inside `source`, by content id."""

    source: Source
    paths: Mapping[str, str]

    def decoded(self, id: str, policy: str) -> NDArray[np.uint8]:
        """Return a picture under `policy`, uint8 (H, W, 3); UserError if its file is not the one that was indexed."""
        if id not in self.paths:
            raise UserError(f"The data no longer has an image of the content {id}", do=INGEST_ADVICE)
        path = self.paths[id]
        try:
            data = self.source.reader(path)()
            content, pixels = content_id(data), policy_function(policy)(decode(data))
        except (OSError, DecodeError) as error:
            raise not_as_indexed(path, str(error)) from None
        if content != id:
            raise not_as_indexed(path)
        return pixels


class PixelStore:
    """The decoded images of one split; files are opened on first use, so copies and pickles are cheap.

    A streaming store has no pixel file and decodes the image files at every access. It stores content ids only, so
    `files` must give their paths. Pictures are compared with their checksums when they are first read.

    Attributes: `folder`, `task`, `split`, `policy`, `fingerprint` (content and policy), `streams`,
    `decoder` (versions of the libraries that decoded the pictures; see `store.decoders`), `faces` (the detector by
    which each was cropped to its face, or empty).
    """

    faces: str = ""

    def __init__(self, folder: str | Path, files: Files | None = None) -> None:
        """Read the facts of the store in `folder`; UserError if there is no complete store of this version."""
        self.folder = Path(folder).absolute()
        self._files = files
        manifest = read_manifest(self.folder, folder=True)
        if manifest is None and not self.folder.exists():
            raise UserError("The pictures are not ingested", where=self.folder, expected="a pixel store",
                            do="kedro run --pipelines SEQUENCE --tags ingestion")
        try:
            if manifest is None:
                raise ValueError("no manifest")
            self._facts = read_facts(self.folder)
            checked((self.folder / IMAGES).read_bytes(), manifest, IMAGES, self.folder / IMAGES)
        except (OSError, ValueError, KeyError, TypeError) as error:
            reason = error.strerror if isinstance(error, OSError) else str(error).partition("\n")[0].rstrip(".")
            raise UserError(f"No pixel store can be opened ({reason})", where=self.folder, do=REBUILD_ADVICE,
                            expected=f"a complete pixel store of format {FORMAT}") from None
        self.task, self.split, self.policy = self._facts.task, self._facts.split, self._facts.policy
        self.streams, self.decoder, self.faces = self._facts.streams, self._facts.decoder, self._facts.faces
        self.fingerprint = manifest.content

    @classmethod
    def open(cls, folder: str | Path, files: Files | None = None) -> PixelStore:
        """Return the store in `folder`; UserError if there is no complete store of this version."""
        return cls(folder, files)

    def __reduce__(self) -> tuple[type[PixelStore], tuple[Path, Files | None]]:
        return PixelStore, (self.folder, self._files)

    def __len__(self) -> int:
        return self._facts.images

    def __repr__(self) -> str:
        return f"PixelStore({self.task!r}, {self.split!r}, {len(self)} images)"

    @property
    def readers(self) -> int:
        """Number of threads that read ahead: 0 if pixels are stored; more than cores if files are at an address."""
        if not self.streams or self._files is None:
            return 0
        first_path = next(iter(self._files.paths.values()), "")
        return max(cores(), READS if first_path and is_remote(self._files.source.reader(first_path)) else 0)

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
            raise UserError(f"The pixel store was removed after it was opened ({error.strerror})", where=self.folder,
                            do=REBUILD_ADVICE) from None

    def __getitem__(self, i: int) -> NDArray[np.uint8]:
        """Return image `i`, uint8 (H, W, 3): a read-only view of the file, or freshly decoded."""
        if self.streams:
            if self._files is None:
                raise UserError("The pixel store holds no pixels and was opened without its image files",
                                where=self.folder,
                                do="open it with its files: PixelStore.open(folder, Files(source, paths))")
            return self._files.decoded(self.ids[i], self.policy)
        self._check(np.array([i]))
        return self._picture(i)

    def _picture(self, i: int) -> NDArray[np.uint8]:
        height, width, start = int(self.heights[i]), int(self.widths[i]), int(self._offsets[i])
        return self._pixels[start:start + 3 * height * width].reshape(height, width, 3)

    @cached_property
    def _unchecked(self) -> NDArray[np.bool_]:
        """Which pictures have not been compared with their checksums yet, (N,)."""
        return np.ones(len(self), bool)

    def _check(self, rows: NDArray[np.integer]) -> None:
        """Compare pictures that were not read before with their checksums.

        UserError if one is damaged; the store then loses its manifest, so that it counts as missing from then on.
        """
        new = rows[self._unchecked[rows]]
        for i in set(new.tolist()):
            if checksum(self._picture(i).data) != self._images["checksum"].iloc[i]:
                with suppress(OSError):
                    (self.folder / FOLDER_MANIFEST).unlink()
                raise UserError(f"Image {i} (id {self.ids[i]}) of the pixel store is damaged", where=self.folder,
                                do=INGEST_ADVICE)
            self._unchecked[i] = False

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
        if any(((starts < 0) | (starts > bound)).any() for starts, bound in zip((tops, lefts), bounds, strict=True)):
            raise IndexError(f"a crop of {size} pixels is outside its image")
        if not self.streams:
            self._check(rows)
        if self._uniform and size <= min(self.heights[0], self.widths[0]):
            slots = self._offsets[rows] // (3 * self.heights[0] * self.widths[0])
            return self._windows(size)[slots, tops, lefts].reshape(len(rows), size, size, 3)
        out = np.empty((len(rows), size, size, 3), np.uint8)
        for k, (i, top, left) in enumerate(zip(rows.tolist(), tops.tolist(), lefts.tolist(), strict=True)):
            out[k] = cropped(self[i] if self.streams else self._picture(i), top, left, size)
        return out

    @cached_property
    def _uniform(self) -> bool:
        """Whether all pictures of the pixel file have one size."""
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

    def is_intact(self) -> bool:
        """Return whether the pixels are those that were written; they are read only if the file changed since."""
        manifest = self.folder / FOLDER_MANIFEST
        try:
            if self.streams or not changed_since(manifest, [self.folder / PIXELS]):
                return True
            list(thread_map(self._check_image, range(len(self)), workers=cores(),
                            title=f"verify {self.task} {self.split}", total=len(self), progress=True))
        except (OSError, UserError):
            return False
        touch(manifest)
        return True

    def _check_image(self, i: int) -> None:
        self._check(np.array([i]))

    def verify(self) -> None:
        """Read the complete store once; UserError if a picture was changed, or its file differs from the index."""
        for i in range(len(self)):
            _ = self[i]


def not_as_indexed(path: str, error: str = "") -> UserError:
    """Return the error for an image file that is not the indexed one; `error` is the reason if it cannot be read."""
    problem = f"cannot be read: {error}" if error else "changed after it was indexed"
    return UserError(f"The image {problem}", where=path, do=INGEST_ADVICE)
