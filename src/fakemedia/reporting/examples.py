"""Example pictures of a report: a real and a fake one of each task, and those that a detector is most wrong about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import expit

from fakemedia.core.errors import UserError
from fakemedia.core.types import FAKE, REAL
from fakemedia.reporting.tables import Tables
from fakemedia.store.pixels import PixelStore

MAX_EXAMPLES = 6
"""Pictures of each kind of error that are shown, at most."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """A test picture with its score."""

    task: str
    label: int
    probability: float
    """P(fake) as scored."""
    picture: NDArray[np.uint8]
    """(H, W, 3)."""


@dataclass(frozen=True, kw_only=True)
class Examples:
    """The example pictures of a sequence."""

    pairs: Mapping[str, Sequence[Example]]
    """By task: a real picture, where it has one, and a fake one, of one source group where there are such."""
    worst: Mapping[str, Sequence[Example]]
    """By method: real pictures called fake, then fake ones that are not, each from the worst."""
    missing: Sequence[str]
    """The tasks whose pixels are not available."""


def find_examples(scores: pd.DataFrame, tables: Tables, stores: Mapping[str, Path]) -> Examples:
    """Return the examples among the test pictures after the last stage: errors of the best method and the baseline.

    `scores` has the columns method, seed, stage, task, id, label, source and logit; the first seed of a method counts.
    `stores` are the folders of the tasks' pixel stores of test pictures. A task whose store is missing, damaged or
    holds no pixels is left out, and named.
    """
    open_stores = {task: store for task, folder in stores.items() if (store := _open_store(folder)) is not None}
    rows = {task: {id: row for row, id in enumerate(store.ids)} for task, store in open_stores.items()}
    frame = scores.loc[(scores["stage"] == len(tables.stages)) & scores["task"].isin(list(open_stores))]
    frame = frame.loc[[id in rows[task] for id, task in zip(frame["id"], frame["task"], strict=True)]]
    by_method = {str(method): method_rows.loc[method_rows["seed"] == method_rows["seed"].min()]
                 for method, method_rows in frame.groupby("method", sort=False)}

    def to_examples(selection: pd.DataFrame) -> list[Example]:
        return [Example(task=row["task"], label=int(row["label"]), probability=float(expit(row["logit"])),
                        picture=np.array(open_stores[row["task"]][rows[row["task"]][row["id"]]]))
                for row in selection.to_dict("records")]

    any_method = next(iter(by_method.values()), frame)
    return Examples(pairs={task: to_examples(pair) for task in stores if len(pair := _pair(any_method, task))},
                    worst={method: to_examples(_worst(by_method[method])) for method in compared(tables)
                           if method in by_method},
                    missing=[task for task in stores if task not in open_stores])


def compared(tables: Tables) -> list[str]:
    """Return the best method after the last stage, without the upper bound, and the baseline, if they have scores."""
    rows = tables.summary.loc[(tables.summary["metric"] == "aa") & ~tables.summary["method"].isin(tables.unranked)]
    defined = rows.dropna(subset="mean")
    best: Iterable[str] = defined.sort_values("mean", ascending=False, kind="stable")["method"].head(1)
    return list(dict.fromkeys([*best, *defined.loc[defined["method"] == tables.baseline, "method"]]))


def _open_store(folder: Path) -> PixelStore | None:
    """Return the store in `folder` if its pictures can be read."""
    try:
        store = PixelStore.open(folder)
        return None if store.streams or not store.is_intact() else store
    except UserError:
        return None


def _pair(scores: pd.DataFrame, task: str) -> pd.DataFrame:
    """Return a real and a fake picture of `task`, of one source group if possible; only one if the other is missing."""
    task_scores = scores.loc[scores["task"] == task]
    real, fake = (task_scores.loc[task_scores["label"] == label] for label in (REAL, FAKE))
    same_group = fake.loc[fake["source"].isin(real["source"])]
    fake = (fake if same_group.empty else same_group).head(1)
    same_source = real.loc[real["source"].isin(fake["source"])]
    return pd.concat([(real if same_source.empty else same_source).head(1), fake])


def _worst(scores: pd.DataFrame) -> pd.DataFrame:
    """Return the real pictures called fake and the fake ones that are not, from the worst, MAX_EXAMPLES of either.

    One of each task and source group comes before a second one.
    """
    errors_by_class = []
    for label, loss in ((REAL, scores["logit"]), (FAKE, -scores["logit"])):
        errors = scores.assign(wrong=loss).loc[(scores["label"] == label) & (loss > 0)]
        errors = errors.sort_values("wrong", ascending=False, kind="stable")
        turn = errors.groupby(["task", "source"]).cumcount()
        errors_by_class.append(errors.assign(turn=turn).sort_values("turn", kind="stable").head(MAX_EXAMPLES))
    return pd.concat(errors_by_class)
