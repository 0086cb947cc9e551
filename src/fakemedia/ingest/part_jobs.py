"""The parts of an index as jobs: what is listed and known of their images, and the rows that are made of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from fakemedia.ingest.facts import UNMEASURED, measure
from fakemedia.ingest.listing import Listing, differences, find, known_rows
from fakemedia.ingest.parts import COLUMNS, PART_ROWS, Index, Written, read_part, write_part
from fakemedia.ingest.process_pool import picture_map
from fakemedia.sources.source import Source
from fakemedia.store.pool import Pool


def unchanged(listing: Listing, index: Index) -> bool:
    """Return whether every image is listed as it was indexed, and none is unreadable."""
    touched = differences(listing, index)
    if touched is None or touched.any():
        return False
    return not any((frame["error"] != "").to_numpy().any() for frame in index.frames(["error"]))


def moved_rows(listing: Listing, previous: Index | None) -> pd.DataFrame:
    """Return what was measured of files that are no longer listed as they were, by content id.

    Failures are repeated, so they are not among them.
    """
    rows = pd.concat([gone for _, _, gone in known_rows(listing, previous)])
    return rows.drop_duplicates("id").set_index("id", drop=False).loc[:, list(UNMEASURED)]


def jobs_of(listing: Listing, previous: Index | None) -> Iterator[Job]:
    """Yield the images part by part, with the rows that are known of them."""
    parts = -(-len(listing) // PART_ROWS)
    for number, (images, known, _) in enumerate(known_rows(listing, previous)):
        yield Job(number, parts, images, known)


@dataclass(frozen=True)
class Job:
    """A part of an index to be made."""

    number: int
    parts: int
    images: pd.DataFrame
    """As the source lists them."""
    known: pd.DataFrame
    """Rows of the previous index, by the number of the image here."""

    def resumed(self, rows: pd.DataFrame) -> Job:
        """Return the job with those of the `rows`, which an earlier attempt made, that are readable and listed so."""
        rows = rows.loc[rows["error"] == ""].drop_duplicates("path")
        at = find(self.images, rows)
        more = rows.loc[at >= 0].set_axis(at[at >= 0]).drop(self.known.index, errors="ignore")
        return replace(self, known=pd.concat([self.known, more]))


@dataclass(frozen=True)
class Measuring:
    """Measures the images of a part, those that are not known, and returns its rows."""

    source: Source
    task: str
    workers: int
    moved: pd.DataFrame
    pool: Pool | None
    progress: bool

    def __call__(self, job: Job) -> pd.DataFrame:
        new = job.images.drop(job.known.index)
        function = partial(measure, policy=self.pool and self.pool.policy, known=frozenset(self.moved.index))
        part = f", part {job.number + 1} of {job.parts}" if job.parts > 1 else ""
        found, copies = {}, {}
        measured = picture_map(function, [self.source.reader(path) for path in new["path"]], workers=self.workers,
                               title=f"index {self.task}{part}", progress=self.progress)
        for (number, split), ((facts, check), pixels) in zip(new["split"].items(), measured, strict=True):
            if facts["id"] in self.moved.index:
                copies[number] = facts["id"]
            else:
                found[number] = facts
            if self.pool is not None and pixels is not None:
                self.pool.add(split, facts["id"], pixels, check)
        facts = pd.concat([job.known[list(UNMEASURED)], self.moved.loc[list(copies.values())].set_axis(list(copies)),
                           pd.DataFrame(list(found.values()), list(found), list(UNMEASURED))]).sort_index()
        rows = job.images.assign(task=self.task, **{name: facts[name] for name in UNMEASURED})
        rows["source"] = rows["source"].where(rows["source"] != "", rows["id"])
        return rows.loc[:, list(COLUMNS)].astype(COLUMNS)


def make_part(make: Measuring, folder: Path, job: Job) -> Written:
    """Write a part of the index to `folder`."""
    return write_part(folder, job.number, make(job))


def make_shard(make: Measuring, folder: Path, pool: Pool | None, job: Job) -> Written:
    """Write a part of the index to `folder`, and its pictures to a pool of its own, so that it can be made anywhere.

    What an earlier attempt wrote there is not measured again.
    """
    rows = read_part(folder, job.number)
    if rows is not None:
        job = job.resumed(rows)
    if pool is None:
        return make_part(make, folder, job)
    with pool.part(job.number) as mine:
        rows = replace(make, pool=mine)(job)
    return write_part(folder, job.number, rows)
