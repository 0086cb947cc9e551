"""The audit of a task: problems of its data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from fakemedia.artefacts.manifest import Recipe
from fakemedia.core.errors import UserError
from fakemedia.core.types import CLASS_FOLDERS, FAKE, REAL, SPLITS
from fakemedia.ingest.collection import AuditConfig
from fakemedia.ingest.index import UNREADABLE, check_index
from fakemedia.ingest.parts import Index, Table, indexed, tally
from fakemedia.ingest.row_keys import MIN_SPREAD, Keys, hashes, row_keys
from fakemedia.ingest.shortcut import FACTS, container_auc
from fakemedia.store.faces import NO_FACE

VERSION = 3
"""Version of the rules below: raised when their results change."""
FAULT, WARNING, NOTE = "fault", "warning", "note"
COLUMNS = ("task", "finding", "severity", "split", "path", "id", "other", "left_out", "detail")
MAX_SAMPLE = 500_000
"""Most images of a task whose container facts are compared."""


def audit_task(table: Table, config: AuditConfig) -> pd.DataFrame:
    """Return the findings about one task, one row each, COLUMNS; an empty table if there are none.

    `severity` is `fault` (must be repaired or left out), `warning` or `note`; `path` and `id` name the image, if there
    is one, and `other` the image that it repeats; `left_out`: the image is in the quarantine.

    - `unreadable` (fault), `empty` (nearly constant picture), `sheet` (note: a grid of equal tiles);
    - `no_face` (note; always left out): where faces are asked for, none was found;
    - `duplicate`, `leak`, `contradiction`: the same file again in one split, in two splits, or as real and as fake;
      `near_duplicate`, `near_leak`: nearly the same picture (perceptual hashes within 3 of 64 bits, similar grey
      levels) of another source group in one split, or of any in two splits. The image named is the one that is left out
      first: from train before val before test;
    - `source_leak`: images of one source photograph, video or person are in two splits;
    - `imbalance`; `shortcut`: codec, mode, quality or size separate real from fake, in at most MAX_SAMPLE images;
    - `cut` (note): the split was made by rule;
    - notes of the source: `skipped`, `unplaced`, `spelling`; see `fakemedia.sources.source.Note`.
    """
    index = Index.of(_sorted(table)) if isinstance(table, pd.DataFrame) else table
    keys = row_keys(index)
    numbers = np.unique(np.concatenate([np.flatnonzero(keys.flagged), keys.copies(), keys.source_leaks()]))
    rows = index.take(numbers)
    findings = [finding for check in (_unreadable, _empty, _sheets, _copies) for finding in check(rows)]
    findings += [*_near_copies(index, keys), *_source_leaks(rows), *_imbalance(index, config.imbalance),
                 *_shortcut(index, config.shortcut_auc), *_cut(index), *_source_notes(index.notes)]
    table = pd.DataFrame(findings, columns=[name for name in COLUMNS if name not in ("task", "left_out")])
    table["left_out"] = table["finding"].isin((*config.quarantine, "no_face"))
    return table.fillna("").assign(task=index.task).loc[:, list(COLUMNS)]


def _sorted(table: pd.DataFrame) -> pd.DataFrame:
    """Return the rows in the order of their paths; `sort_values` keeps `attrs`."""
    return table.sort_values("path").reset_index(drop=True)


def findings_recipe(index: str, config: AuditConfig) -> Recipe:
    """Return what the findings about a task are made from: `index` is the `index_content` of its index."""
    return Recipe(producer="audit", version=VERSION, settings={"audit": config}, inputs={"index": index})


def shared_images(tables: Sequence[Table]) -> pd.DataFrame:
    """Return how many images any two tasks share, as notes in COLUMNS: the same file, in any split and class."""
    indexes = [indexed(table) for table in tables]
    rows = _in_several_tasks(indexes)
    order = {index.task: position for position, index in enumerate(indexes)}.get
    pairs = rows.merge(rows, on="id", suffixes=("", "_other"))
    pairs = pairs.loc[pairs["task"].map(order) < pairs["task_other"].map(order)]
    pairs = pairs.assign(crosses=(pairs["split"] == "train") != (pairs["split_other"] == "train"))
    findings = []
    for (task, other), shared in pairs.groupby(["task", "task_other"], sort=False):
        kinds = " and ".join(sorted(CLASS_FOLDERS[label] for label in shared["label"].unique()))
        findings.append({"task": task, "finding": "shared", "severity": NOTE, "other": other, "left_out": False,
                         "detail": f"{shared['id'].nunique()} images ({kinds}) are also in {other}; "
                         f"{shared['crosses'].sum()} of them in train of one task and held out in the other"})
    findings.sort(key=lambda finding: (order(finding["task"]), order(finding["other"])))
    return pd.DataFrame(findings, columns=list(COLUMNS)).fillna("")


def _in_several_tasks(indexes: list[Index]) -> pd.DataFrame:
    """Return the readable rows whose content is in several tasks: id, task, split and label."""
    contents = [np.unique(np.concatenate([hashes(pd.Series(frame.loc[frame["error"] == "", "id"]))
                                          for frame in index.frames(["id", "error"])])) for index in indexes]
    sorted_hashes = np.sort(np.concatenate([np.empty(0, np.uint64), *contents]))
    shared = np.unique(sorted_hashes[1:][sorted_hashes[1:] == sorted_hashes[:-1]])
    columns = ["id", "task", "split", "label"]
    frames = [pd.DataFrame(columns=columns)]
    for index in indexes if len(shared) else ():
        for frame in index.frames([*columns, "error"]):
            frames.append(frame.loc[(frame["error"] == "") & np.isin(hashes(frame["id"]), shared), columns])
    return pd.concat(frames, ignore_index=True)


def kept_rows(table: Table, findings: pd.DataFrame) -> Table:
    """Return the index without the images in the quarantine."""
    left_out = findings.loc[findings["left_out"].astype(bool), "path"].tolist()
    if isinstance(table, Index):
        return table.without(left_out)
    return table.loc[~table["path"].isin(left_out)].reset_index(drop=True)


def verdict(findings: pd.DataFrame) -> str:
    """Return `fail`, `warn` or `pass` for the findings outside the quarantine."""
    severities = set(findings.loc[~findings["left_out"].astype(bool), "severity"])
    return "fail" if FAULT in severities else "warn" if WARNING in severities else "pass"


def accept(index: Table, findings: pd.DataFrame, config: AuditConfig, *,
           page: Path | None = None, fakes_only: bool = False) -> Table:
    """Return the rows of the index that may be trained on and evaluated.

    UserError, which names the `page` of the audit: the verdict is `fail`, or `warn` if the collection is strict, or
    the quarantine leaves a split without a class (`fakes_only` allows a task without real images).
    """
    state = verdict(findings)
    if state == "fail" or (state == "warn" and config.strict):
        severity = FAULT if state == "fail" else WARNING
        rows = findings.loc[(findings["severity"] == severity) & ~findings["left_out"].astype(bool)]
        first = rows.iloc[0]
        kinds = ", ".join(f"{kind}: {count}" for kind, count in rows["finding"].value_counts().items())
        problem = f"The image cannot be read: {first['detail']}" if state == "fail" else (
            f"The audit warns, and the collection is strict: {first['finding']}, {first['detail']}")
        raise UserError(f"{problem} (in all {kinds})", where=first["path"] or f"task {first['task']}",
                        expected="data without such findings",
                        do=f"{UNREADABLE}; all findings: {page}" if page else "replace or remove it")
    kept = kept_rows(index, findings)
    check_index(kept, fakes_only=fakes_only)
    return kept


def _finding(kind: str, severity: str, row: Any = None, **fields: str) -> dict[str, str]:
    image = {} if row is None else {"split": row.split, "path": row.path, "id": row.id}
    return {"finding": kind, "severity": severity, **image, **fields}


def _named_tuples(rows: pd.DataFrame) -> Iterable[Any]:
    """Return the rows as named tuples."""
    return rows.itertuples()


def _unreadable(rows: pd.DataFrame) -> Iterator[dict[str, str]]:
    for row in _named_tuples(rows.loc[rows["error"] != ""]):
        if row.error == NO_FACE:
            yield _finding("no_face", NOTE, row, detail="no face was found, and it is left out")
        else:
            yield _finding("unreadable", FAULT, row, detail=str(row.error))


def _empty(rows: pd.DataFrame) -> Iterator[dict[str, str]]:
    for row in _named_tuples(rows.loc[(rows["error"] == "") & (rows["spread"] < MIN_SPREAD)]):
        yield _finding("empty", WARNING, row, detail=f"grey levels {row.mean:.0f} ± {row.spread:.1f}")


def _sheets(rows: pd.DataFrame) -> Iterator[dict[str, str]]:
    for row in _named_tuples(rows.loc[rows["tiles"] > 0]):
        yield _finding("sheet", NOTE, row,
                       detail=f"a grid of {row.tiles} equal tiles; cut_sheets: true in the collection's settings cuts "
                              "it")


def _copies(rows: pd.DataFrame) -> Iterator[dict[str, str]]:
    readable = _by_split(rows.loc[rows["error"] == ""])
    for _, group in readable.loc[readable.duplicated("id", keep=False)].groupby("id", sort=False):
        contradicts = group["label"].nunique() > 1
        kept = group.iloc[-1]
        for row in _named_tuples(group if contradicts else group.iloc[:-1]):
            if contradicts:
                other = group.loc[group["label"] != row.label].iloc[0]["path"]
                yield _finding("contradiction", WARNING, row, other=other, detail="the same file is real and fake")
            elif row.split == kept["split"]:
                yield _finding("duplicate", WARNING, row, other=kept["path"], detail="the same file again")
            else:
                yield _finding("leak", WARNING, row, other=kept["path"],
                               detail=f"the same file is in {row.split} and {kept['split']}")


def _near_copies(index: Index, keys: Keys) -> Iterator[dict[str, str]]:
    rows, pairs = keys.near()
    numbers = np.unique(rows[pairs])
    images = index.take(numbers, ["split", "path", "id"])
    for members in _clusters(pairs):
        cluster = images.iloc[np.searchsorted(numbers, rows[members])]
        kept = cluster.iloc[-1]
        for row in _named_tuples(cluster.iloc[:-1]):
            leaks = row.split != kept["split"]
            yield _finding("near_leak" if leaks else "near_duplicate", WARNING if leaks else NOTE, row,
                           other=kept["path"], detail="nearly the same picture"
                           + (f" is in {row.split} and {kept['split']}" if leaks else " again"))


def _by_split(rows: pd.DataFrame) -> pd.DataFrame:
    """Return the rows of train before those of val before those of test."""
    order = rows["split"].map({split: position for position, split in enumerate(SPLITS)}.get)
    return rows.iloc[np.argsort(order.to_numpy(), kind="stable")].reset_index(drop=True)


def _clusters(pairs: np.ndarray) -> list[np.ndarray]:
    """Return the sets of rows that `pairs` (P, 2) join, each sorted."""
    numbers, nodes = np.unique(pairs, return_inverse=True)
    nodes = nodes.reshape(pairs.shape)
    graph = coo_array((np.ones(len(pairs), bool), (nodes[:, 0], nodes[:, 1])), shape=(len(numbers), len(numbers)))
    _, cluster = connected_components(graph, directed=False)
    order = np.argsort(cluster, kind="stable")
    return np.split(numbers[order], np.flatnonzero(np.diff(cluster[order])) + 1) if len(numbers) else []


def _source_leaks(rows: pd.DataFrame) -> Iterator[dict[str, str]]:
    """Find images of a known source that has images in a later split: train before val before test."""
    with_source = _by_split(rows.loc[rows["source"] != rows["id"]])
    for source, group in with_source.groupby("source", sort=False):
        kept = group.iloc[-1]
        for row in _named_tuples(group.loc[group["split"] != kept["split"]]):
            yield _finding("source_leak", WARNING, row, other=kept["path"],
                           detail=f"images of the source {source} are in {row.split} and {kept['split']}")


def _source_notes(notes: list[dict[str, Any]]) -> Iterator[dict[str, str]]:
    for note in notes:
        yield _finding(note["kind"], WARNING if note["warns"] else NOTE, path=note["path"], detail=note["detail"])


def _imbalance(index: Index, max_ratio: float) -> Iterator[dict[str, str]]:
    by_error = tally(index, ["split", "label", "error"])
    if {label for _, label, _ in by_error} == {FAKE}:  # a task of fakes only: `accept` decides
        return
    counts: Counter[tuple] = Counter()
    for (split, label, error), count in by_error.items():
        counts[split, label] += count * (error != NO_FACE)
    for split in sorted({split for split, _ in counts}):
        real, fake = counts[split, REAL], counts[split, FAKE]
        if max(real, fake) > max_ratio * min(real, fake):
            yield _finding("imbalance", WARNING, split=str(split), detail=f"{real} real and {fake} fake images")


def _shortcut(index: Index, threshold: float) -> Iterator[dict[str, str]]:
    rows = index.sample(MAX_SAMPLE, [*FACTS, "label", "error"])
    aucs = container_auc(rows.loc[rows["error"] == ""])
    separating = [f"{fact} {auc:.2f}" for fact, auc in aucs.items() if auc > threshold]
    if separating:
        sampled = f" (of {len(rows)} images drawn at random)" if len(rows) < len(index) else ""
        yield _finding("shortcut", WARNING, detail=f"container facts separate real from fake, AUC{sampled}: "
                       + ", ".join(separating))


def _cut(index: Index) -> Iterator[dict[str, str]]:
    counts = tally(index, ["split", "cut"])
    if any(cut for _, cut in counts):
        sizes = ", ".join(f"{split} {counts[split, ''] + counts[split, 'rule']}" for split in SPLITS)
        yield _finding("cut", NOTE, detail=f"missing splits were made by rule: {sizes} images")
