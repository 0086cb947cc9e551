"""Which pictures and videos are scored, and whether the results can be written."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, pairwise
from pathlib import Path

from fakemedia.artefacts.files import check_writable
from fakemedia.core.errors import UserError
from fakemedia.sources.pictures import PICTURES, Media, is_ignored
from fakemedia.sources.video import VIDEOS
from fakemedia.sources.walking import head_of


@dataclass(kw_only=True)
class MediaFiles:
    """The pictures and videos below some paths, and what else is there."""

    files: list[Path] = field(default_factory=list)
    """Picture files, each once, in the order of the paths; within a folder sorted by name."""
    clips: list[Path] = field(default_factory=list)
    """Video files, likewise."""
    others: Counter[str] = field(default_factory=Counter)
    """Number of files in the folders that are neither, by the suffix of their names."""
    unreadable: dict[Path, str] = field(default_factory=dict)
    """Folders that could not be listed, with the reason."""


def find_media(paths: Iterable[str], *, without: Path | None = None) -> MediaFiles:
    """Return the pictures and videos at `paths`, except those below the folder `without`; see `iterate_media`.

    UserError if a path does not exist, or neither is found.
    """
    paths, media = list(paths), MediaFiles()
    for path, is_clip in iterate_media(paths, media):
        if without is None or without.absolute() not in Path(os.path.abspath(path)).parents:
            (media.clips if is_clip else media.files).append(path)
    if not media.files and not media.clips:
        raise no_media_error(paths, media)
    return media


def iterate_media(patterns: Iterable[str], others: MediaFiles) -> Iterator[tuple[Path, bool]]:
    """Yield the pictures and videos at the paths `patterns`, each once, and whether it is a video.

    Other files are counted in `others`, and folders that cannot be listed are named there.

    A file is accepted under any name, and is a picture unless it has the suffix or the first bytes of a video; of a
    folder, and of those below it, all files with the suffix or the first bytes of either, except hidden ones; anything
    else is a glob (`**` for any depth). Memory grows with the number of files only where paths hold one another.
    UserError if a path does not exist.
    """
    matches = [match for text in patterns for match in _matches(text)]
    media = chain.from_iterable(_below(match, others) if os.path.isdir(match) else [_medium(match)]
                                for match in matches)
    if _are_disjoint(matches):
        yield from media
        return
    seen: set[str] = set()
    for path, is_clip in media:
        absolute = os.path.abspath(path)
        if absolute not in seen:
            seen.add(absolute)
            yield path, is_clip


def no_media_error(patterns: Iterable[str], media: MediaFiles) -> UserError:
    """Return the error for paths without pictures and videos."""
    others = ", ".join(f"{count} {suffix}" for suffix, count in media.others.most_common(5))
    return UserError("There is no picture or video", where=", ".join(map(shown, patterns)),
                     expected=f"files that end in {', '.join((*PICTURES.suffixes, *VIDEOS.suffixes))}; found "
                              f"{others or 'no file'}")


def _matches(text: str) -> list[str]:
    matches = [text] if os.path.lexists(text) else sorted(glob.glob(text, recursive=True))
    if not matches:
        raise UserError("There is no such file or folder", where=shown(text),
                        expected="files, folders, or globs such as 'photos/**/*.jpg'")
    return matches


def _are_disjoint(paths: list[str]) -> bool:
    """Return whether none of `paths` equals another one, or is below it."""
    absolute = sorted(Path(os.path.abspath(path)).parts for path in paths)
    return all(after[:len(before)] != before for before, after in pairwise(absolute))


def _medium(path: str) -> tuple[Path, bool]:
    return Path(path), _is(VIDEOS, Path(path))


def _is(media: Media, path: Path) -> bool:
    return media.includes(path.name, partial(head_of, path))


def check_file(path: Path) -> None:
    """Raise UserError unless a file can be written as `path`; its folder is created."""
    check_writable(path.parent)
    if path.is_dir():
        raise UserError("Nothing can be written here: it is a folder", where=path, expected="the name of a file")


def _below(folder: str, media: MediaFiles) -> Iterator[tuple[Path, bool]]:
    """Yield the pictures and videos below `folder`, and whether each is a video; the rest is counted in `media`."""
    def refused(error: OSError) -> None:
        media.unreadable[Path(error.filename)] = str(error.strerror)

    visited = set()
    for current, folders, names in os.walk(folder, followlinks=True, onerror=refused):
        real = os.path.realpath(current)
        if real in visited:  # A link to a parent folder.
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(name for name in names if not is_ignored(name)):
            path = Path(current, name)
            if _is(PICTURES, path):
                yield path, False
            elif _is(VIDEOS, path):
                yield path, True
            else:
                media.others[Path(name).suffix or name] += 1


def shown(path: str | Path) -> str:
    """Return a path as one printable line, for any bytes."""
    text = os.fsencode(path).decode(errors="backslashreplace")
    return "".join(character if character.isprintable() else character.encode("unicode_escape").decode()
                   for character in text)
