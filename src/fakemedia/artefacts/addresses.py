"""Addresses of files outside this machine, such as `s3://bucket/prefix`, opened through fsspec."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import Future
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from threading import Thread
from typing import Any

from fakemedia.core.errors import MachineError, UserError
from fakemedia.core.extras import install

_PROTOCOL = re.compile(r"[a-z][a-z0-9+.-]*://")
READS = 16
"""Files that are read concurrently from an address: a read waits for the network, not for a core."""
RIGHTS = "an account that may list, read, write and delete there"
TIMEOUT = 60.0
"""Seconds after which an address that does not answer counts as unreachable."""
S3 = ("s3", "s3a")
S3_READS = {"connect_timeout": 5, "read_timeout": 10, "retries": {"total_max_attempts": 3}}
"""With S3_TRIES, a request to an S3 server ends within TIMEOUT; the client's own limits add up to many minutes."""
S3_TRIES = 2
MAX_IN_FLIGHT, MIN_RATE = 2**29, 2**22
"""Bytes that a client may send before any is acknowledged, and those that must arrive per second."""


def is_address(value: object) -> bool:
    """Return whether `value` is an address such as `s3://bucket/prefix`, and not a path.

    >>> is_address("s3://bucket/cddb"), is_address("data/01_raw/cddb")
    (True, False)
    """
    return isinstance(value, str) and _PROTOCOL.match(value) is not None


def open_address(address: str) -> tuple[Any, str]:
    """Return the file system of `address` and the path in it; UserError if its package is missing or it is malformed.

    Nothing is read yet. Listings are not cached: other machines write there too.
    """
    from fsspec.core import url_to_fs

    protocol = address.partition("://")[0]
    with reaching(address):
        options: dict[str, Any] = {"auto_mkdir": True} if protocol in ("file", "local") else {}
        if protocol in S3:
            options["config_kwargs"] = S3_READS
        system, path = url_to_fs(address, use_listings_cache=False, **options)
        if protocol in S3:
            system.retries = S3_TRIES
    if not path.strip("/") and protocol not in ("memory", "file", "local"):
        raise UserError("The address names no bucket", where=address, expected="such as s3://bucket/prefix")
    return system, path.rstrip("/")


def put_files(system: Any, paths: Sequence[Path], to: Sequence[str]) -> None:
    """Write files of this machine to a file system, several at once.

    TimeoutError if nothing arrives for TIMEOUT seconds, plus the time that the bytes in flight take at MIN_RATE: the
    client itself would wait indefinitely.
    """
    from fsspec.callbacks import Callback

    class Count(Callback):
        def branched(self, *_: Any, **__: Any) -> Count:
            return self

    sizes, count = sum(path.stat().st_size for path in paths), Count()
    answered(partial(system.put, list(map(str, paths)), list(to), callback=count),
             TIMEOUT + min(sizes, MAX_IN_FLIGHT) / MIN_RATE, lambda: count.value)


def answered(call: Callable[[], object], seconds: float, progress: Callable[[], object] = lambda: None) -> None:
    """Run `call`; TimeoutError if it does not end, and the value of `progress` stays the same, for `seconds`."""
    result: Future[None] = Future()

    def run() -> None:
        try:
            call()
            result.set_result(None)
        except Exception as error:  # Raised to the caller.
            result.set_exception(error)

    Thread(target=run, daemon=True).start()
    previous = progress()
    while not futures.wait([result], seconds).done:
        if progress() == previous:
            raise TimeoutError(f"no answer within {seconds:.3g} seconds")
        previous = progress()
    result.result()


@contextmanager
def reaching(address: str) -> Iterator[None]:
    """Turn every error of a file system into one UserError that names `address`: a MachineError if it does not answer.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # Each file system raises its own kinds of errors.
        raise _failure(address, error) from error


def _failure(address: str, error: Exception) -> UserError:
    reason = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
    if isinstance(error, ImportError):
        return UserError(f"The package for this kind of address is not installed ({error})", where=address,
                         do=install("storage") if address.startswith("s3") else "install the package that is named")
    if isinstance(error, ValueError) and "Protocol not known" in str(error):
        return UserError(f"There is no such kind of address ({error})", where=address,
                         expected="such as s3://bucket/prefix, gs://bucket/prefix or file:///mnt/share/prefix")
    if isinstance(error, PermissionError) or "credential" in reason.lower():
        return UserError(f"Access is refused ({reason})", where=address, expected=RIGHTS,
                         do="check the credentials in the environment, such as AWS_ACCESS_KEY_ID or AWS_PROFILE, and "
                            "the policy of the bucket")
    if isinstance(error, FileNotFoundError):
        return UserError(f"The bucket or the file does not exist ({reason})", where=address,
                         expected="a bucket that exists: none is made", do="create the bucket, or correct the address")
    return MachineError(f"The storage cannot be reached ({reason})", where=address, expected="an address that answers",
                        do="check the connection and the endpoint, such as AWS_ENDPOINT_URL; finished work is kept "
                           "here, and the same command resumes")


@dataclass(frozen=True, slots=True)
class ListedFile:
    """A file at an address."""

    bytes: int
    mtime_ns: int
    """Time of its last change, nanoseconds since the epoch; 0 if the file system knows none."""


def list_files(address: str) -> dict[str, ListedFile]:
    """Return all files below `address`, by relative path; none if there is no such folder. UserError if it cannot be
    reached."""
    system, base = open_address(address)
    with reaching(address):
        entries = system.find(base, detail=True)
    return {key.removeprefix(base).lstrip("/"): ListedFile(facts["size"] or 0, _mtime_ns(facts))
            for key, facts in entries.items() if key.startswith(f"{base}/") and not key.endswith("/")}


def _mtime_ns(facts: dict[str, Any]) -> int:
    time = next((facts[name] for name in ("LastModified", "mtime", "updated", "last_modified", "created")
                 if facts.get(name) is not None), 0)
    return int((time.timestamp() if isinstance(time, datetime) else float(time)) * 1_000_000) * 1000


def read_file(address: str, size: int = -1) -> bytes:
    """Return the content of a file, or its first `size` bytes; OSError if it is missing.

    UserError if the address cannot be reached.
    """
    system, path = open_address(address)
    with reaching(address):
        try:
            return system.cat_file(path, end=None if size < 0 else size)
        except FileNotFoundError as error:
            missing = error
    raise missing


def is_remote(read: Any) -> bool:
    """Return whether a source's function for reading a file reads at an address, itself or by a function it is given.

    >>> is_remote(partial(print, partial(read_file, "s3://bucket/cat.png")))
    True
    """
    return isinstance(read, partial) and (read.func is read_file or any(map(is_remote, read.args)))
