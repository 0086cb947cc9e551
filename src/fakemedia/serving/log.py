"""The log of scored pictures: an SQLite database that monitoring reads while the service writes.

One row a picture; the picture itself is not kept. A thread writes every FLUSH_SECONDS, so a killed service loses
at most the last second. The oldest rows beyond a number are removed. If the disk is full the service keeps running, and
what could not be written is counted.
"""

from __future__ import annotations

import sqlite3
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fakemedia.artefacts.files import check_writable
from fakemedia.core.errors import UserError

FLUSH_SECONDS = 0.5
"""Seconds between two writes."""
MAX_WAITING_ROWS = 20000
"""Largest number of rows that wait to be written; further ones push out the oldest."""
PRUNE_EVERY = 100
"""Writes between two removals of old rows."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """A picture that was scored."""

    time: float
    """Seconds since 1970, UTC."""
    version: int
    """Version of the detector."""
    detector: str
    """Content hash of the version."""
    source: str
    """Where the client says that the picture is from; empty if it does not."""
    sha256: str
    """SHA-256 of the file."""
    bytes: int
    codec: str
    mode: str
    quality: int
    """Estimated quality of a JPEG; 0 for other codecs."""
    width: int
    """Of the picture, pixels."""
    height: int
    crops: int
    seen: float
    """Share of the picture that the crops show."""
    logit: float | None
    """z_fake - z_real, mean of the crops; None where there was nothing to judge."""
    p_fake: float | None
    verdict: str
    novelty: float | None
    """Distance of the embeddings of the crops from the tasks learned, over the threshold: unknown above 1; None
    without a measure of novelty."""
    embedding: bytes | None
    """The mean embedding of the crops, D numbers of float16; None without one."""


NAMES = [field.name for field in fields(Row)]
TABLE = f"CREATE TABLE IF NOT EXISTS scores (id INTEGER PRIMARY KEY AUTOINCREMENT, {', '.join(NAMES)})"
INSERT = f"INSERT INTO scores ({', '.join(NAMES)}) VALUES ({', '.join(f':{name}' for name in NAMES)})"


def packed(embedding: NDArray[np.floating] | None) -> bytes | None:
    """Return an embedding (D,) as a log keeps it: float16, little-endian, within its range."""
    if embedding is None:
        return None
    return np.clip(embedding, -65504, 65504).astype("<f2").tobytes()


class ScoreLog:
    """Writes rows in its own thread."""

    def __init__(self, path: Path, *, rows: int) -> None:
        """Open or create the database; at most `rows` are kept. UserError if it cannot be written, or is damaged."""
        check_writable(path.parent)
        self.path, self._rows = path, rows
        self.lost = 0
        """Rows that could not be written."""
        try:
            self._connect().close()
        except sqlite3.Error as error:
            raise UserError(f"The log cannot be written ({error})", where=path, expected="an SQLite database of "
                            "kedro serve, or no file", do="move the file away") from error
        self._waiting: deque[Row] = deque()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()

    def add(self, rows: Iterable[Row]) -> None:
        """Queue `rows` for the next write, within FLUSH_SECONDS."""
        self._waiting.extend(rows)
        while len(self._waiting) > MAX_WAITING_ROWS:
            self._waiting.popleft()
            self.lost += 1

    def close(self) -> None:
        """Write the waiting rows and stop."""
        self._stop.set()
        self._thread.join()

    def _connect(self) -> sqlite3.Connection:
        database = sqlite3.connect(self.path, timeout=5)
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("PRAGMA synchronous = NORMAL")
        database.execute(TABLE)
        database.commit()
        return database

    def _run(self) -> None:
        writes = 0
        while not self._stop.wait(FLUSH_SECONDS):
            writes += self._write(prune=writes % PRUNE_EVERY == 0)
        self._write(prune=True)

    def _write(self, *, prune: bool) -> bool:
        """Write the waiting rows; those that cannot be written wait for the next write."""
        rows = [self._waiting.popleft() for _ in range(len(self._waiting))]
        if not rows:
            return False
        try:
            with closing(self._connect()) as database, database:
                database.executemany(INSERT, [asdict(row) for row in rows])
                if prune:
                    database.execute("DELETE FROM scores WHERE id <= (SELECT max(id) FROM scores) - ?", [self._rows])
        except sqlite3.Error:
            self._waiting.extendleft(reversed(rows))
            return False
        return True


def read_log(path: Path, *, since: float = 0.0, until: float = float("inf")) -> pd.DataFrame:
    """Return the rows with since <= time < until, in the order of their writing; columns as in `Row`, and `id`.

    `embedding` holds arrays, float16 (D,), or None. UserError if there is no log, or it is damaged.
    """
    with _reading(path) as database:
        return _arrays(pd.read_sql_query("SELECT * FROM scores WHERE time >= ? AND time < ? ORDER BY id", database,
                                         params=[since, min(until, 1e300)]))


def last_detector(path: Path) -> str | None:
    """Return the content hash of the version that scored last; None if none did. UserError as `read_log`."""
    with _reading(path) as database:
        row = database.execute("SELECT detector FROM scores ORDER BY id DESC LIMIT 1").fetchone()
    return None if row is None else str(row[0])


def count_sources(path: Path, *, detector: str, since: float = 0.0) -> dict[str, int]:
    """Return how many different pictures with a logit each source sent, most first. UserError as `read_log`."""
    with _reading(path) as database:
        return dict(database.execute(
            "SELECT source, count(DISTINCT sha256) AS pictures FROM scores WHERE detector = ? AND logit IS NOT NULL "
            "AND time >= ? GROUP BY source ORDER BY pictures DESC, source", [detector, since]))


def read_windows(path: Path, size: int, *, detector: str, source: str | None = None, since: float = 0.0,
                 after: int = 0) -> Iterator[pd.DataFrame]:
    """Yield windows of `size` consecutive pictures of one detector, as tables of `read_log`; no incomplete one.

    Of one source, or, if it is None, of all. A picture that was sent again, or has no logit, is left out. Rows up to
    the id `after` are skipped. One window is in memory at a time. UserError as `read_log`.
    """
    condition = "detector = :detector AND logit IS NOT NULL AND time >= :since" + (
        "" if source is None else " AND source = :source")
    query = (f"SELECT * FROM scores WHERE id > :after AND id IN (SELECT min(id) FROM scores WHERE {condition} "
             "GROUP BY sha256) ORDER BY id")
    params = {"detector": detector, "source": source, "since": since, "after": after}
    with _reading(path) as database:
        for table in pd.read_sql_query(query, database, params=params, chunksize=size):
            if len(table) == size:
                yield _arrays(table)


def read_far(path: Path, *, detector: str, since: float = 0.0, limit: int = 5000) -> pd.DataFrame:
    """Return the last `limit` different pictures that one detector called unknown or unsure, as tables of `read_log`.

    Only those with an embedding. UserError as `read_log`.
    """
    query = ("SELECT * FROM scores WHERE id IN (SELECT max(id) FROM scores WHERE detector = ? AND time >= ? AND "
             "verdict IN ('unknown', 'unsure') AND embedding IS NOT NULL GROUP BY sha256 "
             "ORDER BY 1 DESC LIMIT ?) ORDER BY id")
    with _reading(path) as database:
        return _arrays(pd.read_sql_query(query, database, params=[detector, since, limit]))


@contextmanager
def _reading(path: Path) -> Iterator[sqlite3.Connection]:
    """Open the log to read it; UserError if there is none, or it is damaged."""
    if not path.is_file():
        raise UserError("There is no log of scored pictures", where=path, expected="a log of kedro serve",
                        do="set serving.log, or wait for the first pictures")
    try:
        with closing(sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as database:
            yield database
    except (sqlite3.Error, pd.errors.DatabaseError) as error:
        raise UserError(f"The log of scored pictures cannot be read ({error})", where=path,
                        expected="a log of kedro serve") from error


def _arrays(table: pd.DataFrame) -> pd.DataFrame:
    table["embedding"] = pd.Series([None if values is None else np.frombuffer(values, "<f2")
                                    for values in table["embedding"]], table.index, dtype=object)
    return table.astype(dict.fromkeys(("logit", "p_fake", "novelty"), float))
