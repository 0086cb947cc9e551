"""What an update learns."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class UpdateConfig:
    """The new task that the pipeline `update` learns; `kedro update` and `kedro watch` name it themselves."""

    task: str = ""
    """Name of the new task."""
    data: str = ""
    """Folder of its pictures; a relative one counts from the project."""
    label: str | None = None
    """Label of the champion's sequence whose method learns it; None: the champion's own."""
