"""The index of a task: one validated row per image."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from operator import attrgetter
from pathlib import Path
from typing import Any

import pandas as pd

from fakemedia.artefacts.files import write_file
from fakemedia.artefacts.manifest import Recipe, read_checked
from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.hashing import fingerprint
from fakemedia.core.types import CLASS_FOLDERS, FAKE, REAL, SPLITS, check_name
from fakemedia.ingest.facts import UNMEASURED, measure
from fakemedia.ingest.process_pool import picture_map
from fakemedia.runtime.threads import cores, thread_map
from fakemedia.sources.source import Item, Note, Source, listed
from fakemedia.store import decode
from fakemedia.store.decode import content_id
from fakemedia.store.pool import Pool

COLUMNS = {
    "id": "str", "path": "str", "task": "str", "split": "str", "label": "int8", "class_name": "str", "source": "str",
    "codec": "str", "mode": "str", "width": "int64", "height": "int64", "bytes": "int64", "mtime_ns": "int64",
    "quality": "int64", "phash": "str", "mean": "float64", "spread": "float64", "tiles": "int64", "cut": "str",
    "error": "str",
}

UNREADABLE = ("replace or remove it; or leave such images out of training by audit: {quarantine: [unreadable]} in "
              "the collection's settings")

LISTED = ("path", "split", "label", "class_name", "bytes", "cut", "mtime_ns")
"""The columns from the source's listing; `source` too, unless it is empty."""

VERSION = 1
"""Version of the measured columns, beside that of decoding: raised when results change."""


def index_recipe(task: str, source: Mapping[str, Any], derivation: Mapping[str, Any] | None = None) -> Recipe:
    """Return what the index of `task` is made from: the collection's `source`, its name and settings, and how pictures
    are taken from its files (see `ingest.derived`).

    Where the files are (`root`) does not count; the files themselves are compared by `refreshed`.
    """
    settings = {key: value for key, value in source.items() if key != "root"}
    return Recipe(producer="index", version=VERSION, settings={
        "task": task, "source": settings, "source_version": plugin.constant("sources", source["name"], "VERSION", 1),
        "decode": decode.VERSION, **(derivation or {})})


def index_content(index: pd.DataFrame) -> str:
    """Return the hash of an index without sizes and times of files; findings are made from it."""
    facts = index.drop(columns=["bytes", "mtime_ns"]).to_csv(index=False)
    return fingerprint({"facts": facts, "notes": index.attrs.get("notes", [])})


def build_index(source: Source, task: str, *, workers: int, previous: pd.DataFrame | None = None,
                pool: Pool | None = None, progress: bool = True) -> pd.DataFrame:
    """Read and decode every image of `task` once, in `workers` processes; return COLUMNS, one row per image, by path.

    Rows of `previous` are reused for files with the same path, size and modification time. Other files are read;
    those whose content it has under another name or time are not decoded again. `previous` must have the
    same `index_recipe`. The `pool` gets the pictures that were decoded, so that they need not be decoded again.

    `width` and `height` are those of the decoded, upright picture. Where the source names no source photograph, the
    image's own id stands for it, so exact copies form one group. `cut` is `rule` if the split was made by rule
    (see `fakemedia.sources.splits`). An unreadable image has the reason in `error` and 0 x 0 pixels; see
    `check_index`. `attrs["notes"]` has the notes of the source: the fields of `Note`, as dicts.
    UserError if the task does not exist or cannot be listed.
    """
    check_name(task)
    items, notes = listed(source, task)
    if previous is not None and _lists(previous, items, notes):
        return previous
    known = _known(previous)
    new = [item for item in items if (item.path, item.bytes, item.mtime_ns) not in known]
    by_id = {facts["id"]: facts for facts in known.values()}
    function = partial(measure, policy=pool and pool.policy, known=frozenset(by_id))
    measured = picture_map(function, [source.reader(item.path) for item in new],
                           workers=workers, title=f"index {task}", progress=progress)
    for item, ((facts, check), pixels) in zip(new, measured, strict=True):
        known[item.path, item.bytes, item.mtime_ns] = by_id.get(facts["id"], facts)
        if pool is not None and pixels is not None:
            pool.add(item.split, facts["id"], pixels, check)
    rows = [_row(task, item, known[item.path, item.bytes, item.mtime_ns]) for item in items]
    index = pd.DataFrame(rows, columns=list(COLUMNS)).astype(COLUMNS)
    index.attrs["notes"] = _plain(notes)
    return index


def _plain(notes: list[Note]) -> list[dict[str, Any]]:
    return [asdict(note) for note in notes]


def _known(previous: pd.DataFrame | None) -> dict[tuple[str, int, int], dict[str, Any]]:
    """Return what was measured of each file, by its path, size and time of change; failures are repeated."""
    if previous is None:
        return {}
    whole = previous.loc[previous["error"] == ""]
    keys = zip(whole["path"], whole["bytes"].tolist(), whole["mtime_ns"].tolist(), strict=True)
    return dict(zip(keys, whole[list(UNMEASURED)].to_dict("records"), strict=True))


def _row(task: str, item: Item, measured: dict[str, Any]) -> dict[str, Any]:
    return {"task": task, **{fact: getattr(item, fact) for fact in LISTED}, **measured,
            "source": item.source or measured["id"]}


def index_fingerprint(index: pd.DataFrame, split: str) -> str:
    """Return a hash of the contents, labels and source groups of `split`, in their order; independent of file names
    and times."""
    rows = index.loc[index["split"] == split]
    return fingerprint([rows["id"].tolist(), rows["label"].tolist(), rows["source"].tolist()])


def check_readable(index: pd.DataFrame) -> None:
    """Raise UserError if an image of the index is unreadable: names the first by path, and how many more there are."""
    bad = index.loc[index["error"] != ""]
    if len(bad):
        first = bad.iloc[0]
        more = f" ({len(bad) - 1} more images of the task are unreadable)" if len(bad) > 1 else ""
        raise UserError(f"The image cannot be read: {first['error']}{more}", where=first["path"],
                        expected="an undamaged image file", do=UNREADABLE)


def check_index(index: pd.DataFrame, *, fakes_only: bool = False) -> None:
    """Raise UserError unless every split holds real and fake images and every image is readable.

    With `fakes_only` a task without any real image is accepted.
    """
    check_readable(index)
    needed = (FAKE,) if fakes_only and set(index["label"]) == {FAKE} else (REAL, FAKE)
    for split in SPLITS:
        labels = index.loc[index["split"] == split, "label"]
        for label in needed:
            if not (labels == label).any():
                lacks = f"has no image of the class {CLASS_FOLDERS[label]}" if len(labels) else "is empty"
                task = f"task {index['task'].iloc[0]}, " if len(index) else ""
                raise UserError(f"The {split} split {lacks}", where=f"{task}split {split}",
                                expected="real and fake images in train, val and test",
                                do="add images there, or, for a task without real images in any split, say real: "
                                   "stored in the sequence; see docs/how-to/own-data.md")


def is_current(index: pd.DataFrame, source: Source, task: str) -> bool:
    """Return whether the source has the files that were indexed; see `refreshed`."""
    return refreshed(index, source, task) is not None


def refreshed(index: pd.DataFrame, source: Source, task: str) -> pd.DataFrame | None:
    """Return the index if the source has the files that were indexed, with current modification times; else None.

    Paths, splits, labels, classes, source photographs and sizes must be the same. A file of which only the modification
    time differs is read, and its content compared; none is decoded. UserError if the task does not exist or cannot be
    listed.
    """
    items, notes = listed(source, task)
    if not _lists(index, items, notes, facts=LISTED[:-1], whole=False):
        return None
    rows = zip(items, index["id"].tolist(), index["mtime_ns"].tolist(), strict=True)
    touched = [(item, id) for item, id, time in rows if item.mtime_ns != time]
    if not touched:
        return index

    def holds(file: tuple[Item, str]) -> bool:
        try:
            return content_id(source.reader(file[0].path)()) == file[1]
        except OSError:
            return False

    if not all(thread_map(holds, touched, workers=cores(), title=f"compare {task}", total=len(touched), progress=True)):
        return None
    return index.assign(mtime_ns=[item.mtime_ns for item in items]).astype(COLUMNS)


def _lists(index: pd.DataFrame, items: list[Item], notes: list[Note], *, facts: tuple[str, ...] = LISTED,
           whole: bool = True) -> bool:
    """Return whether `index` has the `facts` of `items` and the notes, and, if it must be `whole`, no failure."""
    if index.attrs.get("notes", []) != _plain(notes):
        return False
    if len(index) != len(items) or (whole and (index["error"] != "").to_numpy().any()):
        return False
    if any(index[fact].tolist() != list(map(attrgetter(fact), items)) for fact in facts):
        return False
    return all(known == (item.source or id)
               for item, known, id in zip(items, index["source"].tolist(), index["id"].tolist(), strict=True))


def index_bytes(index: pd.DataFrame) -> bytes:
    """Return the index as a Parquet file, which keeps `attrs`."""
    buffer = io.BytesIO()
    index.to_parquet(buffer, index=False)
    return buffer.getvalue()


def write_index(index: pd.DataFrame, path: Path) -> None:
    """Write the index as Parquet, atomically."""
    write_file(path, index_bytes(index))


def read_index(path: Path) -> pd.DataFrame:
    """Read an index back; UserError if it is missing, damaged, or not as its manifest says, if it has one."""
    try:
        stored = pd.read_parquet(io.BytesIO(read_checked(path)))
        index = stored.loc[:, list(COLUMNS)].astype(COLUMNS)
        index.attrs["notes"] = stored.attrs["notes"]
        return index
    except (OSError, ValueError, KeyError) as error:
        raise UserError(f"No index can be read ({type(error).__name__})", where=path,
                        do="run the ingestion again: kedro run --tags ingestion") from None
