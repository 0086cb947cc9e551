"""Scores as text for the terminal."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fakemedia.core.errors import UserError
from fakemedia.evaluation.calibration import Calibration
from fakemedia.evaluation.novelty import QUANTILE, Novelty
from fakemedia.scoring.model import Facts
from fakemedia.scoring.paths import MediaFiles, shown
from fakemedia.scoring.scores import VERDICTS
from fakemedia.store.decoders import differences, installed
from fakemedia.store.faces import Detector

MAX_LISTED = 20
"""Pictures that are listed one by one; of more, those with the highest P(fake)."""
N_HIGHEST = 5
VERDICT_WIDTH = max(map(len, VERDICTS))
CLIP_COLUMNS = ("frames", "p_low", "p_high", "loudest")
"""The columns that only videos fill; see `score_clips`."""
NOT_INDEPENDENT = ("Intervals of videos (95 %) assume independent frames. Frames of one video are not, so that the "
                   "uncertainty is larger.")
MAX_FOLDERS = 20
"""Largest number of folders that are counted one by one."""


def describe(facts: Facts, path: Path, crops: int, faces: Detector | None = None) -> str:
    """Return the lines that tell which detector is used, on what, and how to interpret its scores."""
    weights = f", weights {facts.weights_sha256[:12]}" if facts.weights_sha256 else ""
    view = (f"up to {crops} crops of {facts.crop} x {facts.crop} pixels a picture, evenly spread" if crops > 1
            else f"the centre {facts.crop} x {facts.crop} pixels of a picture")
    return "\n".join([
        f"Detector: {shown(os.path.relpath(path))} ({facts.network}{weights})",
        f"  knows {', '.join(facts.tasks) or 'no task'}; fakes of other generators may be not flagged",
        f"  sees {view}",
        *_faces(facts, faces),
        *_other_decoders(facts),
        f"Calibration: {_calibration_text(facts.calibration, crops)}",
        f"Novelty: {_novelty_text(facts.novelty)}",
    ])


def _faces(facts: Facts, faces: Detector | None) -> Iterator[str]:
    """Yield a line on faces, with a warning if pictures are cropped differently from the training pictures."""
    if faces is not None:
        yield f"  of the largest face of each picture ({faces})"
    if facts.faces not in (None, faces):
        yield f"  warning: it was trained on faces that {facts.faces} found; without --faces they are found again"


def _other_decoders(facts: Facts) -> Iterator[str]:
    """Yield a warning if pictures are decoded by other libraries here than its training pictures were."""
    changes = differences(facts.decoder, installed(facts.decoder))
    if changes:
        yield (f"  warning: pictures are decoded by {', '.join(changes)}, with which it was trained: "
               "pixels of lossy formats may differ")


def _novelty_text(novelty: Novelty | None) -> str:
    if novelty is None:
        return "none, so that no picture is called unknown"
    return (f"unknown where a picture is farther from these tasks than {QUANTILE:.0%} of {novelty.images} validation "
            "images")


def _calibration_text(calibration: Calibration | None, crops: int) -> str:
    if calibration is None:
        return "none\n  P(fake) is the network's own and means nothing certain"
    warning = "\n  fitted to centre crops alone: P(fake) of several crops is not calibrated"
    note = warning if crops > 1 and calibration.several is None else ""
    calibration = calibration.for_crops(crops)
    low, high = calibration.unsure_low, calibration.unsure_high
    band = "every picture unsure" if calibration.always_unsure else (
        f"unsure from {low:.3f} to {high:.3f}" if low < high else "no unsure band")
    return (f"on {calibration.images} validation images of {calibration.sources} sources: fake above "
            f"{calibration.threshold:.3f}, {band}\n  {calibration.guarantee}{note}")


def summarise(scores: pd.DataFrame, media: MediaFiles) -> str:
    """Return the scores of a few pictures, or the highest of many; what was skipped and why; counts and speed."""
    scores = joined([scores])
    scored = scores.loc[scores["error"] == ""]
    is_short = len(scored) <= MAX_LISTED
    shown_rows = scored if is_short else scored.sort_values("p_fake", ascending=False, kind="stable").head(N_HIGHEST)
    lines = [] if is_short else [f"The {N_HIGHEST} files with the highest P(fake):"]
    lines += _rows(shown_rows)
    lines += [*_by_folder(scored), *_skipped(scores, media)]
    shares = scored.loc[scored["crops"] > 0, "seen"]
    share = f"{shares.median():.0%} of a picture was seen (median), " if len(shares) else ""
    if scored["frames"].any():
        lines += ["", NOT_INDEPENDENT]
    images = scores["frames"].clip(lower=1).sum()
    lines += ["", f"{len(scored)} scored: {_counts(Counter(scored['verdict']))}",
              f"{share}{images / scores.attrs['seconds']:.0f} images a second"]
    return "\n".join(lines)


def summarise_parts(parts: Sequence[Path], folder: Path) -> str:
    """Return the highest scores of all `parts` (see `scoring.score_parts`), what was skipped and why, and the counts.

    `folder` is what their paths are relative to. UserError if no file could be scored.
    """
    import pyarrow.parquet as pq

    columns = ["path", "p_fake", "verdict", "reason", "seen", "error", *CLIP_COLUMNS]
    counts, skipped, lines, highest = Counter(), 0, [], []
    for part in parts:
        rows = pq.read_table(part, columns=columns).to_pandas()
        rows["path"] = [os.path.normpath(folder / path) for path in rows["path"]]
        scored, failed = rows.loc[rows["error"] == ""], rows.loc[rows["error"] != ""]
        counts.update(scored["verdict"])
        highest = [pd.concat([*highest, scored]).sort_values("p_fake", ascending=False, kind="stable").head(N_HIGHEST)]
        skipped += len(failed)
        lines += reasons(failed, MediaFiles())[:MAX_LISTED - len(lines)]
    if not counts.total():
        raise UserError("No picture or video could be scored", where="; ".join(lines),
                        expected="picture or video files")
    text = ["", f"The {N_HIGHEST} files with the highest P(fake):", *_rows(highest[0])]
    if skipped:
        remainder = [f"  and {skipped - len(lines):,} more, in the column error"] if skipped > len(lines) else []
        text += ["", f"{skipped:,} skipped:", *(f"  {line}" for line in lines), *remainder]
    return "\n".join([*text, "", f"{counts.total():,} scored: {_counts(counts)}"])


def _rows(rows: pd.DataFrame) -> list[str]:
    """Return a line for each of the scores, under a header."""
    return [f"P(fake)  {'verdict':{VERDICT_WIDTH}}   seen  file"] + [
        f"{'      -' if np.isnan(p_fake) else f'{p_fake:7.3f}'}  {verdict:{VERDICT_WIDTH}} {seen:5.0%}  "
        + shown(path) + (f" ({note})" if note else "")
        for p_fake, verdict, seen, path, note in zip(
            *(rows[name] for name in ("p_fake", "verdict", "seen", "path")), map(_note, _named_tuples(rows)),
            strict=True)]


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return the scores of pictures (`score_files`) and videos (`score_clips`) as one table; pictures have 0 frames."""
    scores = pd.concat([table.assign(path=table["path"].astype(object)) for table in tables], ignore_index=True)
    scores = scores.reindex(columns=[*scores.columns, *(name for name in CLIP_COLUMNS if name not in scores)])
    scores = scores.fillna({"frames": 0, "loudest": ""}).astype({"frames": int, "loudest": object})
    scores.attrs["seconds"] = sum(table.attrs.get("seconds", 0.0) for table in tables)
    return scores


def _named_tuples(rows: pd.DataFrame) -> Iterator[Any]:
    return iter(rows.itertuples())


def _note(row: Any) -> str:
    """Return the note behind a file's path: of a video frames, interval and loudest frames; a reason."""
    if not row.frames:
        return row.reason
    span = "" if np.isnan(row.p_low) else f", {row.p_low:.3f} to {row.p_high:.3f}"
    frames = f"{row.frames} frame{'s' if row.frames > 1 else ''}{span}; loudest at {row.loudest}"
    return f"{frames}; {row.reason}" if row.reason else frames


def csv_table(scores: pd.DataFrame, facts: Facts, folder: Path) -> pd.DataFrame:
    """Return `scores` as written to a CSV file in `folder`: the `score_table`, in which numbers have 4 decimals."""
    rounded = scores.round({"p_fake": 4, "novelty": 4, "logit": 4, "seen": 4, "p_low": 4, "p_high": 4})
    table = score_table(rounded, facts, folder)
    table["threshold"] = [round(value, 4) for value in table["threshold"]]
    return table


def score_table(scores: pd.DataFrame, facts: Facts, folder: Path) -> pd.DataFrame:
    """Return `scores` as written to a file in `folder`: one row per file, skipped ones too.

    Paths are relative to `folder`. Columns: path, p_fake, verdict, reason, novelty
    (unknown above 1), logit, threshold (P(fake) above which a picture is flagged), crops, seen (share of the
    picture), width, height, sha256 (of the file), detector (SHA-256 of the weights), error; of a video, too: frames
    (0 of a picture), p_low, p_high, loudest.
    """
    table = scores.copy()
    table["path"] = pd.Series([os.path.relpath(path, folder) for path in scores["path"]], table.index, dtype=object)
    frames = scores["frames"].clip(lower=1) if "frames" in scores else 1
    has_several = scores["crops"] > frames
    table.insert(6, "threshold", [facts.calibration.for_crops(1 + is_several).threshold if facts.calibration else np.nan
                                  for is_several in has_several])
    table.insert(list(table).index("error"), "detector", facts.weights_sha256 or facts.fingerprint)
    return table


def _counts(verdicts: Counter[str]) -> str:
    return ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in VERDICTS if verdicts[verdict]) or "none"


def _by_folder(scored: pd.DataFrame) -> Iterator[str]:
    """Yield the counts of each folder, if there are several."""
    folders: dict[str, Counter[str]] = {}
    for path, verdict in zip(scored["path"], scored["verdict"], strict=True):
        folders.setdefault(os.path.dirname(path) or ".", Counter())[verdict] += 1
    if len(folders) > 1:
        yield ""
        for folder in sorted(folders)[:MAX_FOLDERS]:
            yield f"{shown(folder)}: {_counts(folders[folder])}"
        if len(folders) > MAX_FOLDERS:
            yield f"and {len(folders) - MAX_FOLDERS} more folders"


def reasons(scores: pd.DataFrame, media: MediaFiles) -> list[str]:
    """Return a line for each file or folder that was skipped: its path and why."""
    skipped = scores.loc[scores["error"] != ""]
    pairs = [*zip(skipped["path"], skipped["error"], strict=True), *media.unreadable.items()]
    return [f"{shown(path)}: {reason}" for path, reason in pairs]


def _skipped(scores: pd.DataFrame, media: MediaFiles) -> Iterator[str]:
    lines = reasons(scores, media)
    if lines:
        yield ""
        yield f"{len(lines)} skipped:"
        yield from (f"  {line}" for line in shortened(lines))
    if media.others:
        yield ""
        yield (f"Not read, by suffix: "
               f"{', '.join(f'{count} {suffix}' for suffix, count in media.others.most_common())}")


def shortened(lines: list[str]) -> Iterable[str]:
    """Return the lines, or the first MAX_LISTED of them and the number of the rest."""
    return lines if len(lines) <= MAX_LISTED else [*lines[:MAX_LISTED], f"and {len(lines) - MAX_LISTED} more"]
