"""Scores as text for the terminal."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

import pandas as pd

from fakemedia.evaluation.calibration import Calibration
from fakemedia.scoring.model import Facts
from fakemedia.scoring.paths import Found, shown

FEW = 20
"""Pictures that are listed one by one; of more, those with the highest P(fake)."""
HIGHEST = 5
VERDICTS = ("fake", "real", "unsure")


def describe(facts: Facts, place: Path) -> str:
    """Return what is used and how its scores are to be read."""
    return "\n".join([
        f"Detector: {shown(os.path.relpath(place))}",
        f"  {facts.network}, has learned {', '.join(facts.tasks)}; sees the centre {facts.crop} x {facts.crop} pixels",
        f"Calibration: {_reading(facts.calibration)}",
    ])


def _reading(calibration: Calibration | None) -> str:
    if calibration is None:
        return "none: P(fake) is the network's own, fake above 0.5, never unsure"
    low, high = calibration.unsure_low, calibration.unsure_high
    band = "every picture unsure" if calibration.always_unsure else (
        f"unsure from {low:.3f} to {high:.3f}" if low < high else "never unsure")
    return (f"on {calibration.images} validation images of {calibration.sources} sources: fake above "
            f"{calibration.threshold:.3f}, {band}\n  {calibration.guarantee}")


def summarise(scores: pd.DataFrame, found: Found) -> str:
    """Return the scores of a few pictures, or the highest of many; what was skipped and why; counts and speed."""
    scored = scores.loc[scores["error"] == ""]
    few = len(scored) <= FEW
    listed = scored if few else scored.sort_values("p_fake", ascending=False, kind="stable").head(HIGHEST)
    lines = [] if few else [f"The {HIGHEST} pictures with the highest P(fake):"]
    lines += ["P(fake)  verdict  picture"]
    lines += [f"{p_fake:7.3f}  {verdict:7}  {shown(path)}"
              for p_fake, verdict, path in zip(listed["p_fake"], listed["verdict"], listed["path"], strict=True)]
    lines += _skipped(scores, found)
    counts = Counter(scored["verdict"])
    lines += ["", f"{len(scored)} scored: {', '.join(f'{counts[verdict]} {verdict}' for verdict in VERDICTS)} "
                  f"({len(scores) / scores.attrs['seconds']:.0f} images a second)"]
    return "\n".join(lines)


def reasons(scores: pd.DataFrame, found: Found) -> list[str]:
    """Return a line for each file or folder that was skipped: its path and why."""
    skipped = scores.loc[scores["error"] != ""]
    pairs = [*zip(skipped["path"], skipped["error"], strict=True), *found.closed.items()]
    return [f"{shown(path)}: {why}" for path, why in pairs]


def _skipped(scores: pd.DataFrame, found: Found) -> Iterator[str]:
    lines = reasons(scores, found)
    if lines:
        yield ""
        yield f"{len(lines)} skipped:"
        yield from (f"  {line}" for line in shortened(lines))
    if found.others:
        yield ""
        yield (f"Passed over, by the end of their names: "
               f"{', '.join(f'{count} {suffix}' for suffix, count in found.others.most_common())}")


def shortened(lines: list[str]) -> Iterable[str]:
    """Return the lines, or the first FEW of them and how many there are besides."""
    return lines if len(lines) <= FEW else [*lines[:FEW], f"and {len(lines) - FEW} more"]
