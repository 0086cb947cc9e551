"""The table `sources.csv` in a task's folder: which photograph, video or person each image was made from."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import replace

from fakemedia.core.errors import UserError
from fakemedia.sources.source import Item
from fakemedia.sources.split_names import canonical
from fakemedia.sources.text_table import decoded, header_of

SOURCES_TABLE = "sources.csv"
"""Its name, in any case; its columns are `path`, relative to the task's folder, and `source`."""


def is_sources_table(name: str) -> bool:
    """Return whether a file of that name is a table of sources."""
    return name.lower() == SOURCES_TABLE


def with_sources(items: Iterable[Item], table: bytes, folder: str, where: object) -> list[Item]:
    """Return `items` with the source that `table` gives each: `folder` is the task's folder inside the source.

    UserError, about the file `where`: the table is malformed, or lacks an image.
    """
    groups = _groups(table, where)
    sourced_items = []
    for item in items:
        path = item.path.removeprefix(f"{folder}/")
        if canonical(path) not in groups:
            raise UserError(f"The image {item.path} has no row in the table of sources", where=where,
                            expected="a row for every image of the task",
                            do="add the row, or remove the table to make each image its own source")
        sourced_items.append(replace(item, source=groups[canonical(path)]))
    return sourced_items


def _groups(table: bytes, where: object) -> dict[str, str]:
    """Return the source of each image by path, as `canonical` spells it."""
    text = decoded(table, where)
    delimiter, columns = header_of(text, ("path", "source"), where)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    groups: dict[str, str] = {}
    try:
        next(rows)
        for number, values in enumerate(rows, start=2):
            row = dict(zip(columns, values, strict=False))
            path, source = canonical(row.get("path", "")), row.get("source")
            if not path or not source or path in groups:
                raise UserError(f"Row {number} of the table of sources cannot be used: {row}", where=where,
                                expected="the columns path and source, both filled, each path once")
            groups[path] = source
    except csv.Error as error:
        raise UserError(f"The table of sources cannot be read: {error}", where=where) from None
    return groups
