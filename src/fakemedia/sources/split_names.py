"""How the folders of splits and classes may be spelled, and how names are stored and compared."""

from __future__ import annotations

import os
import re
import unicodedata
from pathlib import Path

from fakemedia.core.types import CLASS_FOLDERS, FAKE, REAL

SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val",
               "test": "test", "testing": "test"}
CLASS_NAMES = {CLASS_FOLDERS[REAL]: REAL, "real": REAL, CLASS_FOLDERS[FAKE]: FAKE, "fake": FAKE}
_ESCAPED = re.compile(r"\\x([89a-f][0-9a-f])")


def split_named(folder: str) -> str | None:
    """Return the split that a folder is for, in any usual spelling and case; None if it is for no split.

    >>> split_named("Validation")
    'val'
    """
    return SPLIT_NAMES.get(folder.lower())


def label_named(folder: str) -> int | None:
    """Return the label of a class folder, in any usual spelling and case; None for another folder.

    >>> label_named("1_Fake")
    1
    """
    return CLASS_NAMES.get(folder.lower())


def storable(path: str) -> str:
    r"""Return `path` as text that can be stored: bytes that are no UTF-8 are written as `\xe9`."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def canonical(path: str) -> str:
    """Return `path` so that two spellings of the same letters (NFC, NFD) are equal."""
    return unicodedata.normalize("NFC", storable(path))


def on_disk(root: Path, path: str) -> str:
    """Return the file under `root` that `path` means: as it is; as `storable` writes it; or in the other spelling (NFC,
    NFD). The path as it is, if none of them exists."""
    raw = _ESCAPED.sub(lambda byte: bytes.fromhex(byte[1]).decode("utf-8", "surrogateescape"), path)
    spellings = (path, raw, unicodedata.normalize("NFC", path), unicodedata.normalize("NFD", path))
    candidates = [os.path.join(root, name) for name in spellings]
    return next((candidate for candidate in candidates if os.path.lexists(candidate)), candidates[0])
