"""The gate: may a candidate replace the champion? From the scores of both on the same pictures to a report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from fakemedia.core.errors import UserError
from fakemedia.core.types import FAKE, REAL
from fakemedia.evaluation.calibration import Calibration
from fakemedia.registry.gate_cases import REGRESSION
from fakemedia.registry.gate_config import GateConfig
from fakemedia.registry.gate_statistics import (
    CONFIDENCE,
    FAIL,
    PASS,
    POWER,
    TOO_FEW,
    Difference,
    Pictures,
    better,
    compare,
    more_pictures,
    not_worse,
    summary,
)

OLD, NEW, MEAN = "old", "new", "mean"
STATUS = {PASS: 0, FAIL: 3, TOO_FEW: 4}
"""Exit status of `kedro gate` by outcome."""
MAX_PICTURES = 100_000
"""Largest number of further test pictures that is still worth naming."""


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One of the two detectors."""

    number: int
    """Of its version."""
    content: str
    """`Version.content`."""
    origin: str
    tasks: tuple[str, ...]
    """Those that it has learned."""
    unlearned: tuple[str, ...] = ()
    """Those that were taken out of it, by `kedro unlearn`."""
    calibration: Calibration | None
    """That of as many crops as `scores` are of."""
    crops: int = 1
    """Crops of a picture, at most, that it is scored on where it serves."""
    scores: pd.DataFrame
    """On the test pictures of all tasks that either knows: id, task, label, source, logit."""


def judge(champion: Judged, candidate: Judged, config: GateConfig, cases: Sequence[dict[str, str]] = ()) -> dict:
    """Return the report of the gate as plain values, which `registry.promotion.read_gate` accepts as JSON.

    Old tasks are those that both know: the candidate may not be worse, by `delta` on average over them, and by
    `delta_task` on each. New ones are those that it alone knows: it must be better; the real pictures that fakes are
    compared with are, for a task of fakes only, those of the old tasks.
    Tasks that it has unlearned are named and not compared; it fails if it lacks others that the champion knows.
    UserError if a detector is not calibrated, if the pictures of the two differ, or if they have no task in common.
    """
    table = _paired(champion, candidate)
    absent = [task for task in champion.tasks if task not in candidate.tasks]
    old = [task for task in champion.tasks if task in candidate.tasks]
    if not old:
        raise UserError("Champion and candidate know no task in common: there is nothing to compare",
                        where=f"version {candidate.number} against version {champion.number}",
                        do="promote it with --force REASON, if you are sure")
    table = table.loc[~table["task"].isin(absent)]
    reals = table.loc[(table["label"] == REAL) & table["task"].isin(old)]
    by_task = {task: _pictures(table.loc[table["task"] == task]) for task in old}
    rows = [_not_worse(task, OLD, config.allowed_loss(len(old)), pictures) for task, pictures in by_task.items()]
    rows += [_not_worse("mean of the old tasks", MEAN, config.delta, *by_task.values())] if len(old) > 1 else []
    rows += [_new_task(task, table.loc[table["task"] == task], reals)
             for task in candidate.tasks if task not in champion.tasks]
    alarms = _false_alarms(table.loc[table["label"] == REAL], config)
    regressions = [case["path"] for case in cases if case["outcome"] == REGRESSION]
    lost = [task for task in absent if task not in candidate.unlearned]
    outcomes = [row["outcome"] for row in rows] + [alarms["outcome"]] + ([FAIL] if regressions or lost else [])
    return {"outcome": summary(outcomes), "candidate": candidate.content, "champion": champion.content,
            "versions": {"candidate": candidate.number, "champion": champion.number},
            "origins": {"candidate": candidate.origin, "champion": champion.origin},
            "crops": {"candidate": candidate.crops, "champion": champion.crops},
            "settings": {**asdict(config), "confidence": CONFIDENCE, "power": POWER}, "loosened": config.loosened(),
            "tasks": rows, "false_alarms": alarms, "cases": list(cases),
            "unlearned": [task for task in absent if task not in lost],
            "reasons": [*(reason for row in [*rows, alarms] for reason in [row["reason"]] if reason),
                        *(f"regression case {path}: the champion is right and the candidate is wrong"
                          for path in regressions),
                        *(f"{task}: the candidate has never learned it, and it was not taken out by kedro unlearn"
                          for task in lost)]}


def describe(report: dict[str, Any]) -> str:
    """Return the report of `judge` in lines for the terminal."""
    lines = [f"Version {report['versions']['candidate']} against the champion, version "
             f"{report['versions']['champion']}: {report['outcome']}"]
    lines += [f"  {row['task']:<21} {row['role']:<4}  {row['champion']:5.1f} % -> {row['candidate']:5.1f} %  "
              f"{row['difference']:+5.1f} points (at least {row['low']:+.1f})  {row['outcome']}"
              for row in report["tasks"]]
    if report["unlearned"]:
        lines.append(f"  unlearned, not compared: {', '.join(report['unlearned'])}")
    alarms = report["false_alarms"]
    lines.append(f"  {'false alarms':<27} {alarms['champion']:5.1f} % -> {alarms['candidate']:5.1f} %  "
                 f"{alarms['outcome']}")
    if report["loosened"]:
        lines.append(f"  loosened gate: {', '.join(report['loosened'])}")
    if report["cases"]:
        wrong = sum(case["outcome"] == REGRESSION for case in report["cases"])
        lines.append(f"  {'regression cases':<27} {wrong} of {len(report['cases'])}")
    return "\n".join([*lines, *(f"- {reason}" for reason in report["reasons"])])


def _paired(champion: Judged, candidate: Judged) -> pd.DataFrame:
    """Return task, label, source of each picture, and whether each detector is right at its threshold."""
    columns = ["id", "task", "label", "source"]
    if not champion.scores[columns].equals(candidate.scores[columns]):
        raise UserError("Champion and candidate were scored on different pictures", where="the gate",
                        do="run kedro gate again")
    table = champion.scores.loc[:, columns].copy()
    for name, judged in (("champion", champion), ("candidate", candidate)):
        if judged.calibration is None:
            raise UserError(f"Version {judged.number} is not calibrated: it gives no verdicts", where="the gate",
                            expected="calibrated detectors")
        table[name] = judged.calibration.is_fake(judged.scores["logit"].to_numpy()) == (table["label"] == FAKE)
    return table


def _pictures(rows: pd.DataFrame) -> Pictures:
    return Pictures(labels=rows["label"].to_numpy(), sources=rows["source"].to_numpy().astype(str),
                    champion=rows["champion"].to_numpy(bool), candidate=rows["candidate"].to_numpy(bool))


def _row(task: str, role: str, tasks: Sequence[Pictures], difference: Difference, outcome: str, margin: float,
         reason: str) -> dict[str, Any]:
    more = more_pictures(difference, margin) if outcome == TOO_FEW else 0
    labels = np.concatenate([pictures.labels for pictures in tasks])
    return {"task": task, "role": role, "real": int((labels == REAL).sum()), "fake": int((labels == FAKE).sum()),
            "sources": len({source for pictures in tasks for source in pictures.sources}),
            "champion": _mean(_balanced(pictures, pictures.champion) for pictures in tasks),
            "candidate": _mean(_balanced(pictures, pictures.candidate) for pictures in tasks),
            "difference": 100 * difference.estimate, "low": 100 * difference.low, "high": 100 * difference.high,
            "discordant_sources": difference.discordant, "negative_flips": 100 * _mean(
                pictures.negative_flips for pictures in tasks),
            "outcome": outcome, "more_pictures": more,
            "reason": "" if outcome == PASS else reason + _needed(more)}


def _needed(more: int) -> str:
    """Return how many more test pictures decide, to be added to a reason."""
    if more > MAX_PICTURES:
        return f": it is too close to the limit for fewer than {MAX_PICTURES:,} more test pictures to decide"
    return f": about {more:,} more test pictures are needed" if more else ""


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def _not_worse(name: str, role: str, points: float, *tasks: Pictures) -> dict[str, Any]:
    """Return the row of one old task, or of the mean over several, which may lose at most `points`."""
    delta, difference = points / 100, compare(*tasks)
    outcome = not_worse(difference, delta)
    reason = (f"{name}: {100 * difference.estimate:+.1f} points" if outcome == FAIL else
            f"{name}: a loss of {points:g} points cannot be ruled out")
    return _row(name, role, tasks, difference, outcome, delta + min(difference.estimate, 0.0), reason)


def _new_task(task: str, rows: pd.DataFrame, reals: pd.DataFrame) -> dict[str, Any]:
    pictures = _pictures(rows if REAL in set(rows["label"]) else pd.concat([rows, reals]))
    difference = compare(pictures)
    outcome = better(difference)
    reason = (f"{task}: the candidate is not better on the new task ({100 * difference.estimate:+.1f} points)"
            if outcome == FAIL else f"{task}: the gain on the new task is not certain")
    return _row(task, NEW, [pictures], difference, outcome, max(difference.estimate, 1e-3), reason)


def _false_alarms(rows: pd.DataFrame, config: GateConfig) -> dict[str, Any]:
    """Return the shares of real pictures called fake, percent, and whether the candidate's is allowed."""
    if rows.empty:
        raise UserError("No test picture is real: false alarms cannot be counted", where="the gate",
                        expected="real test pictures of at least one task")
    pictures = _pictures(rows)
    before, after = (100 * float(np.mean(~right)) for right in (pictures.champion, pictures.candidate))
    difference, delta = compare(pictures), config.delta / 100
    outcome = PASS if after <= config.false_alarms else FAIL
    if after > config.false_alarms < before:
        outcome = not_worse(difference, delta)
    more = more_pictures(difference, delta + min(difference.estimate, 0.0)) if outcome == TOO_FEW else 0
    reason = f"{after:.1f} % of the real pictures are called fake, {before:.1f} % by the champion"
    return {"real": len(rows), "champion": before, "candidate": after, "outcome": outcome, "more_pictures": more,
            "reason": "" if outcome == PASS else reason + _needed(more)}


def _balanced(pictures: Pictures, right: np.ndarray) -> float:
    """Return the balanced accuracy, percent; the accuracy on one class if there is only one."""
    return 100 * float(np.mean([right[pictures.labels == label].mean() for label in np.unique(pictures.labels)]))
