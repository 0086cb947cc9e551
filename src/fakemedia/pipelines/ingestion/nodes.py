"""Nodes of the ingestion pipeline."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from fakemedia import project

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.data.pixels import PixelStore
    from fakemedia.data.sources.base import Source


def workers() -> int:
    """Return how many workers decode images: one a core that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def open_source(*, collection: str, tasks: tuple[str, ...]) -> Source:
    """Return the source of a data collection; what the forge makes is made first, unless it is there unchanged."""
    from fakemedia.data.forge import forge

    config = project.forge_config(collection)
    if config is not None:
        forge(config, Path(project.collection(collection)["source"]["root"]), tasks=tasks, workers=workers())
    return project.open_source(collection)


def index_images(source: Source, *, task: str) -> pd.DataFrame:
    """Return the validated index of a task: one row an image."""
    from fakemedia.data.index import build_index, check_index

    index = build_index(source, task, workers=workers())
    check_index(index)
    return index


def store_pixels(index: pd.DataFrame, source: Source, *, folders: dict[str, Path],
                 policy: str) -> tuple[PixelStore, ...]:
    """Return the pixel stores of a task, one a split, decoded into `folders` unless they lie there unchanged."""
    from fakemedia.data.pixels import ensure_store

    return tuple(ensure_store(index, source, split, folder, policy=policy, workers=workers())
                 for split, folder in folders.items())


def gather(*stores: PixelStore) -> dict[str, PixelStore]:
    """Return the stores of one split by task, in the order of the sequence."""
    return {store.task: store for store in stores}
