"""Pictures that are taken from those of a source: faces, and tiles of sample sheets."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from PIL import Image

from fakemedia.ingest import sheets
from fakemedia.ingest.collection import CollectionConfig
from fakemedia.ingest.cut_sheets import CutSheets
from fakemedia.sources.excerpts import excerpt
from fakemedia.sources.source import Item, Note, Source, listed
from fakemedia.store import faces
from fakemedia.store.decode import DecodeError, Picture, read_picture


def derived(source: Source, config: CollectionConfig, *, cache: Path) -> Source:
    """Return the source of the pictures that the settings ask for; `source` itself if they ask for no others.

    `cache` is a folder for the grids of sheets. UserError if the package of the detector of faces is not installed.
    """
    if config.cut_sheets:
        source = CutSheets(source, cache)
    if config.detector is None:
        return source
    faces.check_detector(config.detector)
    return Faces(source, config.detector)


def derivation(config: CollectionConfig) -> dict[str, Any]:
    """Return the settings, with the versions of the code, by which a collection's pictures are taken from files."""
    return {**({"sheets": sheets.VERSION} if config.cut_sheets else {}),
            **({} if config.detector is None else {"faces": [config.detector, faces.VERSION]})}


@dataclass(frozen=True)
class Faces:
    """The largest face in each picture of `source`; one without a face is unreadable, for that reason."""

    source: Source
    detector: faces.Detector

    @property
    def unread(self) -> dict[str, str]:
        """Archives of kinds that are not read, by path: what they are."""
        return getattr(self.source, "unread", {})

    def tasks(self) -> list[str]:
        """Return the names of the tasks, as the source does."""
        return self.source.tasks()

    def items(self, task: str) -> list[Item]:
        """Return the images of `task`, as the source does."""
        return self.source.items(task)

    def listing(self, task: str) -> tuple[list[Item], list[Note]]:
        """Return the images of `task` and the notes of the source."""
        return listed(self.source, task)

    def reader(self, path: str) -> Callable[[], bytes]:
        """Return a function that reads the face as PNG; OSError, too, if there is none or the picture is damaged."""
        return partial(_face, self.source.reader(path), self.detector)


def _face(read: Callable[[], bytes], detector: faces.Detector) -> bytes:
    picture = _decoded(read)
    try:
        face = faces.crop_face(picture.pixels, detector)
    except DecodeError as error:
        raise OSError(str(error)) from None
    return excerpt(Image.fromarray(face), codec=picture.codec, mode=picture.mode, quality=picture.quality)


def _decoded(read: Callable[[], bytes]) -> Picture:
    try:
        return read_picture(read())
    except DecodeError as error:
        raise OSError(str(error)) from None
