"""Files that are whole or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from fakemedia.core.errors import UserError


def check_writable(folder: Path) -> None:
    """Raise UserError if nothing can be written to `folder`, which need not be there yet."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise UserError(f"This folder cannot be written to ({error})", where=folder, expected="a writable folder",
                        do="give yourself the right to write there, or free its name") from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path` to write to; what was written becomes `path` at the end.

    UserError if the disk is full or the place cannot be written.
    """
    from fakemedia.data.files import sync

    scratch = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield scratch
        sync(scratch)
        os.replace(scratch, path)
    except OSError as error:
        raise UserError(f"Writing failed ({error})", where=path, expected="a writable folder with free space",
                        do="make room, then run again: what was saved before is untouched") from error
    finally:
        scratch.unlink(missing_ok=True)
