"""Sample sheets cut into their tiles, which then are the pictures of a source."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from PIL import Image

from fakemedia.artefacts.files import write_file
from fakemedia.core.hashing import fingerprint
from fakemedia.ingest import sheets
from fakemedia.ingest.sheets import Grid, grid_of, tile
from fakemedia.runtime.threads import cores, thread_map
from fakemedia.sources.excerpts import excerpt
from fakemedia.sources.source import Item, Note, Source, listed
from fakemedia.store import decode
from fakemedia.store.decode import DecodeError, read_picture

_TILE = re.compile(r"(?P<sheet>.*)#tile(?P<number>\d+)-(?P<side>\d+)\+(?P<padding>\d+)", re.DOTALL)
"""The path of a tile: that of its sheet, its number, its side and the width of the lines, pixels."""


@dataclass(frozen=True)
class CutSheets:
    """The pictures of `source`, sheets replaced by their tiles, which have the sheet as source, if it has no other.

    Which files are sheets is found by decoding each of them once; `cache` is the folder that keeps the results.
    """

    source: Source
    cache: Path

    @property
    def unread(self) -> dict[str, str]:
        """Archives of kinds that are not read, by path: what they are."""
        return getattr(self.source, "unread", {})

    def tasks(self) -> list[str]:
        """Return the names of the tasks, as the source does."""
        return self.source.tasks()

    def items(self, task: str) -> list[Item]:
        """Return the pictures and tiles of `task`."""
        return self.listing(task)[0]

    def listing(self, task: str) -> tuple[list[Item], list[Note]]:
        """Return the pictures and tiles of `task`, and the notes of the source with one for each sheet."""
        items, notes = listed(self.source, task)
        grids = self._grids(task, items)
        pictures = [picture for item in items for picture in _pictures(item, grids[item.path])]
        sheet_notes = [Note(kind="cut_sheet", path=path, warns=False,
                            detail=f"cut into {grid.tiles} tiles of {grid.side} pixels, which share it as source")
                       for path, grid in grids.items() if grid]
        return pictures, [*notes, *sheet_notes]

    def reader(self, path: str) -> Callable[[], bytes]:
        """Return a function that reads a picture, or a tile as PNG; OSError if it cannot be read."""
        match = _TILE.fullmatch(path)
        if match is None:
            return self.source.reader(path)
        return partial(_read_tile, self.source.reader(match["sheet"]), int(match["number"]), int(match["side"]),
                       int(match["padding"]))

    def _grids(self, task: str, items: list[Item]) -> dict[str, Grid | None]:
        """Return the grid of each file by its path, None for one that is no sheet."""
        path, grids = self.cache / f"{task}.json", _read(self.cache / f"{task}.json")
        new_items = [item for item in items if _key(item) not in grids]
        new_grids = thread_map(lambda item: _grid(self.source.reader(item.path)), new_items, workers=cores(),
                               title=f"sheets {task}", total=len(new_items), progress=True)
        grids |= {_key(item): grid for item, grid in zip(new_items, new_grids, strict=True)}
        if new_items:
            current = {_key(item): grids[_key(item)] for item in items}
            write_file(path, json.dumps({"grids": current, "sha256": _seal(current)}).encode())
        return {item.path: Grid(*grid) if (grid := grids[_key(item)]) else None for item in items}


def _pictures(item: Item, grid: Grid | None) -> list[Item]:
    if grid is None:
        return [item]
    return [replace(item, path=f"{item.path}#tile{number:04d}-{grid.side}+{grid.padding}",
                    source=item.source or item.path) for number in range(grid.tiles)]


def _key(item: Item) -> str:
    return f"{item.path}\n{item.bytes}\n{item.mtime_ns}"


def _read(path: Path) -> dict[str, list[int] | None]:
    """Return the cached grids; none if the file is missing, damaged or by other rules."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        content = json.loads(path.read_bytes())
        if _seal(content["grids"]) == content["sha256"]:
            return content["grids"]
    return {}


def _seal(grids: dict[str, list[int] | None]) -> str:
    return fingerprint({"grids": grids, "sheets": sheets.VERSION, "decode": decode.VERSION})


def _grid(read: Callable[[], bytes]) -> list[int] | None:
    with suppress(OSError, DecodeError):
        grid = grid_of(read_picture(read()).pixels)
        return None if grid is None else [grid.side, grid.padding, grid.tiles]
    return None


def _read_tile(read: Callable[[], bytes], number: int, side: int, padding: int) -> bytes:
    try:
        picture = read_picture(read())
        pixels = tile(picture.pixels, number, side, padding)
    except DecodeError as error:
        raise OSError(str(error)) from None
    return excerpt(Image.fromarray(pixels), codec=picture.codec, mode=picture.mode, quality=picture.quality)
