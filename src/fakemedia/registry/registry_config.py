"""Where the registry of detectors is."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class RegistryConfig:
    """Where the registry of detectors is."""

    uri: str = ""
    """Address of an MLflow server, such as `http://host:5000`; empty: an SQLite database in `folder`."""
    folder: str = "data/09_registry"
    """Folder of the database, the lock and the files of versions, relative to the project."""
