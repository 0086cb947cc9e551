"""An index of many rows: seconds and memory of listing them with splits by source group, indexing and auditing.

    python benchmarks/index_rows.py [--rows 300000 1000000 3000000 10000000] [--shards 1 2 4] [--folder DIR]

No picture is read. A program lists the files, in no order, four of each source photograph and without a split, and what
would be measured of a picture follows from its number. Of 5,000 images one is a copy of another photograph's picture,
and one nearly. Each phase runs in a process of its own; its line has seconds on the clock and of the processor, and the
largest memory of one process. With --shards the parts of the first of the --rows are made by so many processes, too,
and compared. DIR holds the index, about 1 GiB for ten million rows.
"""

from __future__ import annotations

import argparse
import hashlib
import multiprocessing
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from fakemedia.artefacts.manifest import Recipe, read_manifest
from fakemedia.core.types import SPLITS
from fakemedia.ingest import part_jobs
from fakemedia.ingest.audit import accept, audit_task
from fakemedia.ingest.collection import AuditConfig
from fakemedia.ingest.index import Run, index_fingerprint, index_parts
from fakemedia.ingest.listing import list_images
from fakemedia.ingest.parts import read_index
from fakemedia.reporting.audit_page import CAPTION, audit_figure, audit_page, gather_findings
from fakemedia.reporting.rendering import render_figure
from fakemedia.sources.source import Item, Note
from fakemedia.sources.splits import completed

CONFIG = AuditConfig(quarantine=("leak", "near_leak", "duplicate"))
RECIPE = Recipe(producer="benchmark", version=1)
STRIDE = 7919
"""The files are listed in another order than that of their paths; no multiple of it is a number of rows."""
PHASES = ("list", "index", "again", "audit", "split", "page")


@dataclass(frozen=True)
class Synthetic:
    """A source of `rows` images that exist in name only."""

    rows: int

    def tasks(self) -> list[str]:
        return ["task"]

    def items(self, task: str) -> list[Item]:
        return list(self.listing(task)[0])

    def listing(self, task: str) -> tuple[Iterable[Item], list[Note]]:
        return completed(self._items(), self._items()), []

    def _items(self) -> Iterator[Item]:
        for place in range(self.rows):
            number = place * STRIDE % self.rows
            yield Item(path=f"task/{number:09d}.jpg", split="", label=number % 2, class_name="",
                       source=f"photo{number // 4:08d}", bytes=20_000 + number % 7919, mtime_ns=10**18 + number)

    def reader(self, path: str) -> Callable[[], bytes]:
        return path.encode  # For `facts`, which needs the number alone.


def facts(read: Callable[[], bytes], policy: str | None, known: Iterable[str] = ()) -> tuple[tuple[dict, str], None]:
    """Return what `ingest.facts.measure` would, from the number in the path."""
    number = int(read()[5:-4])
    like = number - 7 if number % 5000 == 7 else number - 11 if number % 5000 == 11 else number
    drawn = hashlib.blake2b(like.to_bytes(8, "big"), digest_size=26).digest()
    near = int(number % 5000 == 11)
    content = drawn[:16].hex() if not near else hashlib.blake2b(read(), digest_size=16).hexdigest()
    phash = int.from_bytes(drawn[16:24], "big") ^ near
    return ({"id": content, "codec": "jpeg", "mode": "RGB", "width": 256, "height": 256, "quality": 90 + drawn[0] % 6,
             "phash": f"{phash:016x}", "mean": 60.0 + drawn[24] / 2, "spread": 30.0 + drawn[25] / 8, "tiles": 0,
             "error": ""}, ""), None


def without_pictures() -> None:
    """Let the index take `facts` for what is measured of a picture."""
    part_jobs.measure = facts


def sharded(shards: int) -> Run:
    """Return what makes the parts of an index in so many new processes, few jobs ahead."""
    def run(function: Callable[[Any], Any], jobs: Iterable[Any]) -> Iterator[Any]:
        with ProcessPoolExecutor(shards, multiprocessing.get_context("spawn"), without_pictures) as pool:
            waiting = deque()
            for job in jobs:
                waiting.append(pool.submit(function, job))
                if len(waiting) > 2 * shards:
                    yield waiting.popleft().result()
            yield from (each.result() for each in waiting)

    return run


def phase(name: str, rows: int, work: Path, shards: int) -> str:
    """Do one phase; return what it found."""
    source, folder, findings = Synthetic(rows), work / "index", work / "findings.parquet"
    without_pictures()
    if name == "list":
        return f"{len(list_images(source, 'task'))} files"
    if name == "index":
        index_parts(source, "task", folder, RECIPE, workers=1, run=sharded(shards) if shards else None, progress=False)
        manifest = read_manifest(folder, folder=True)
        assert manifest is not None
        return f"content {manifest.content[:8]}, {sum(size for size, _ in manifest.files.values()) / 2**20:.0f} MiB"
    index = read_index(folder)
    if name == "again":
        same = index_parts(source, "task", folder, RECIPE, workers=1, previous=index, progress=False) is index
        return "nothing changed" if same else "CHANGED"
    if name == "audit":
        found = audit_task(index, CONFIG)
        found.to_parquet(findings)
        return ", ".join(f"{kind} {count}" for kind, count in found["finding"].value_counts().items())
    found = pd.read_parquet(findings)
    if name == "split":
        kept = accept(index, found, CONFIG)
        return f"{len(kept)} kept, splits {' '.join(index_fingerprint(kept, split)[:8] for split in SPLITS)}"
    figure = render_figure("containers", audit_figure([index]), CAPTION)
    return f"{len(audit_page('many', [index], gather_findings([index], [found]), figure)) >> 10} KiB"


def measure(name: str, rows: int, work: Path, shards: int) -> None:
    """Print the line of a phase."""
    start = time.perf_counter()
    found = phase(name, rows, work, shards)
    clock = time.perf_counter() - start
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    spent = [use.ru_utime + use.ru_stime for use in (own, others)]
    parts = f" ({spent[0]:.1f} here, {spent[1]:.1f} in {shards} shards)" if shards else ""
    print(f"{rows:>9} rows  {name:<6} {clock:8.1f} s  processor {sum(spent):7.1f} s{parts}  "
          f"peak {max(own.ru_maxrss, others.ru_maxrss) / 1024:6.0f} MiB  {found}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[300_000, 1_000_000, 3_000_000, 10_000_000])
    parser.add_argument("--shards", type=int, nargs="*", default=[])
    parser.add_argument("--phases", nargs="+", default=PHASES, choices=PHASES)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, rows, shards = options.one
        measure(name, int(rows), options.folder, int(shards))
        return
    runs = [(name, rows, 0) for rows in options.rows for name in options.phases]
    runs += [("index", options.rows[0], shards) for shards in options.shards]
    with tempfile.TemporaryDirectory(dir=options.folder) as work:
        for name, rows, shards in runs:
            subprocess.run([sys.executable, __file__, "--folder", work, "--one", name, str(rows), str(shards)],
                           check=True)


if __name__ == "__main__":
    main()
