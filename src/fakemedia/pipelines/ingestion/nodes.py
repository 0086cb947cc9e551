"""Nodes of the ingestion pipeline."""

from __future__ import annotations

import logging
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakemedia.core.errors import UserError
from fakemedia.runtime.threads import cores

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.context.context import Context
    from fakemedia.ingest.collection import CollectionConfig
    from fakemedia.ingest.parts import Index
    from fakemedia.reporting.rendering import RenderedFigure
    from fakemedia.runtime.cluster import ClusterConfig
    from fakemedia.sources.source import Source
    from fakemedia.store.pixels import PixelStore
    from fakemedia.store.pool import Room

logger = logging.getLogger(__name__)


def open_source(settings: CollectionConfig, *, context: Context, collection: str, tasks: tuple[str, ...]) -> Source:
    """Return the source of a collection; forged tasks are made first, unless they are current.

    UserError if the source lacks one of `tasks`.
    """
    from fakemedia.forge import forge
    from fakemedia.store.policies import policy_function

    policy_function(settings.policy)
    config = context.forge_config(collection)
    if config is not None:
        forge(config, Path(settings.source["root"]), tasks=tasks, workers=cores())
    source = context.open_source(collection)
    available = source.tasks()
    unread = getattr(source, "unread", {})
    missing = [task for task in tasks if task not in available]
    if missing:
        raise UserError(f"The collection {collection} lacks the tasks {', '.join(missing)}",
                        where=f"collections.{collection}.source", do="see docs/how-to/own-data.md",
                        expected=f"all tasks of the sequence; there are {', '.join(available) or 'none'}"
                                 + "".join(f"; {path} is {kind}, which is not read" for path, kind in unread.items()))
    return source


def index_images(settings: CollectionConfig, source: Source, *, task: str, folder: Path, pool: Path,
                 cluster: ClusterConfig) -> Index:
    """Return the index of a task, in `folder`: one row per image.

    Files that an index there contains are not decoded again, if it was made by the same code and settings; the decoded
    pictures are kept in `pool` for the stores. On a `cluster` the parts of a large task are made by several workers.
    """
    from fakemedia.artefacts.manifest import is_current
    from fakemedia.ingest.derived import derivation
    from fakemedia.ingest.index import index_parts, index_recipe
    from fakemedia.ingest.parts import read_index
    from fakemedia.runtime.cluster import is_connected, spread
    from fakemedia.store.pool import Pool

    previous, recipe = None, index_recipe(task, settings.source, derivation(settings))
    if is_current(folder, recipe, folder=True):
        with suppress(UserError):
            previous = read_index(folder)
    run = partial(spread, cluster, f"a part of the index of {task}") if is_connected() else None
    decoded_pool = None if settings.stream else Pool(pool, policy=settings.policy, room=_room(settings, pool.parent))
    return index_parts(source, task, folder, recipe, workers=cores(), previous=previous, pool=decoded_pool, run=run)


def _room(settings: CollectionConfig, task: Path) -> Room:
    """Return the disk space that the collection's other tasks leave to the task in the folder `task`."""
    from fakemedia.artefacts.files import GIB
    from fakemedia.store.pool import Room

    total = float("inf") if settings.max_gib is None else settings.max_gib * GIB
    used = sum(path.stat().st_size for path in task.parent.glob("*/*/pixels.u8") if path.parent.parent != task)
    return Room(total=total, remaining=total - used)


def audit_images(settings: CollectionConfig, index: Index) -> pd.DataFrame:
    """Return the findings about a task, one row each."""
    from fakemedia.ingest.audit import audit_task, verdict

    findings = audit_task(index, settings.audit_config)
    state = verdict(findings)
    counts = ", ".join(f"{kind} {count}" for kind, count in findings["finding"].value_counts().items())
    logger.log(logging.DEBUG if state == "pass" else logging.WARNING, "Audit of %s: %s%s", index.task, state,
               f" ({counts}; {findings['left_out'].sum()} left out)" if counts else "")
    return findings


def summarise_audit(*tables: Any) -> tuple[pd.DataFrame, str, list[RenderedFigure]]:
    """Return the findings about all tasks, the verdict and counts as JSON, and the figure of the audit.

    `tables` are the indexes and then the findings of the tasks.
    """
    from fakemedia.reporting.audit_page import audit_caption, audit_figure, audit_summary, gather_findings
    from fakemedia.reporting.rendering import render_figure

    half = len(tables) // 2
    indexes, findings = list(tables[:half]), gather_findings(tables[:half], tables[half:])
    figure = render_figure("containers", audit_figure(indexes), audit_caption(half, max(map(len, indexes))))
    return findings, audit_summary(indexes, findings), [figure]


def write_audit_page(findings: pd.DataFrame, figures: list[RenderedFigure], *indexes: Index, sequence: str) -> str:
    """Return the audit of all tasks as one HTML page."""
    from fakemedia.reporting.audit_page import audit_page

    return audit_page(sequence, list(indexes), findings, figures[0])


def store_pixels(settings: CollectionConfig, index: Index, source: Source, findings: pd.DataFrame, *pages: str,
                 folders: dict[str, Path], pool: Path, audit: Path,
                 fakes_only: bool = False) -> tuple[PixelStore, ...]:
    """Return the pixel stores of a task, one per split, in `folders`; current ones are reused.

    The `pages` of the audit are not read, but they are written, one as `audit`, before data are refused.
    UserError, which names the page, if the audit refuses the data; the quarantine's images are left out. A task of
    fakes only is refused too, unless that is allowed.
    """
    from fakemedia.artefacts.files import move_away
    from fakemedia.ingest.audit import accept
    from fakemedia.ingest.build_store import ensure_store

    accepted = accept(index, findings, settings.audit_config, page=audit, fakes_only=fakes_only)
    room = _room(settings, pool.parent)
    stores = tuple(ensure_store(accepted, source, split, folder, policy=settings.policy, pool=pool / split, room=room,
                                stream=settings.stream, workers=cores()) for split, folder in folders.items())
    move_away(pool)
    return stores


def gather(*stores: PixelStore) -> dict[str, PixelStore]:
    """Return the stores of one split by task, in the order of the sequence."""
    return {store.task: store for store in stores}
