"""Whether the registry's database or server can be used: found out in seconds, before MLflow retries for minutes."""

from __future__ import annotations

import http.client
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from urllib.parse import urlsplit

from fakemedia.core.errors import MachineError, UserError

LOCAL = "sqlite:///"
"""How the address of a local database begins; its absolute path follows."""
SECONDS = 4.0
"""Seconds to wait for a locked database or a server that does not answer."""
SERVERS = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}


def shown(uri: str) -> str:
    """Return an address without user and password, for messages."""
    parts = urlsplit(uri)
    return uri if "@" not in parts.netloc else parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def local_path(uri: str) -> Path | None:
    """Return the file of a local database; None for a server."""
    return Path(uri.removeprefix(LOCAL)) if uri.startswith(LOCAL) else None


def check_address(uri: str) -> None:
    """Raise UserError unless `uri` names a local database by its absolute path, or a server."""
    path, parts = local_path(uri), urlsplit(uri)
    is_server = parts.scheme in SERVERS and bool(parts.hostname)
    if not (is_server if path is None else path.is_absolute()):
        raise UserError(f"{shown(uri)!r} is no address of a registry", where="registry.uri", expected="nothing (a "
                        f"local database), http://HOST:PORT of an MLflow server, or {LOCAL}/ABSOLUTE/PATH.db")


def check_reachable(uri: str, *, thorough: bool = False) -> None:
    """Raise UserError if a local database is locked, damaged or may not be written, or a server does not answer.

    A local database that does not exist yet is fine. `thorough` reads the whole of a local one.
    """
    path = local_path(uri)
    if path is None:
        _check_server(uri)
    elif path.exists():
        _check_file(path, thorough)


def file_stamp(path: Path) -> tuple[object, ...] | None:
    """Return what differs after every change to a local database: times, sizes and SQLite's change counter.

    Nothing is locked. None if the file cannot be read. The counter: bytes 24 to 27, https://www.sqlite.org/fileformat.html.
    """
    try:
        with path.open("rb") as file:
            header, status = file.read(28), os.fstat(file.fileno())
        wal = path.with_name(f"{path.name}-wal")
        wal_status = wal.stat() if wal.exists() else None
    except OSError:
        return None
    return (header[24:], *(value for file_status in (status, wal_status) if file_status is not None
                           for value in (file_status.st_ino, file_status.st_size, file_status.st_mtime_ns)))


def database_error(text: str, where: object) -> MachineError:
    """Return the error of a database as one message; `text` is what the database says."""
    message = text.lower()
    if "locked" in message:
        return MachineError("The registry is locked by another program", where=where,
                            expected=f"a database that is free within {SECONDS:.0f} seconds",
                            do="wait until the other command ends, or end it, then repeat this one")
    if "malformed" in message or "not a database" in message:
        return MachineError("The registry's database is damaged", where=where, expected="an SQLite database of MLflow",
                            do="put back a copy of the file; the files of the versions are in the folder beside it")
    if "disk is full" in message or "no space left" in message or "disk i/o" in message:
        return MachineError("The registry cannot be written: the disk is full", where=where, expected="free space",
                            do="free space, then repeat the command: what was recorded before is kept")
    if "readonly" in message or "unable to open" in message or "permission denied" in message:
        return MachineError("The registry's database may not be read or written", where=where,
                            expected="a file and a folder that you may write", do="change their permissions")
    line = next((line.strip() for line in text.splitlines() if line.strip()), "no reason given")
    return MachineError(f"The registry refuses ({line[:300]})", where=where)


def _check_file(path: Path, thorough: bool) -> None:
    try:
        with closing(sqlite3.connect(path, timeout=SECONDS, isolation_level=None)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.execute("SELECT count(*) FROM sqlite_master").fetchone()
            check_result = database.execute("PRAGMA quick_check(1)").fetchone()[0] if thorough else "ok"
            database.execute("ROLLBACK")
    except sqlite3.Error as error:
        raise database_error(str(error), path) from error
    if check_result != "ok":
        raise database_error("malformed", path)


def _check_server(uri: str) -> None:
    parts = urlsplit(uri)
    try:
        with closing(SERVERS[parts.scheme](str(parts.hostname), parts.port, timeout=SECONDS)) as connection:
            connection.request("GET", f"{parts.path.rstrip('/')}/health")
            connection.getresponse().read(1)
    except (OSError, ValueError, http.client.HTTPException) as error:
        raise MachineError(f"The registry's server does not answer ({str(error) or type(error).__name__})",
                           where=shown(uri), expected="an MLflow server at registry.uri",
                           do="start the server, or correct the address") from error
