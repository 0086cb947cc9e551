"""Networks whose weights are files of installed packages; the packages themselves are never imported."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from fakemedia.core.errors import UserError


def installed_file(package: str, name: str) -> Path:
    """Return the file `name` of the installed `package`; UserError if the package or the file is missing."""
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if file.name == name and path.is_file():
            return path
    raise UserError("A package that holds a network of the forge is not installed", where=name, expected=package,
                    do=f"pip install {package}")


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch compute in one thread, so that pictures do not depend on the number of cores."""
    import torch

    previous_threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            yield
    finally:
        torch.set_num_threads(previous_threads)
