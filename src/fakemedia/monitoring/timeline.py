"""The windows of every source, judged one after another: the results that `kedro monitor` prints and stores.

A stream is the pictures of one source, or of all sources together, that one detector scored. Its first windows are the
reference. They are stored with the results, so that the log may drop them, and a later run continues after the last
window.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pandas as pd

from fakemedia.artefacts.manifest import Recipe
from fakemedia.monitoring.drift import STATISTICS, Reference, Window, exceeded, make_reference, measure
from fakemedia.monitoring.monitoring_config import MonitoringConfig

VERSION = 2
"""Version of windows and alarms: raised when the same log gives others. 2: lower thresholds of mmd and ks."""
ALL = "all"
KEYS = ["detector", "scope", "source"]
"""Of a stream: content hash of the version; `all`, or `source`; the name of the source, empty for all."""
WINDOW_KEYS = ["made_by", *KEYS, "number"]
FACTS = ["made_by", *KEYS, "version", "number", "last_id", "start", "end", "pictures", "kind"]
COLUMNS = [*FACTS, *STATISTICS, *(f"{name}_threshold" for name in STATISTICS), "exceeded", "alarm"]
"""Of the table of windows. `kind` is reference or judged; `exceeded` and `alarm` name statistics, with spaces."""
REFERENCE_COLUMNS = ["made_by", *KEYS, "number", "logit", "unsure", "unknown", "embedding"]


@dataclass(frozen=True, kw_only=True)
class Stream:
    """The pictures of one source that one detector scored."""

    detector: str
    """Content hash of the version."""
    source: str | None
    """None: all sources together."""

    @property
    def keys(self) -> dict[str, str]:
        """The values of KEYS."""
        return {"detector": self.detector, "scope": ALL if self.source is None else "source",
                "source": self.source or ""}


Windows = Callable[[Stream, int], Iterator[pd.DataFrame]]
"""Yields the windows of a stream after the row of the log with that id: tables of `serving.log.read_windows`."""


def made_by(config: MonitoringConfig) -> str:
    """Return the fingerprint of the settings that windows depend on."""
    return Recipe(producer="windows", version=VERSION, settings={
        "window": config.window, "reference": config.reference, "since": config.begin}).fingerprint


def no_windows() -> pd.DataFrame:
    """Return a table of windows without rows."""
    return pd.DataFrame(columns=COLUMNS)


def judge(streams: Iterable[Stream], windows: Windows, config: MonitoringConfig, before: pd.DataFrame,
          reference: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of windows (COLUMNS) and of reference pictures (REFERENCE_COLUMNS), with the new rows.

    `before` and `reference` are the tables of the previous call; rows made with other settings are dropped.
    """
    recipe = made_by(config)
    before, reference = (table.loc[table["made_by"] == recipe] for table in (before, reference))
    rows, pictures = [before], [reference]
    for stream in streams:
        earlier_windows, reference_rows = _rows_of(before, stream), _rows_of(reference, stream)
        last = None if earlier_windows.empty else earlier_windows.to_dict("records")[-1]
        members = [_window(part) for _, part in reference_rows.groupby("number", sort=True)]
        tables = windows(stream, 0 if last is None else int(last["last_id"]))
        stream_rows, new_reference = _judged(tables, members, last, config)
        rows.append(pd.DataFrame([{"made_by": recipe, **stream.keys, **row} for row in stream_rows], columns=COLUMNS))
        pictures += [_reference_rows(table, {"made_by": recipe, **stream.keys, "number": number})
                     for number, table in new_reference]
    return _joined(rows), _joined(pictures)


def _joined(tables: list[pd.DataFrame]) -> pd.DataFrame:
    """Return `tables` as one; those without rows are ignored, so that column types stay."""
    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def alarms(windows: pd.DataFrame, before: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of `windows` with an alarm that are not in `before`, or are the last of their stream."""
    latest = ~windows.duplicated(KEYS, keep="last")
    return windows.loc[(windows["alarm"] != "") & (latest | ~windows["last_id"].isin(before["last_id"].tolist()))]


def _rows_of(table: pd.DataFrame, stream: Stream) -> pd.DataFrame:
    mask = (table[KEYS].to_numpy(object) == np.array(list(stream.keys.values()), object)).all(axis=1)
    return pd.DataFrame(table.loc[mask])


def _judged(tables: Iterator[pd.DataFrame], members: list[Window], last: Mapping[str, Any] | None,
            config: MonitoringConfig) -> tuple[list[dict], list[tuple[int, pd.DataFrame]]]:
    """Return the rows of the windows in `tables`, and the numbered tables that are added to the reference.

    `members` are the windows of the reference, `last` is the row of the window before.
    """
    number, exceeded_before = (0, ()) if last is None else (int(last["number"]), tuple(str(last["exceeded"]).split()))
    rows, new_reference, reference = [], [], None
    for table in tables:
        number += 1
        row = {"version": int(table["version"].iloc[-1]), "number": number, "last_id": int(table["id"].iloc[-1]),
               "start": float(table["time"].iloc[0]), "end": float(table["time"].iloc[-1]), "pictures": len(table),
               "kind": "reference", "exceeded": "", "alarm": ""}
        if len(members) < config.reference:
            members.append(_window(table))
            new_reference.append((number, table))
        else:
            reference = reference or make_reference(members)
            row |= _measured(_window(table), reference, exceeded_before)
            exceeded_before = tuple(row["exceeded"].split())
        rows.append(row)
    return rows, new_reference


def _measured(window: Window, reference: Reference, exceeded_before: tuple[str, ...]) -> Mapping[str, object]:
    values = measure(window, reference)
    names = exceeded(values, reference.thresholds)
    thresholds = {f"{name}_threshold": threshold for name, threshold in reference.thresholds.items()}
    return {"kind": "judged", **values, **thresholds,
            "exceeded": " ".join(names), "alarm": " ".join(name for name in names if name in exceeded_before)}


def _window(table: pd.DataFrame) -> Window:
    """Return rows of the log, or of the reference, as a window."""
    embeddings = table["embedding"].tolist()
    arrays = [np.frombuffer(row, "<f2") if isinstance(row, bytes) else row for row in embeddings if row is not None]
    flags = {name: (table[name] if name in table else table["verdict"] == name).to_numpy(bool)
             for name in ("unsure", "unknown")}
    return Window(logits=table["logit"].to_numpy(float), embeddings=np.stack(arrays).astype(np.float32)
                  if len(arrays) == len(embeddings) else None, **flags)


def _reference_rows(table: pd.DataFrame, keys: Mapping[str, object]) -> pd.DataFrame:
    rows = {"logit": table["logit"], "unsure": table["verdict"] == "unsure", "unknown": table["verdict"] == "unknown",
            "embedding": [None if embedding is None else embedding.astype("<f2").tobytes()
                          for embedding in table["embedding"]]}
    return pd.DataFrame(rows, index=table.index).assign(**keys).loc[:, REFERENCE_COLUMNS]


def no_reference() -> pd.DataFrame:
    """Return a table of reference pictures without rows."""
    return pd.DataFrame(columns=REFERENCE_COLUMNS)


def line(row: Mapping[str, Any]) -> str:
    """Return one line on a window, for the terminal."""
    where = "all sources" if row["scope"] == ALL else row["source"] or "without a source"
    end = datetime.fromtimestamp(row["end"], UTC).strftime("%Y-%m-%d %H:%M")
    head = f"{end}  version {row['version']}  {where}  window {row['number']}"
    if row["kind"] == "reference":
        return f"{head}  reference"
    values = "  ".join(f"{name} {row[name]:.3f}/{row[f'{name}_threshold']:.3f}" for name in STATISTICS
                       if not pd.isna(row[name]))
    result = f"ALARM: {row['alarm']}" if row["alarm"] else f"above: {row['exceeded']}" if row["exceeded"] else "quiet"
    return f"{head}  {values}  {result}"
