"""Bounds and settings of the HTTP service."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ServingConfig:
    """Bounds and settings of the HTTP service."""

    max_bytes: int = 33554432
    """Largest request, bytes; a larger one is refused with status 413."""
    max_pictures: int = 32
    """Most pictures in a request; more are refused with status 413."""
    max_pixels: int = 50000000
    """Largest picture, pixels; a larger one is refused with status 413 before it is decoded."""
    max_requests: int = 32
    """Most requests in progress at once; further ones are refused with status 429."""
    max_connections: int = 256
    """Most connections at once, idle ones included; a further one is refused with status 503."""
    seconds: float = 30.0
    """Time to receive a request (status 408), to score its pictures (status 503), and to wait for a request on an open
    connection."""
    crops: int | None = None
    """Most crops of a picture, as in `kedro score`; None: as many as the detector is best on in validation."""
    batch: int = 8
    """Most crops that the network gets at once, from all requests together. A small batch fits into a CPU's caches; use
    64 on a GPU."""
    wait_ms: float = 2.0
    """How long an incomplete batch waits for more crops, milliseconds."""
    poll_seconds: float = 0.5
    """Seconds between two checks for a change of a local registry; it is read only after a change."""
    poll_server_seconds: float = 5.0
    """Seconds between two requests to a registry at an address for the version that the alias names."""
    drain_seconds: float = 15.0
    """How long requests may take to end after SIGTERM, seconds."""
    log: str = "data/09_registry/scores.db"
    """SQLite database of the scored pictures, relative to the project; empty: nothing is logged."""
    log_rows: int = 1000000
    """Most pictures in the log; the oldest are removed."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name not in ("log", "wait_ms") and value is not None and value <= 0:
                raise ValueError(f"{name} above 0")
        if self.wait_ms < 0:
            raise ValueError("wait_ms of at least 0")
