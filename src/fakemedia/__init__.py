"""Continual deepfake detection: learn a sequence of fake-media tasks, and see what is kept and what is forgotten.

`load` opens a detector, `run` runs a sequence, `results` reads what a sequence has left. Importing the package is
cheap: torch and the rest are imported when they are needed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fakemedia.api import load, results, run

__all__ = ["load", "results", "run"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if name in __all__:
        from fakemedia.context.kedro_logging import import_kedro

        import_kedro()
        from fakemedia import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
