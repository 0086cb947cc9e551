"""The parts of an index as jobs: from their images, as listed and as indexed before, to the rows of the part."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import pandas as pd

from fakemedia.ingest.facts import UNMEASURED, measure
from fakemedia.ingest.listing import Listing, differences, find, known_rows
from fakemedia.ingest.parts import COLUMNS, PART_ROWS, Index, WrittenPart, read_part, write_part
from fakemedia.ingest.process_pool import picture_map
from fakemedia.sources.source import Source
from fakemedia.store.pool import Pool


def unchanged(listing: Listing, index: Index) -> bool:
    """Return whether every image is listed as it was indexed, and none is unreadable."""
    changed = differences(listing, index)
    if changed is None or changed.any():
        return False
    return not any((frame["error"] != "").to_numpy().any() for frame in index.frames(["error"]))


def moved_rows(listing: Listing, previous: Index | None) -> pd.DataFrame:
    """Return the measured facts of files that are no longer listed as they were, by content id.

    Failures are measured again, so they are not among them.
    """
    rows = pd.concat([unlisted for _, _, unlisted in known_rows(listing, previous)])
    return rows.drop_duplicates("id").set_index("id", drop=False).loc[:, list(UNMEASURED)]


def jobs_of(listing: Listing, previous: Index | None) -> Iterator[Job]:
    """Yield the images part by part, with the rows that are known of them."""
    parts = -(-len(listing) // PART_ROWS)
    for number, (images, known_part_rows, _) in enumerate(known_rows(listing, previous)):
        yield Job(number, parts, images, known_part_rows)


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
        numbers = find(self.images, rows)
        matching = rows.loc[numbers >= 0].set_axis(numbers[numbers >= 0]).drop(self.known.index, errors="ignore")
        return replace(self, known=pd.concat([self.known, matching]))


@dataclass(frozen=True)
class Measuring:
    """Measures the new images of a part and returns all its rows."""

    source: Source
    task: str
    workers: int
    moved: pd.DataFrame
    pool: Pool | None
    progress: bool

    def __call__(self, job: Job) -> pd.DataFrame:
        new_images = job.images.drop(job.known.index)
        function = partial(measure, policy=self.pool and self.pool.policy, known_ids=frozenset(self.moved.index))
        part_title = f", part {job.number + 1} of {job.parts}" if job.parts > 1 else ""
        new_facts, copies = {}, {}
        measured = picture_map(function, [self.source.reader(path) for path in new_images["path"]],
                               workers=self.workers, title=f"index {self.task}{part_title}", progress=self.progress)
        for (number, split), ((facts, check), pixels) in zip(new_images["split"].items(), measured, strict=True):
            if facts["id"] in self.moved.index:
                copies[number] = facts["id"]
            else:
                new_facts[number] = facts
            if self.pool is not None and pixels is not None:
                self.pool.add(split, facts["id"], pixels, check)
        facts = pd.concat([job.known[list(UNMEASURED)], self.moved.loc[list(copies.values())].set_axis(list(copies)),
                           pd.DataFrame(list(new_facts.values()), list(new_facts), list(UNMEASURED))]).sort_index()
        rows = job.images.assign(task=self.task, **{name: facts[name] for name in UNMEASURED})
        rows["source"] = rows["source"].where(rows["source"] != "", rows["id"])
        return rows.loc[:, list(COLUMNS)].astype(COLUMNS)


def make_part(measuring: Measuring, folder: Path, job: Job) -> WrittenPart:
    """Write a part of the index to `folder`."""
    return write_part(folder, job.number, measuring(job))


def make_shard(measuring: Measuring, folder: Path, pool: Pool | None, job: Job) -> WrittenPart:
    """Write a part of the index to `folder`, and its pictures to their own pool, so that any machine can make it.

    Images that an earlier attempt has measured are not measured again.
    """
    rows = read_part(folder, job.number)
    if rows is not None:
        job = job.resumed(rows)
    if pool is None:
        return make_part(measuring, folder, job)
    with pool.part(job.number) as part_pool:
        rows = replace(measuring, pool=part_pool)(job)
    return write_part(folder, job.number, rows)
