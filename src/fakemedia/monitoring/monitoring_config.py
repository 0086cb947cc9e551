"""Settings of monitoring."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True, kw_only=True)
class MonitoringConfig:
    """How the log of scored pictures is monitored."""

    window: int = 200
    """Pictures of a window."""
    reference: int = 5
    """Number of windows, the first of each source, that later ones are compared with."""
    since: str = ""
    """Pictures scored before this time are ignored: ISO date, or date and time, in UTC if it has no zone. The reference
    begins there. Empty: the whole log."""
    sources: int = 20
    """Number of sources, those with most pictures, that are monitored separately, beside all together."""

    def __post_init__(self) -> None:
        if self.window < 20 or self.reference < 2 or self.sources < 0:
            raise ValueError("a window of at least 20 pictures, a reference of at least 2 windows, and no number of "
                             "sources below 0")
        try:
            self.begin  # noqa: B018
        except ValueError:
            raise ValueError("since as an ISO date, such as 2026-11-25 or 2026-11-25T18:00") from None

    @property
    def begin(self) -> float:
        """`since` in seconds since 1970; 0 if it is empty."""
        if not self.since:
            return 0.0
        time = datetime.fromisoformat(self.since)
        return (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
