"""Trees of small pictures, in folders and archives, for tests of sources."""

from __future__ import annotations

import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from fakemedia.core import plugin
from fakemedia.core.types import CLASS_FOLDERS
from fakemedia.ingest.audit import audit_task
from fakemedia.ingest.collection import AuditConfig
from fakemedia.ingest.index import build_index
from fakemedia.sources.source import Source

COUNTS = {"train": 20, "val": 8, "test": 8}
TOTAL = 72
Namer = Callable[[str, int, int], str]


def write_tree(root: Path, task: str = "a", *, splits: dict[str, str] | None = None,
               classes: tuple[str, str] = CLASS_FOLDERS, name: Namer = lambda split, label, number: f"{number:03d}.png",
               codec: str | None = None) -> Path:
    rng = np.random.default_rng(sum(map(ord, task)))
    for split, count in COUNTS.items():
        for label, folder in enumerate(classes):
            for number in range(count):
                path = root / task / (splits or {}).get(split, split) / folder / name(split, label, number)
                path.parent.mkdir(parents=True, exist_ok=True)
                coarse = Image.fromarray(rng.integers(0, 256, (8, 8, 3), dtype=np.uint8))
                coarse.resize((32, 32), Image.Resampling.BICUBIC).save(path, codec)
    return root


def packed(root: Path, to: Path, *, separator: str = "/") -> Path:
    with zipfile.ZipFile(to, "w") as file:
        for path in sorted(path for path in root.rglob("*") if path.is_file()):
            file.writestr(path.relative_to(root).as_posix().replace("/", separator), path.read_bytes())
    return to


def open_source(name: str, root: Path, **settings: object) -> Source:
    return plugin.create("sources", name, {"root": str(root), **settings})


def checked(source: Source, task: str = "a", *, strict: bool = False) -> tuple[pd.DataFrame, pd.DataFrame]:
    index = build_index(source, task, workers=1, progress=False)
    return index, audit_task(index, AuditConfig(strict=strict))


def counts(index: pd.DataFrame) -> dict[str, int]:
    return dict(Counter(index["split"]))


FULL = {split: 2 * count for split, count in COUNTS.items()}
