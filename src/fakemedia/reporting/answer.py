"""The result in a few sentences: which method to use, what was forgotten, and how far to trust it.

All sentences follow from `Tables`; what the numbers do not show is left out, or called unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from fakemedia.reporting.estimates import MIN_SEEDS, SIGNIFICANT
from fakemedia.reporting.formats import interval, number
from fakemedia.reporting.tables import Tables

CHANCE_ACCURACY = 55.0
"""Accuracy, percent, up to which a task counts as not known: half of the images are of each class."""
USABLE = 80.0
"""Accuracy, percent, that a detector must reach on the real and on the fake images of every task to be usable."""
FORGETTING_POINTS = 10.0
"""Points of forgetting from which on a task is named."""
MAX_NAMED = 3
"""Tasks that are named, at most."""
SEPARABLE_AUC = 0.8
"""AUC from which on another threshold would separate most images of a task."""


@dataclass(frozen=True)
class Answer:
    """The result of a sequence as sentences."""

    sentences: tuple[str, ...]
    command: str
    """The shell line to run next."""


def answer(tables: Tables) -> Answer:
    """Return the conclusions, the most important first, and what to run next."""
    ranked = [method for method in tables.scored if method not in tables.unranked]
    averages = {method: value for method, value in _means(tables, "aa").items() if not np.isnan(value)}
    ranked = [method for method in ranked if method in averages]
    run = f"kedro run --pipelines {tables.sequence}"
    if not ranked:
        return Answer(("No method has been scored after the last stage: there is no result yet.",),
                      f"{run} --only-missing-outputs")
    best = max(ranked, key=lambda method: averages[method])
    if not any(value > CHANCE_ACCURACY for value in _learned(tables)):
        return Answer((
            "Nothing was learned: every method is at chance (50 %) on every task, even just after learning it.",
            "No detector is fit for use. Train for more epochs, with another learning rate, or from pretrained "
            "weights.", *_missing(tables)), run)
    usable = next((method for method in (best, tables.upper)
                   if method in averages and not _failures(tables, method)), None)
    command = (f"{run} --only-missing-outputs" if tables.notices
               else f"{run} --params n_seeds={MIN_SEEDS}" if min(map(tables.seeds_of, ranked)) < MIN_SEEDS
               else f"kedro score my_pictures --checkpoint {tables.sequence}/{usable}" if usable
               else f"{run} --only-missing-outputs")
    return Answer((_against_baseline(tables, ranked, best), *_gap(tables, ranked, averages), *_forgotten(tables, best),
                   _advice(tables, best), *_missing(tables)), command)


def _against_baseline(tables: Tables, ranked: Sequence[str], best: str) -> str:
    base = tables.baseline
    rows = {row["method"]: row for row in tables.differences.to_dict("records")
            if row["metric"] == "aa" and row["method"] in ranked and not np.isnan(row["mean"])}
    seed_counts = tables.seeds_of(base), tables.seeds_of(best)
    basis = f"{_count(min(seed_counts), 'seed')}, {_count(tables.groups, 'source photograph')}"
    if not rows:
        return f"Only {best} was scored, so there is nothing to compare it with ({basis})."
    if min(seed_counts) < MIN_SEEDS:
        row = rows.get(best)
        lead = (f"{best} is ahead of {base} by {row['mean']:.1f} points of average accuracy" if row and row["mean"] > 0
                else f"no method is ahead of {base} in average accuracy")
        return (f"Whether any method beats {base} is not known: {lead}, but fewer than {MIN_SEEDS} seeds show no "
                f"significant difference ({basis}).")
    significant = {method: row for method, row in rows.items() if row["p"] < SIGNIFICANT}
    better = [f"{method} by {row['mean']:.1f} points {interval(row['low'], row['high'], 1)}"
              for method, row in significant.items() if row["mean"] > 0]
    worse = [method for method, row in significant.items() if row["mean"] < 0]
    sentence = (f"Better than {base} in average accuracy: {_list(better)}" if better
                else f"No method beats {base} in average accuracy: the differences are not significant"
                if not worse else f"No method beats {base} in average accuracy")
    return sentence + (f"; worse: {_list(worse)}" if worse else "") + f" ({basis})."


def _gap(tables: Tables, ranked: Sequence[str], averages: dict[str, float]) -> list[str]:
    upper, base = tables.upper, tables.baseline
    if upper is None or upper not in averages or base not in averages:
        return ["How much could be gained is not known: no upper bound (method joint) and baseline were both scored."]
    gap = f"{upper}, trained on all tasks at once, reaches {averages[upper]:.1f} % and {base} {averages[base]:.1f} %"
    shares = tables.summary.loc[(tables.summary["metric"] == "gap_closed") & tables.summary["method"].isin(ranked)]
    others = [method for method in ranked if method != base]
    if others and shares["mean"].isna().all():
        return [f"{gap}: the gap is not significant."]
    sentence = f"{gap}, a gap of {averages[upper] - averages[base]:.1f} points"
    if not others or min(map(tables.seeds_of, (base, upper))) < MIN_SEEDS:
        return [f"{sentence}."]
    closed = [f"{row['method']} closes {number(row['mean'], 0)} % of it" for row in shares.to_dict("records")
              if row["low"] > 0]
    return [f"{sentence}: {_list(closed) or 'no method closes a significant share of it'}."]


def _forgotten(tables: Tables, best: str) -> list[str]:
    """Name the tasks that the best method has forgotten, and whether another threshold could recover them."""
    points = {task: value for task, value in _tasks(tables, best, "forgetting").items() if not np.isnan(value)}
    lost = sorted((task for task in points if points[task] >= FORGETTING_POINTS), key=lambda task: -points[task])
    if not lost:
        return [f"{best} has forgotten no task by {FORGETTING_POINTS:.0f} points or more."] if points else []
    last_rows = tables.matrices.loc[(tables.matrices["method"] == best) & (tables.matrices["measure"] == "auc")
                                    & (tables.matrices["stage"] == len(tables.stages))]
    aucs = dict(zip(last_rows["task"], last_rows["mean"], strict=True))
    after, before = _tasks(tables, best, "final_accuracy"), _tasks(tables, best, "learning_accuracy")
    named_tasks = _list([f"{task} ({before[task]:.0f} to {after[task]:.0f} %, AUC {number(aucs[task], 2)})"
                         for task in lost[:MAX_NAMED]])
    summary = named_tasks if len(lost) <= MAX_NAMED else f"{len(lost)} of {len(after)} tasks, most of all {named_tasks}"
    return [f"{best} has forgotten {summary}{_thresholds([aucs[task] for task in lost], lost)}."]


def _thresholds(aucs: Sequence[float], lost: Sequence[str]) -> str:
    """Return a phrase on whether another threshold would recover the tasks `lost`; empty if an AUC is undefined."""
    recoverable = [task for task, auc in zip(lost, aucs, strict=True) if auc >= SEPARABLE_AUC]
    pronoun = "it" if len(lost) == 1 else "them"
    if np.isnan(aucs).any():
        return ""
    if not recoverable:
        return f": no threshold brings {pronoun} back (AUC below {SEPARABLE_AUC})"
    if len(recoverable) == len(lost):
        return f": another threshold could bring {pronoun} back"
    named_tasks = _list(recoverable) if len(recoverable) <= MAX_NAMED else f"{len(recoverable)} of them"
    return f": another threshold could bring {named_tasks} back, the rest not (AUC below {SEPARABLE_AUC})"


def _advice(tables: Tables, best: str) -> str:
    failures = _failures(tables, best)
    equal = _equals(tables, best)
    label = best if not equal else f"{best} (not distinguishable from {_list(equal)})"
    if not failures:
        return (f"Use {label}: it classifies at least {USABLE:.0f} % of the real and of the fake images of every task "
                "correctly.")
    if tables.upper in tables.scored and not _failures(tables, str(tables.upper)):
        return (f"No continual method is fit for use: {label} classifies fewer than {USABLE:.0f} % of "
                f"{failures} correctly. {tables.upper}, which needs the data of all tasks, is fit for use.")
    return (f"No detector is fit for use: the best, {label}, classifies fewer than {USABLE:.0f} % of "
            f"{failures} correctly. Add a method, or change settings, in parameters_sequences.yml.")


def _failures(tables: Tables, method: str) -> str:
    """Return the failures of the detector, such as `the real images of gan`; undefined accuracies do not count."""
    real, fake = (_tasks(tables, method, f"{kind}_accuracy") for kind in ("real", "fake"))
    kinds = {task: [kind for kind, accuracies in (("real", real), ("fake", fake)) if accuracies[task] < USABLE]
             for task in real}
    failed = [f"the {_list(names)} images of {task}" for task, names in kinds.items() if names]
    return _list(failed) if len(failed) <= MAX_NAMED else f"real or fake images of {len(failed)} of {len(kinds)} tasks"


def _equals(tables: Tables, best: str) -> list[str]:
    """Return the other methods that are not distinguishable from the best one; none with too few seeds."""
    rows = tables.summary.loc[(tables.summary["metric"] == "aa") & tables.summary["best"], "method"]
    return [method for method in rows if method != best]


def _missing(tables: Tables) -> list[str]:
    return [f"Results are missing or undefined ({_count(len(tables.notices), 'warning')} below): all numbers use "
            "the available runs only."] if tables.notices else []


def _learned(tables: Tables) -> pd.Series:
    """Return the accuracies just after learning, or after the last stage where there are none, of all methods."""
    return tables.tasks.loc[tables.tasks["measure"].isin(["learning_accuracy", "final_accuracy"]), "mean"]


def _means(tables: Tables, metric: str) -> dict[str, float]:
    rows = tables.summary.loc[tables.summary["metric"] == metric]
    return dict(zip(rows["method"], rows["mean"], strict=True))


def _tasks(tables: Tables, method: str, measure: str) -> dict[str, float]:
    rows = tables.tasks.loc[(tables.tasks["method"] == method) & (tables.tasks["measure"] == measure)]
    return dict(zip(rows["task"], rows["mean"], strict=True))


def _count(number: int, name: str) -> str:
    return f"one {name}" if number == 1 else f"{number} {name}s"


def _list(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
