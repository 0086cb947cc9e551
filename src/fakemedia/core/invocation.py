"""How the user started this program."""

from __future__ import annotations

import sys
from pathlib import Path

KEDRO, OWN = "kedro", "fakemedia"


def program() -> str:
    """Return the program whose commands the user types: OWN, if it was started by name or `python -m`, else KEDRO."""
    executable = Path(sys.argv[0])
    name = executable.parent.name if executable.name == "__main__.py" else executable.stem
    return OWN if name == OWN else KEDRO
