"""What a source lists of a task, as columns: many images in little memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from fakemedia.ingest.parts import COLUMNS, PART_ROWS, Index
from fakemedia.sources.source import Item, Source, listing_of

LISTED = ("path", "split", "label", "class_name", "bytes", "cut", "mtime_ns")
"""The columns from the source's listing; `source` too, unless it is empty."""
SCHEMA = pa.schema([
    ("path", pa.large_string()), ("split", pa.dictionary(pa.int8(), pa.string())), ("label", pa.int8()),
    ("class_name", pa.dictionary(pa.int32(), pa.string())), ("source", pa.large_string()), ("bytes", pa.int64()),
    ("cut", pa.dictionary(pa.int8(), pa.string())), ("mtime_ns", pa.int64()),
])


class Listing:
    """The images of a task, sorted by path; about 75 bytes each, beside path and source photograph."""

    def __init__(self, items: Iterable[Item], notes: list[dict[str, Any]]) -> None:
        self.notes = notes
        self._table = pa.Table.from_batches(_batches(items), SCHEMA).unify_dictionaries()
        self._order = _order(self._table["path"])

    def __len__(self) -> int:
        return len(self._table)

    def frame(self, start: int, stop: int) -> pd.DataFrame:
        """Return images `start` to `stop` as the columns of an index that a source lists."""
        rows = self._table.slice(start, stop - start) if self._order is None else self._table.take(
            pa.array(self._order[start:stop]))
        frame = rows.to_pandas()
        return frame.astype({name: COLUMNS[name] for name in frame})

    def parts(self) -> Iterator[pd.DataFrame]:
        """Yield the images part by part; at least one part."""
        for start in range(0, max(len(self), 1), PART_ROWS):
            yield self.frame(start, start + PART_ROWS)


def list_images(source: Source, task: str) -> Listing:
    """Return the images of `task`, and what the source found beside them; UserError as `Source.items`."""
    items, notes = listing_of(source, task)
    return Listing(items, [asdict(note) for note in notes])


def _batches(items: Iterable[Item]) -> Iterator[pa.RecordBatch]:
    remaining = iter(items)
    while batch := list(islice(remaining, PART_ROWS)):
        yield pa.RecordBatch.from_arrays(
            [pa.array([getattr(item, field.name) for item in batch], field.type) for field in SCHEMA], schema=SCHEMA)


def _order(paths: pa.ChunkedArray) -> NDArray[np.uint64] | None:
    """Return the rows in the order of their paths; None if they are in order."""
    in_order = pc.less_equal(paths[:-1], paths[1:])  # pyright: ignore[reportAttributeAccessIssue]
    if pc.all(in_order, min_count=0).as_py():  # pyright: ignore[reportAttributeAccessIssue]
        return None
    return pc.sort_indices(paths).to_numpy()  # pyright: ignore[reportAttributeAccessIssue]


def differences(listing: Listing, index: Index) -> NDArray[np.bool_] | None:
    """Return which images have another time of change than in `index`, bool (N,); None if anything else differs.

    Where no source photograph is listed, the image's own id stands for it.
    """
    if index.notes != listing.notes or len(index) != len(listing):
        return None
    start, changed = 0, []
    for indexed in index.frames((*LISTED, "source", "id")):
        rows, indexed = listing.frame(start, start + len(indexed)), indexed.reset_index(drop=True)
        same = {name: rows[name] == indexed[name] for name in LISTED}
        source = (rows["source"] == indexed["source"]) | ((rows["source"] == "") & (indexed["source"] == indexed["id"]))
        if not np.all([source, *(same[name] for name in LISTED if name != "mtime_ns")]):
            return None
        changed.append(~same["mtime_ns"].to_numpy())
        start += len(indexed)
    return np.concatenate(changed)


def known_rows(listing: Listing, previous: Index | None) -> Iterator[tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]]:
    """Yield the images part by part, with the readable rows of `previous` up to there in the order of paths.

    Of these, the first table has those of the same path, size and time of change, by the number of the image; the
    second one those that are not listed so.
    """
    rows = pd.DataFrame({name: pd.Series(dtype=kind) for name, kind in COLUMNS.items()})
    parts = iter(()) if previous is None else previous.frames()
    for start, images in zip(range(0, max(len(listing), 1), PART_ROWS), listing.parts(), strict=True):
        has_next = start + PART_ROWS < len(listing)
        while not has_next or not len(rows) or rows["path"].iloc[-1] <= images["path"].iloc[-1]:
            part = next(parts, None)
            if part is None:
                break
            rows = pd.concat([rows, part], ignore_index=True)
        in_part = (rows["path"] <= images["path"].iloc[-1]).to_numpy() if has_next else np.ones(len(rows), bool)
        part_rows, rows = rows.loc[in_part & (rows["error"] == "").to_numpy()], rows.loc[~in_part]
        part_rows = part_rows.drop_duplicates("path")
        numbers = find(images, part_rows)
        yield images, part_rows.loc[numbers >= 0].set_axis(numbers[numbers >= 0]), part_rows.loc[numbers < 0]


def find(images: pd.DataFrame, rows: pd.DataFrame) -> NDArray[np.int64]:
    """Return the number of the image with the path, size and time of change of each row, -1 for none."""
    keys = ["path", "bytes", "mtime_ns"]
    files = images.drop_duplicates("path")
    positions = pd.MultiIndex.from_arrays([files[key] for key in keys]).get_indexer(
        pd.MultiIndex.from_arrays([rows[key] for key in keys]))
    return np.where(positions >= 0, files.index.to_numpy()[positions], -1)
