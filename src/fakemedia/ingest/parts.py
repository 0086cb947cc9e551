"""The rows of an index: a folder of Parquet parts, of which one at a time is read, or a small table in memory."""

from __future__ import annotations

import hashlib
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
from numpy.typing import NDArray

from fakemedia.artefacts.files import replace_folder, replacing, scratch_folder, sync, writing
from fakemedia.artefacts.manifest import (
    Manifest,
    Recipe,
    make_manifest,
    manifest_path,
    read_manifest,
    verify,
    write_manifest,
)
from fakemedia.core.errors import UserError
from fakemedia.core.hashing import fingerprint
from fakemedia.core.rng import bits, derive

COLUMNS = {
    "id": "str", "path": "str", "task": "str", "split": "str", "label": "int8", "class_name": "str", "source": "str",
    "codec": "str", "mode": "str", "width": "int64", "height": "int64", "bytes": "int64", "mtime_ns": "int64",
    "quality": "int64", "phash": "str", "mean": "float64", "spread": "float64", "tiles": "int64", "cut": "str",
    "error": "str",
}
PART_ROWS = 100_000
"""Rows of a part. The content of an index depends on it."""
NOTES = "notes.json"
"""The file of an index with the notes of the source and the rows of each part."""
RERUN_INGESTION = "run the ingestion again: kedro run --tags ingestion"


class Index:
    """The rows of a task, one for each image, in order of their paths; read part by part.

    `task`, its name, is empty without rows; `notes` are those of the source: the fields of `Note`, as dicts.
    """

    def __init__(self, parts: Sequence[pa.OSFile | pd.DataFrame], rows: Sequence[int],
                 notes: list[dict[str, Any]], *, left_out: frozenset[str] = frozenset(),
                 times: NDArray[np.int64] | None = None) -> None:
        """Use `parts`, whose numbers of rows are `rows`; `left_out` are paths whose rows are skipped, and `times`
        replaces the column `mtime_ns`."""
        self._parts, self._rows, self._left_out, self._times = list(parts), list(rows), left_out, times
        self.notes = notes
        self.task = next((str(frame["task"].iloc[0]) for frame in self.frames(["task"]) if len(frame)), "")

    @classmethod
    def of(cls, table: pd.DataFrame) -> Index:
        """Return the rows of a table in memory, in its order, with the notes in its `attrs`."""
        starts = range(0, max(len(table), 1), PART_ROWS)
        parts = [table.iloc[start:start + PART_ROWS] for start in starts]
        return cls(parts, [len(part) for part in parts], table.attrs.get("notes", []))

    def __len__(self) -> int:
        if self._left_out:
            return sum(len(frame) for frame in self.frames(["path"]))
        return sum(self._rows)

    def frames(self, columns: Sequence[str] = tuple(COLUMNS)) -> Iterator[pd.DataFrame]:
        """Yield the rows, some `columns` of them, part by part."""
        start = 0
        for part, rows in zip(self._parts, self._rows, strict=True):
            yield self._frame(part, start, rows, list(columns))
            start += rows

    def frame(self, columns: Sequence[str] = tuple(COLUMNS)) -> pd.DataFrame:
        """Return all rows as one table in memory, with the notes in its `attrs`."""
        table = pd.concat(self.frames(columns), ignore_index=True)
        table.attrs["notes"] = self.notes
        return table

    def take(self, numbers: NDArray[np.integer], columns: Sequence[str] = tuple(COLUMNS)) -> pd.DataFrame:
        """Return the rows of some `numbers`, sorted, counted from 0; only for an index without rows that are left out.

        Only parts that hold such a row are read.
        """
        if not len(numbers):
            return next(self.frames(columns)).iloc[:0]
        frames, start = [], 0
        for part, rows in zip(self._parts, self._rows, strict=True):
            low, high = np.searchsorted(numbers, [start, start + rows])
            if high > low:
                frames.append(self._frame(part, start, rows, list(columns)).iloc[numbers[low:high] - start])
            start += rows
        return pd.concat(frames, ignore_index=True)

    def sample(self, max_rows: int, columns: Sequence[str]) -> pd.DataFrame:
        """Return all rows, or, of more than `max_rows`, that many drawn at random; always the same ones."""
        total = len(self)
        if total <= max_rows:
            return self.frame(columns)
        drawn = np.argpartition(bits(derive(0, "sample of an index"), np.arange(total)), max_rows)[:max_rows]
        return self.take(np.sort(drawn), columns)

    def without(self, paths: Iterable[str]) -> Index:
        """Return the index without the rows of some paths; nothing is copied."""
        return Index(self._parts, self._rows, self.notes, left_out=self._left_out | frozenset(paths), times=self._times)

    def with_times(self, times: NDArray[np.int64]) -> Index:
        """Return the index with other times of change, (N,), nanoseconds; nothing is copied."""
        return Index(self._parts, self._rows, self.notes, left_out=self._left_out, times=times)

    def _frame(self, part: pa.OSFile | pd.DataFrame, start: int, rows: int, columns: list[str]) -> pd.DataFrame:
        requested = [*columns, *({"path"} - set(columns) if self._left_out else ())]
        if isinstance(part, pa.OSFile):
            frame = pq.ParquetFile(part).read(requested).to_pandas()
            frame = frame.astype({name: COLUMNS[name] for name in requested})
        else:
            frame = part.loc[:, requested]
        if self._times is not None and "mtime_ns" in requested:
            frame = frame.assign(mtime_ns=self._times[start:start + rows])
        if not self._left_out:
            return frame
        return pd.DataFrame(frame.loc[~pd.Series(frame["path"]).isin(list(self._left_out)), columns])


Table = pd.DataFrame | Index
"""The rows of an index, in memory or in parts."""


def indexed(table: Table) -> Index:
    """Return the rows of a table as an index."""
    return table if isinstance(table, Index) else Index.of(table)


def tally(table: Table, columns: list[str]) -> Counter[tuple]:
    """Return how many rows each combination of values of several `columns` has."""
    counts: Counter[tuple] = Counter()
    for frame in indexed(table).frames(columns):
        counts.update(frame.groupby(columns, sort=False).size().to_dict())
    return counts


def index_content(table: Table) -> str:
    """Return the hash of an index without sizes and times of files; findings are made from it."""
    index = indexed(table)
    return _content([_digest(frame) for frame in index.frames(FACTS)], index.notes)


FACTS = tuple(name for name in COLUMNS if name not in ("bytes", "mtime_ns"))


def _content(digests: list[str], notes: list[dict[str, Any]]) -> str:
    return fingerprint({"parts": digests, "notes": notes})


def _digest(frame: pd.DataFrame) -> str:
    """Return the SHA-256 of the facts of a part."""
    sink = pa.BufferOutputStream()
    pyarrow.csv.write_csv(pa.Table.from_pandas(frame[list(FACTS)], preserve_index=False), sink)
    return hashlib.sha256(sink.getvalue()).hexdigest()


@dataclass(frozen=True)
class WrittenPart:
    """A part that was written."""

    number: int
    rows: int
    digest: str
    """The hash of its facts."""


def _part(folder: Path, number: int) -> Path:
    return folder / f"part-{number:05d}.parquet"


def write_part(folder: Path, number: int, frame: pd.DataFrame) -> WrittenPart:
    """Write the part `number`, PART_ROWS rows but for the last one, atomically."""
    with replacing(_part(folder, number)) as scratch:
        frame.to_parquet(scratch, index=False)
    return WrittenPart(number, len(frame), _digest(frame))


def read_part(folder: Path, number: int) -> pd.DataFrame | None:
    """Return the part `number` of an index that is not complete; None if it is missing or damaged."""
    try:
        return pq.ParquetFile(_part(folder, number)).read().to_pandas().astype(COLUMNS)
    except (OSError, ValueError, KeyError):  # pyarrow's errors derive from these
        return None


def write_parts(written_parts: Iterable[WrittenPart], notes: list[dict[str, Any]], building: Path, folder: Path,
                recipe: Recipe) -> Index:
    """Move the index with the parts `written_parts`, in their order, from the scratch folder `building` to `folder`.

    Return the index, open.

    An older index there stays until all parts are written. Other files in `building` are removed.
    """
    parts = list(written_parts)
    rows = [part.rows for part in parts]
    with writing(folder):
        (building / NOTES).write_text(json.dumps({"notes": notes, "rows": rows}), encoding="utf-8")
        files = {path.name: path for path in (building / NOTES, *(_part(building, part.number) for part in parts))}
        for leftover in set(building.iterdir()) - set(files.values()):
            leftover.unlink()
        content = _content([part.digest for part in parts], notes)
        write_manifest(make_manifest(recipe, files, content=content), building, folder=True)
        sync(building)
        replace_folder(building, folder)
        sync(folder.parent)
        old_file = folder.with_name(f"{folder.name}.parquet")  # Of an earlier version.
        for path in (old_file, manifest_path(old_file, folder=False)):
            path.unlink(missing_ok=True)
    return read_index(folder)


def write_index(table: Table, folder: Path, recipe: Recipe) -> Index:
    """Write the rows of a table as the index in `folder`, atomically; return it."""
    index = indexed(table)
    with scratch_folder(folder) as building:
        written_parts = [write_part(building, number, frame) for number, frame in enumerate(index.frames())]
        return write_parts(written_parts, index.notes, building, folder, recipe)


def read_index(folder: Path) -> Index:
    """Open an index; UserError if it is missing, or names the part that is damaged.

    Its files stay open, because another process may replace the index at any time.
    """
    while True:
        stamp = _stamp(folder)
        index = _opened(folder, read_manifest(folder, folder=True))
        if _stamp(folder) == stamp:
            break
    if isinstance(index, UserError):
        raise index
    return index


def _stamp(folder: Path) -> tuple[int, int] | None:
    """Return which file the manifest of an index is; None if there is none.

    It may be missing for a moment while another process replaces the folder: the function waits for it.
    """
    for _ in range(20):
        with suppress(OSError):
            facts = manifest_path(folder, folder=True).stat()
            return facts.st_ino, facts.st_mtime_ns
        time.sleep(0.01)
    return None


def _opened(folder: Path, manifest: Manifest | None) -> Index | UserError:
    try:
        if manifest is None:
            raise ValueError("no manifest")
        verify(folder, manifest, folder=True)
        parts = [pa.OSFile(str(folder / name)) for name in sorted(manifest.files) if name != NOTES]
        facts = json.loads((folder / NOTES).read_bytes())
        return Index(parts, facts["rows"], facts["notes"])
    except UserError as error:
        return error
    except (OSError, ValueError, KeyError) as error:
        return UserError(f"No index can be read ({error})", where=folder, do=RERUN_INGESTION)
