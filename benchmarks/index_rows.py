"""How the index of one task grows: seconds and memory of writing, hashing, reading, auditing, and hashing its splits.

    python benchmarks/index_rows.py [--rows 30000 100000 300000]

The rows are synthetic: no picture is read. Each size runs in a process of its own; the last number is the growth of its
peak memory after the rows were made.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fakemedia.core.types import SPLITS
from fakemedia.ingest.audit import audit_task
from fakemedia.ingest.collection import AuditConfig
from fakemedia.ingest.index import COLUMNS, index_content, index_fingerprint, read_index, write_index


def synthetic(rows: int) -> pd.DataFrame:
    """Return an index of `rows` pictures without faults, four of each source photograph."""
    draw = np.random.default_rng(0)
    hashes = [f"{high:016x}" for high in draw.integers(0, 2**63, rows)]
    numbers = np.arange(rows)
    label = numbers % 2
    split = np.array(SPLITS)[(numbers // 4 % 10).clip(7) - 7]
    index = pd.DataFrame({
        "id": [f"{number:032x}" for number in numbers], "path": [f"/data/task/{number:09d}.jpg" for number in numbers],
        "task": "task", "split": split, "label": label, "class_name": np.array(["0_real", "1_fake"])[label],
        "source": [f"photo{number // 4:08d}" for number in numbers], "codec": "JPEG", "mode": "RGB", "width": 256,
        "height": 256, "bytes": draw.integers(20_000, 60_000, rows), "mtime_ns": 10**18 + numbers, "quality": 95,
        "phash": hashes, "mean": draw.uniform(40, 200, rows), "spread": draw.uniform(20, 80, rows), "tiles": 0,
        "cut": "", "error": "",
    }).astype(COLUMNS)
    index.attrs["notes"] = []
    return index


def peak() -> float:
    """Return the largest memory of this process so far, MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measure(rows: int) -> None:
    """Print a line for each step: processor seconds, and how much the peak memory has grown, MiB."""
    index = synthetic(rows)
    start = peak()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "index.parquet"
        steps: dict[str, Callable[[], Any]] = {
            "write": lambda: write_index(index, path), "hash": lambda: index_content(index),
            "read": lambda: read_index(path), "splits": lambda: [index_fingerprint(index, split) for split in SPLITS],
            "audit": lambda: audit_task(index, AuditConfig()),
        }
        for name, step in steps.items():
            begun = time.process_time()
            step()
            print(f"{rows:>9} rows  {name:<7} {time.process_time() - begun:8.2f} s  peak {peak():8.0f} MiB, "
                  f"{peak() - start:+.0f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[30_000, 100_000, 300_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        measure(options.one)
        return
    for rows in options.rows:
        subprocess.run([sys.executable, __file__, "--one", str(rows)], check=True)


if __name__ == "__main__":
    main()
