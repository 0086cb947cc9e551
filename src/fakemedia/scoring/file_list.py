"""The files of a large scoring run, listed once and cut into shards: a resumed run, or a worker, scores the same files.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from fakemedia.artefacts.files import replacing
from fakemedia.scoring.paths import MediaFiles, iterate_media, no_media_error

SHARD = 1024
"""Files of a shard, whose scores are one part of the result."""
SCHEMA = pa.schema([("path", pa.binary()), ("clip", pa.bool_())])
"""Absolute path, as the system's bytes, and whether the file is a video."""


def write_list(patterns: Sequence[str], path: Path) -> MediaFiles:
    """Write the pictures and videos at the paths `patterns` to the Parquet file `path`, a row group for each shard.

    Return the other files there, and the folders that cannot be listed. Files are in the order of
    `paths.iterate_media`. Memory is that of the names in the largest folder. UserError if a path does not exist, or
    there is no file.
    """
    others, count = MediaFiles(), 0
    media = iterate_media(patterns, others)
    with replacing(path) as scratch, pq.ParquetWriter(scratch, SCHEMA) as writer:
        while shard := list(islice(media, SHARD)):
            paths, clips = zip(*((os.fsencode(os.path.abspath(path)), is_clip) for path, is_clip in shard), strict=True)
            writer.write_table(pa.table([pa.array(paths, pa.binary()), pa.array(clips, pa.bool_())], schema=SCHEMA))
            count += len(shard)
        if not count:
            raise no_media_error(patterns, others)
    return others


def shard_sizes(path: Path) -> list[int]:
    """Return the number of files in each shard of the list `path`."""
    facts = pq.read_metadata(path)
    return [facts.row_group(number).num_rows for number in range(facts.num_row_groups)]


def read_shard(path: Path, number: int) -> MediaFiles:
    """Return the files of a shard of the list `path`."""
    rows = pq.ParquetFile(path).read_row_group(number)
    media = MediaFiles()
    for name, is_clip in zip(rows["path"].to_pylist(), rows["clip"].to_pylist(), strict=True):
        (media.clips if is_clip else media.files).append(Path(os.fsdecode(name)))
    return media
