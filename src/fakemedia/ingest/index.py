"""The index of a task: one validated row per image."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fakemedia.artefacts.files import resumable_folder, scratch_folder
from fakemedia.artefacts.manifest import Recipe
from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, FAKE, REAL, SPLITS, check_name
from fakemedia.ingest.listing import differences, list_images
from fakemedia.ingest.part_jobs import Job, Measuring, jobs_of, make_part, make_shard, moved_rows, unchanged
from fakemedia.ingest.parts import PART_ROWS, Index, Table, WrittenPart, indexed, tally, write_parts
from fakemedia.runtime.threads import cores, thread_map
from fakemedia.sources.source import Source
from fakemedia.store import decode
from fakemedia.store.decode import content_id
from fakemedia.store.pool import Pool

Run = Callable[[Callable[[Job], WrittenPart], Iterable[Job]], Iterable[WrittenPart]]
"""Calls a function with each of some jobs, like `map`, but in any order."""
UNREADABLE = ("replace or remove it; or leave such images out of training by audit: {quarantine: [unreadable]} in "
              "the collection's settings")

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


def index_parts(source: Source, task: str, folder: Path, recipe: Recipe, *, workers: int,
                previous: Index | None = None, pool: Pool | None = None, run: Run | None = None,
                progress: bool = True) -> Index:
    """Write the index of `task` to `folder`, part by part, unless it is the same as `previous`; return it.

    As `build_index`, in bounded memory; `pool` is entered here. With `run` the parts of an index that has several are
    shards: `run` calls a function with each of them, in any order, in processes that share the disk. The result is the
    same. An interrupted call leaves the finished shards to the next one.
    """
    check_name(task)
    listing = list_images(source, task)
    if previous is not None and unchanged(listing, previous):
        return previous
    measuring = Measuring(source, task, workers, moved_rows(listing, previous), None, progress)
    jobs = jobs_of(listing, previous)
    if run is None or len(listing) <= PART_ROWS:
        with scratch_folder(folder) as building, pool or nullcontext() as open_pool:
            parts = map(partial(make_part, replace(measuring, pool=open_pool), building), jobs)
            return write_parts(parts, listing.notes, building, folder, recipe)
    with resumable_folder(folder, recipe.fingerprint) as building:
        parts = sorted(run(partial(make_shard, measuring, building, pool), jobs), key=lambda part: part.number)
        index = write_parts(parts, listing.notes, building, folder, recipe)
    if pool is not None:
        with pool:
            for number, frame in enumerate(index.frames(["id", "split"])):
                for split, ids in frame.groupby("split", sort=False)["id"]:
                    pool.add_part(number, str(split), ids)
    return index


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
    listing = list_images(source, task)
    previous_index = None if previous is None else Index.of(previous)
    if previous_index is not None and unchanged(listing, previous_index):
        assert previous is not None
        return previous
    measuring = Measuring(source, task, workers, moved_rows(listing, previous_index), pool, progress)
    index = pd.concat(map(measuring, jobs_of(listing, previous_index)), ignore_index=True)
    index.attrs["notes"] = listing.notes
    return index


def index_fingerprint(table: Table, split: str) -> str:
    """Return a hash of the contents, labels and source groups of `split`, in their order; independent of file names
    and times: the `core.hashing.fingerprint` of the three lists, without holding them."""
    digest = hashlib.sha256(b"[[")
    for name in ("id", "label", "source"):
        digest.update(b"" if name == "id" else b"],[")
        first = True
        for frame in indexed(table).frames(["split", name]):
            values = frame.loc[frame["split"] == split, name].tolist()
            if values:
                text = json.dumps(values, separators=(",", ":"), ensure_ascii=False)[1:-1]
                digest.update((text if first else f",{text}").encode())
                first = False
    digest.update(b"]]")
    return digest.hexdigest()[:32]


def check_readable(table: Table) -> None:
    """Raise UserError if an image of the index is unreadable: names the first by path, and how many more there are."""
    unreadable = pd.concat([frame.loc[frame["error"] != ""] for frame in indexed(table).frames(["path", "error"])])
    if len(unreadable):
        first = unreadable.iloc[0]
        more = f" ({len(unreadable) - 1} more images of the task are unreadable)" if len(unreadable) > 1 else ""
        raise UserError(f"The image cannot be read: {first['error']}{more}", where=first["path"],
                        expected="an undamaged image file", do=UNREADABLE)


def check_index(table: Table, *, fakes_only: bool = False) -> None:
    """Raise UserError unless every split holds real and fake images and every image is readable.

    With `fakes_only` a task without any real image is accepted.
    """
    check_readable(table)
    index = indexed(table)
    counts = tally(index, ["split", "label"])
    labels = {label for _, label in counts}
    needed = (FAKE,) if fakes_only and labels == {FAKE} else (REAL, FAKE)
    for split in SPLITS:
        for label in needed:
            if not counts[split, label]:
                empty = not any(counts[split, other] for other in (REAL, FAKE))
                problem = "is empty" if empty else f"has no image of the class {CLASS_FOLDERS[label]}"
                raise UserError(f"The {split} split {problem}",
                                where=f"task {index.task}, split {split}" if index.task else f"split {split}",
                                expected="real and fake images in train, val and test",
                                do="add images there, or, for a task without real images in any split, say real: "
                                   "stored in the sequence; see docs/how-to/own-data.md")


def is_current(table: Table, source: Source, task: str) -> bool:
    """Return whether the source has the files that were indexed; see `refreshed`."""
    return refreshed(table, source, task) is not None


def refreshed(table: Table, source: Source, task: str) -> Table | None:
    """Return the index if the source has the files that were indexed, with current modification times; else None.

    Paths, splits, labels, classes, source photographs and sizes must be the same. A file of which only the modification
    time differs is read, and its content compared; none is decoded. UserError if the task does not exist or cannot be
    listed.
    """
    index, listing = indexed(table), list_images(source, task)
    changed = differences(listing, index)
    if changed is None or not changed.any():
        return None if changed is None else table

    def holds(file: tuple[str, str]) -> bool:
        try:
            return content_id(source.reader(file[0])()) == file[1]
        except OSError:
            return False

    files = index.take(np.flatnonzero(changed), ["path", "id"])
    pairs = list(zip(files["path"], files["id"], strict=True))
    if not all(thread_map(holds, pairs, workers=cores(), title=f"compare {task}", total=len(pairs), progress=True)):
        return None
    times = np.concatenate([frame["mtime_ns"].to_numpy() for frame in listing.parts()])
    return index.with_times(times) if isinstance(table, Index) else table.assign(mtime_ns=times)
