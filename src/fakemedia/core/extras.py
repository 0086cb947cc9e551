"""How an optional part of the package is installed."""

from __future__ import annotations

from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]


def install(extra: str, package: Path = PACKAGE) -> str:
    """Return the command that installs an extra: of the clone that `package` is in, or from the package index."""
    clone = package.parent.name == "src" and (package.parents[1] / "pyproject.toml").is_file()
    return f"pip install -e '.[{extra}]'" if clone else f"pip install 'fakemedia[{extra}]'"
