"""The one module that imports MLflow: runs, their files, versions of the detector, and aliases.

A registry is a database (SQLite beside the files by default) or an MLflow server. Every error of it is a UserError
within seconds. A local registry keeps the files of run R in `files/R/`, found by the run's id alone, so that a project
may be moved or copied.
"""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from fakemedia.artefacts.files import check_writable, moved, scratch_folder, writing
from fakemedia.core.errors import UserError
from fakemedia.core.extras import install
from fakemedia.registry.database import (
    LOCAL,
    check_address,
    check_reachable,
    database_error,
    file_stamp,
    local_path,
    shown,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

MODEL = "detector"
"""The name of the registered model whose versions are the detectors."""
DATABASE, FILES, CACHE, LOCK = "registry.db", "files", "cache", ".lock"
BATCH = 100
"""Metrics or parameters of one request, MLflow's limit for parameters."""
FINISHED, FAILED, RUNNING = "FINISHED", "FAILED", "RUNNING"
"""Statuses of a run."""
LOCK_TIMEOUT = 1.0
"""Seconds to wait for another command's change to end."""
ENVIRONMENT = {"MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
               "MLFLOW_HTTP_REQUEST_TIMEOUT": "30", "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
               "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true"}
"""Settings of MLflow, unless the user gives others."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """A run of MLflow as it was recorded."""

    run: str
    """Its id."""
    name: str
    started: datetime
    """In UTC."""
    status: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A version of the registered model as MLflow stores it; see `registry.versions.Version`."""

    number: int
    run: str
    """The run whose files it consists of."""
    created: datetime
    """In UTC."""
    tags: Mapping[str, str] = field(default_factory=dict)


def open_registry(uri: str, folder: Path) -> Registry:
    """Return the registry at `uri`; an empty `uri` is the database in `folder`, which is created if it does not exist.

    `folder` also holds the lock, the files of a local registry and copies of the files of a server's. UserError,
    within seconds, for an invalid address, a server that does not answer, a database that is locked or damaged, a
    folder that cannot be written, and if MLflow is not installed.
    """
    check_writable(folder)
    uri = uri or f"{LOCAL}{(folder / DATABASE).resolve()}"
    check_address(uri)
    check_reachable(uri, thorough=True)
    registry = Registry(uri, folder.resolve())
    path = local_path(uri)
    if path is None or path.exists():
        registry.connect()
    else:
        check_writable(path.parent)
        with registry.changing():
            registry.connect()
    return registry


class Registry:
    """A registry that is open; all methods raise UserError if it cannot be read or written."""

    def __init__(self, uri: str, folder: Path) -> None:
        self.uri = uri
        self.folder = folder
        self._client: MlflowClient | None = None

    @property
    def where(self) -> str:
        """The database's file or the server's address, for messages."""
        return str(local_path(self.uri) or shown(self.uri))

    @property
    def is_copied(self) -> bool:
        """Whether `files` returns copies of the files on a server."""
        return local_path(self.uri) is None

    def connect(self) -> None:
        """Create the client, and the tables of a new database."""
        for name, value in ENVIRONMENT.items():
            os.environ.setdefault(name, value)
        try:
            from mlflow import MlflowClient
        except ImportError as error:
            raise UserError(f"The registry needs packages that are not installed ({error})",
                            where="registry", do=install("production")) from error
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        with self._connected():
            self._client = MlflowClient(tracking_uri=self.uri, registry_uri=self.uri)
            if not self._client.search_registered_models(f"name = '{MODEL}'"):
                self._client.create_registered_model(MODEL)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Hold the registry's lock, for a change of several steps; UserError if another command holds it."""
        lock = FileLock(self.folder / LOCK, timeout=LOCK_TIMEOUT, is_singleton=True)
        try:
            lock.acquire()
        except Timeout:
            raise UserError("Another command is changing this registry", where=self.folder, expected="one at a time",
                            do="wait until it ends, look at `kedro versions`, then repeat the command") from None
        try:
            yield
        finally:
            lock.release()

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Yield the client; its errors become UserErrors."""
        from mlflow.exceptions import MlflowException

        if not self.is_copied:
            check_reachable(self.uri)
        try:
            yield self._client
        except (MlflowException, OSError) as error:
            raise database_error(str(error), self.where) from error

    def record(self, experiment: str, name: str, *, tags: Mapping[str, str] | None = None,
               params: Mapping[str, Any] | None = None, metrics: Mapping[str, float] | None = None,
               steps: Sequence[tuple[str, int, float]] = (), status: str = FINISHED) -> str:
        """Record a run in `experiment` and return its id; with the status RUNNING it is completed by `finish`.

        `steps` are metrics at a step: name, step, value; those that are not finite are left out.
        """
        from mlflow.entities import Metric, Param

        with self._connected() as client:
            run = client.create_run(self._experiment(experiment), run_name=name, tags=dict(tags or {})).info
            values = [*((key, 0, value) for key, value in (metrics or {}).items()), *steps]
            run_metrics = [Metric(key, value, run.start_time, step) for key, step, value in values if isfinite(value)]
            run_params = [Param(key, str(value)) for key, value in (params or {}).items()]
            for start in range(0, max(len(run_metrics), len(run_params)), BATCH):
                batch = slice(start, start + BATCH)
                client.log_batch(run.run_id, metrics=run_metrics[batch], params=run_params[batch])
            if status != RUNNING:
                client.set_terminated(run.run_id, status)
            return run.run_id

    def finish(self, run: str, status: str = FINISHED) -> None:
        """Set the final status of a run."""
        with self._connected() as client:
            client.set_terminated(run, status)

    def records(self, experiment: str) -> list[Record]:
        """Return the runs of `experiment`, the oldest first; none if there is no such experiment."""
        with self._connected() as client:
            experiment_info = client.get_experiment_by_name(experiment)
            if experiment_info is None:
                return []
            runs, token = [], None
            while token != "":
                page = client.search_runs([experiment_info.experiment_id], order_by=["attributes.start_time ASC"],
                                          page_token=token)
                runs += page
                token = page.token or ""
        return [_record(run) for run in runs]

    def _experiment(self, name: str) -> str:
        client = self._client
        assert client is not None
        experiment = client.get_experiment_by_name(name)
        if experiment is not None:
            return experiment.experiment_id
        return client.create_experiment(
            name, artifact_location=None if self.is_copied else (self.folder / FILES).as_uri())

    def keep_files(self, run: str, source: Path) -> None:
        """Store a copy of the files in the folder `source`, and of those below it, with a run."""
        if self.is_copied:
            with self._connected() as client:
                client.log_artifacts(run, str(source))
            return
        folder = self._local_files(run)
        with writing(folder), scratch_folder(folder) as scratch:
            shutil.copytree(source, scratch, dirs_exist_ok=True)
            moved(scratch, folder)

    def files(self, run: str) -> Path:
        """Return the folder with the files of a run, to be read only; those of a server are fetched once."""
        if not self.is_copied:
            return self._local_files(run)
        folder = self.folder / CACHE / run
        if not folder.is_dir():
            with writing(folder), scratch_folder(folder) as scratch, self._connected() as client:
                client.download_artifacts(run, "", str(scratch))
                moved(scratch, folder)
        return folder

    def forget_copy(self, run: str) -> None:
        """Remove the local copy of the files of a run on a server, so that they are fetched again."""
        shutil.rmtree(self.folder / CACHE / run, ignore_errors=True)

    def _local_files(self, run: str) -> Path:
        return self.folder / FILES / run / "artifacts"  # As MLflow's own pages expect it.

    def add_version(self, run: str, tags: Mapping[str, str]) -> int:
        """Make the files of a run the next version and return its number, which counts from 1."""
        with self._connected() as client:
            uri = client.get_run(run).info.artifact_uri
            return int(client.create_model_version(MODEL, source=uri, run_id=run, tags=dict(tags)).version)

    def entries(self) -> list[Entry]:
        """Return all versions, the first one first."""
        with self._connected() as client:
            versions, token = [], None
            while token != "":
                page = client.search_model_versions(f"name = '{MODEL}'", page_token=token)
                versions += page
                token = page.token or ""
        return sorted((Entry(number=int(version.version), run=version.run_id, created=_time(version.creation_timestamp),
                             tags=dict(version.tags)) for version in versions), key=lambda entry: entry.number)

    def aliases(self) -> dict[str, int]:
        """Return the number of the version that each alias names."""
        with self._connected() as client:
            return {alias: int(number) for alias, number in client.get_registered_model(MODEL).aliases.items()}

    def stamp(self) -> tuple[object, ...] | None:
        """Return a value that stays equal until the registry changes; None for a server, which has no such value.

        A local registry costs the reading of one file header; a server costs nothing.
        """
        path = local_path(self.uri)
        return None if path is None else file_stamp(path)

    def set_alias(self, alias: str, number: int | None) -> None:
        """Let `alias` name the version `number`, or none, in one step."""
        with self._connected() as client:
            if number is None:
                client.delete_registered_model_alias(MODEL, alias)
            else:
                client.set_registered_model_alias(MODEL, alias, str(number))


def _record(run: Run) -> Record:
    return Record(run=run.info.run_id, name=run.info.run_name or "", started=_time(run.info.start_time),
                  status=run.info.status, tags=dict(run.data.tags), params=dict(run.data.params),
                  metrics=dict(run.data.metrics))


def _time(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
