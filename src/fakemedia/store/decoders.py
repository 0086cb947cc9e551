"""The libraries that decode pictures: their versions, which decide on the pixels of lossy formats."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version

from PIL import features

from fakemedia.store.decode import CODECS

LIBRARIES = {"jpeg": "libjpeg_turbo", "jpeg2000": "jpg_2000", "webp": "webp", "avif": "avif"}
"""Pillow's name of the library that decodes a lossy format."""
PACKAGES = {"heif": "pillow-heif", "jxl": "pillow-jxl-plugin"}
VIDEO = "av"
"""The package that decodes videos: its wheels hold FFmpeg."""
_EXACT = {name.lower() for name in CODECS} - set(LIBRARIES)


def decoder_versions(codecs: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of the libraries that decode `codecs`; unknown codecs are those of videos.

    Formats without loss (PNG, BMP, ...) have none: every library gives the same pixels.
    """
    versions = {}
    for codec in sorted(set(codecs) - _EXACT - {""}):
        if codec in LIBRARIES:
            versions[LIBRARIES[codec]] = str(features.version(LIBRARIES[codec]))
        else:
            package = PACKAGES.get(codec, VIDEO)
            versions[package] = _version(package)
    return versions


def merged(versions: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Return the versions of all; several of one library as a list with commas."""
    by_library: dict[str, set[str]] = {}
    for decoder in versions:
        for library, text in decoder.items():
            by_library.setdefault(library, set()).update(text.split(", "))
    return {library: ", ".join(sorted(by_library[library])) for library in sorted(by_library)}


def differences(first: Mapping[str, str], other: Mapping[str, str]) -> list[str]:
    """Return the libraries of both whose versions differ, as text: `webp 1.6.0 instead of 1.5.0` for `other`."""
    return [f"{library} {other[library]} instead of {text}" for library, text in sorted(first.items())
            if other.get(library, text) != text]


def installed(libraries: Iterable[str]) -> dict[str, str]:
    """Return the installed versions of libraries that `decoder_versions` names."""
    return {name: str(features.version(name)) if name in LIBRARIES.values() else _version(name) for name in libraries}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"
