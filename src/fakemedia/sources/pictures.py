"""Which files are pictures: by the usual endings of their names, or by their first bytes."""

from __future__ import annotations

import mimetypes
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from fakemedia.sources.source import Note

SUFFIXES = (".avif", ".bmp", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".jxl", ".pbm",
            ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp")
"""Files with these endings are accepted as pictures without opening them."""
HEAD = 32
"""First bytes of picture files."""
IGNORED = ("thumbs.db", "desktop.ini")
"""Files that operating systems add."""
_SIGNATURES = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a", b"II*\0", b"MM\0*", b"\xff\x0a",
               b"\0\0\0\x0cJXL \r\n", b"\0\0\0\x0cjP  \r\n", b"\xff\x4f\xff\x51")
_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
"""Kinds of ISO media files that are pictures."""


def starts_like_picture(head: bytes) -> bool:
    """Return whether a file that starts with `head` is a picture: BMP, GIF, JPEG, JPEG 2000, JPEG XL, PNG, PNM, TIFF,
    WebP, AVIF or HEIC."""
    return (head.startswith(_SIGNATURES)
            or (head[:2] == b"BM" and head[6:10] == bytes(4))
            or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")
            or (head[:1] == b"P" and head[1:2] in b"123456" and head[2:3].isspace())
            or (head[4:8] == b"ftyp" and head[8:12] in _BRANDS))


@dataclass(frozen=True)
class Media:
    """A kind of files that a source reads."""

    name: str
    """`images` or `videos`."""
    suffixes: tuple[str, ...]
    """Files with these endings are accepted without opening them."""
    starts: Callable[[bytes], bool]
    """Whether a file that starts with these bytes is of this kind."""

    def is_named(self, name: str) -> bool:
        """Return whether the name of a file has one of the suffixes."""
        return name.lower().endswith(self.suffixes)

    def includes(self, name: str, head: Callable[[], bytes]) -> bool:
        """Return whether the file `name` is of this kind; `head` returns its first HEAD bytes, or raises OSError."""
        if self.is_named(name):
            return True
        try:
            return self.starts(head())
        except OSError:
            return False


PICTURES = Media("images", SUFFIXES, starts_like_picture)


def is_ignored(name: str) -> bool:
    """Return whether a file is hidden, or one that operating systems add."""
    return name.startswith(".") or name.lower() in IGNORED


def skipped(names: Mapping[str, Counter[str]], media: Media = PICTURES) -> list[Note]:
    """Return notes about files that are not `media`: `names` has, for each folder, how many have each ending.

    They warn, unless all of them are text.
    """
    notes = []
    for folder, suffix_counts in sorted(names.items()):
        kinds = ", ".join(f"{count} {suffix or 'without ending'}" for suffix, count in sorted(suffix_counts.items()))
        notes.append(Note(kind="skipped", path=folder, warns=not all(map(_is_text, suffix_counts)),
                          detail=f"files that are no {media.name} that can be read: {kinds}"))
    return notes


def unplaced(counts: Mapping[str, int], media: Media = PICTURES) -> list[Note]:
    """Return notes about pictures or videos that belong to no class, split or task: how many in each folder."""
    return [Note(kind="unplaced", path=folder, warns=True,
                 detail=f"{media.name} that belong to no class of a task, and are not read: {count}")
            for folder, count in sorted(counts.items())]


def respelled(names: Mapping[str, str]) -> list[Note]:
    """Return a note about each folder that is read under another name."""
    return [Note(kind="spelling", path=folder, warns=False, detail=f"read as {meaning}")
            for folder, meaning in sorted(names.items()) if PurePosixPath(folder).name != meaning]


def _is_text(suffix: str) -> bool:
    kind = mimetypes.guess_type(f"a{suffix}")[0] or ""
    return kind.startswith("text/") or kind in ("application/json", "application/xml", "application/x-yaml")
