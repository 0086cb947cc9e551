"""Where the registry of detectors is, and where finished runs are logged."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RegistryConfig:
    """Where the registry of detectors is."""

    uri: str = ""
    """Address of an MLflow server, such as `http://host:5000`; empty: an SQLite database in `folder`."""
    folder: str = "data/09_registry"
    """Folder of the database, the lock and the files of versions, relative to the project."""


@dataclass(frozen=True, kw_only=True)
class TrackingConfig:
    """Whether finished runs are also logged to MLflow."""

    enabled: bool = False
    """Whether they are."""
    uri: str = ""
    """Address of an MLflow server, or a database such as `sqlite:///runs.db`; empty: that of the registry."""
