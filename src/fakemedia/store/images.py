"""The table of positions of the pictures in a pixel file, and their common facts."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from fakemedia.artefacts.files import sync

PIXELS, IMAGES = "pixels.u8", "images.parquet"
LOCATION_COLUMNS = ("id", "offset", "height", "width", "checksum")
"""The columns of every such table: content id, bytes before the picture, its size, and its `decode.checksum`."""
FORMAT = 3
"""Version of the files."""
_KEY = b"fakemedia.pictures"


@dataclass(frozen=True, kw_only=True)
class Facts:
    """Common facts of the pictures of a pixel file."""

    policy: str
    bytes: int
    """Size of the pixel file; 0 where pictures are decoded at every access."""
    task: str = ""
    split: str = ""
    images: int = 0
    streams: bool = False
    """Whether pictures are decoded at every access."""
    format: int = FORMAT
    decoder: dict[str, str] = field(default_factory=dict)
    """The versions of the libraries that decoded the pictures; see `store.decoders`."""
    faces: str = ""
    """The detector by which each picture was cropped to its largest face; empty: whole pictures."""


def write_images(table: pd.DataFrame, facts: Facts, folder: Path) -> None:
    """Write the table into `folder`, flushed to the disk."""
    arrow = pa.Table.from_pandas(table, preserve_index=False)
    metadata = json.dumps(asdict(facts)).encode()
    pq.write_table(arrow.replace_schema_metadata({**(arrow.schema.metadata or {}), _KEY: metadata}), folder / IMAGES)
    sync(folder / IMAGES)


def read_facts(folder: Path) -> Facts:
    """Return the facts of the pictures in `folder`; OSError, ValueError, KeyError or TypeError unless they exist in
    this format, and the pixel file has its size."""
    facts = Facts(**json.loads((pq.read_schema(folder / IMAGES).metadata or {})[_KEY]))
    if facts.format != FORMAT:
        raise ValueError(f"format {facts.format}")
    if not facts.streams and (folder / PIXELS).stat().st_size != facts.bytes:
        raise ValueError("the pixel file is not complete")
    return facts
