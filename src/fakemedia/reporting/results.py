"""The scores of all runs of a sequence, checked and laid out by task and run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.types import REAL, Stage

Floats = NDArray[np.float64]
COLUMNS = ("method", "seed", "stage", "task", "id", "label", "source", "logit")


@dataclass(frozen=True)
class TaskScores:
    """The test images of one task, N of them, and the scores of every run.

    labels int8 (N,); groups int64 (N,), codes of the source groups, shared by all tasks; logits float64 (K, M, S, N)
    for K seeds, M methods and S stages, NaN where there is no score.
    """

    labels: NDArray[np.int8]
    groups: NDArray[np.int64]
    logits: Floats


@dataclass(frozen=True)
class Results:
    """All scores of one sequence with one network; `scores` in the order of `tasks`, None where a task has none."""

    sequence: str
    network: str
    stages: tuple[Stage, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    groups: int
    scores: tuple[TaskScores | None, ...]
    borrowed: Mapping[str, str] = field(default_factory=dict)
    """Tasks whose test images are all fake, and the task with whose real ones they are judged."""
    planned: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The seeds that a method runs with, if not all."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks of the sequence, in order."""
        return self.stages[-1].seen


def gather(frame: pd.DataFrame, *, sequence: str, network: str, stages: Sequence[Stage],
           methods: Sequence[str] = (), seeds: Sequence[int] = (),
           planned: Mapping[str, tuple[int, ...]] | None = None) -> Results:
    """Lay out the long table `frame` (COLUMNS; stage from 1, logit float64 = z_fake - z_real) by task and run.

    A task whose test images are all fake is judged with the real ones of the nearest earlier task that has some. Runs,
    stages and tasks may be missing; `methods` and `seeds` are the expected ones, present or missing, and `planned` the
    seeds of a method that has not all. Raises UserError for a missing column, no scores, a task or stage that the
    sequence does not have, logits that are not finite, and runs that were scored on different images.
    """
    where = f"scores of the sequence {sequence}"
    absent = [column for column in COLUMNS if column not in frame]
    if absent:
        raise UserError(f"The scores lack the column {absent[0]!r}", where=where, expected=", ".join(COLUMNS))
    if frame.empty:
        raise UserError("There are no scores to report", where=where, expected="the scores of at least one checkpoint",
                        do="run the training first")
    tasks = stages[-1].seen
    borrowed = earlier_reals(frame, tasks)
    frame = with_reals(frame, borrowed)
    for task in frame["task"].unique():
        if task not in tasks:
            raise unknown_name("task", task, tasks, where=where)
    stage = frame["stage"].to_numpy(dtype=np.int64)
    if stage.min() < 1 or stage.max() > len(stages):
        raise UserError(f"The stage {stage.min() if stage.min() < 1 else stage.max()} is not of this sequence",
                        where=where, expected=f"stages from 1 to {len(stages)}")
    label, logit = frame["label"].to_numpy(dtype=np.int8), frame["logit"].to_numpy(dtype=np.float64)
    finite = np.isfinite(logit)
    if not finite.all():
        row = frame.iloc[int(np.argmin(finite))]
        raise UserError(f"{int((~finite).sum())} logits are not finite", expected="finite numbers",
                        where=f"method {row['method']}, seed {row['seed']}, stage {row['stage']}, task {row['task']}")
    methods = tuple(dict.fromkeys([*methods, *frame["method"].unique()]))
    seeds = tuple(sorted({*seeds, *map(int, frame["seed"].unique())}))
    method = pd.Categorical(frame["method"], categories=list(methods)).codes.astype(np.int64)
    seed = pd.Categorical(frame["seed"], categories=list(seeds)).codes.astype(np.int64)
    group, groups = pd.factorize(frame["source"])
    shape = (len(seeds), len(methods), len(stages))
    cell = np.ravel_multi_index((seed, method, stage - 1), shape)
    task_code = pd.Categorical(frame["task"], categories=list(tasks)).codes
    scores = []
    for code, task in enumerate(tasks):
        rows = np.flatnonzero(task_code == code)
        ids, _ = pd.factorize(frame["id"].iloc[rows])
        scores.append(_task_scores(shape, cell[rows], ids, label[rows], group[rows], logit[rows],
                                   where=f"{where}, task {task}") if len(rows) else None)
    return Results(sequence=sequence, network=network, stages=tuple(stages), methods=methods, seeds=seeds,
                   groups=len(groups), scores=tuple(scores), borrowed=borrowed, planned=planned or {})


def earlier_reals(frame: pd.DataFrame, tasks: Sequence[str]) -> dict[str, str]:
    """Return, for each of `tasks` whose test images are all fake, the nearest earlier task that has real ones."""
    scored, real = set(frame["task"]), set(frame.loc[frame["label"] == REAL, "task"])
    donors, nearest = {}, None
    for task in tasks:
        if task in real:
            nearest = task
        elif nearest is not None and task in scored:
            donors[task] = nearest
    return donors


def with_reals(frame: pd.DataFrame, borrowed: Mapping[str, str]) -> pd.DataFrame:
    """Return the scores with those of real images of other tasks, `borrowed` by task.

    Without them, accuracy and AUC of a task would only be the share of its fakes that are detected, or undefined.
    """
    real = frame.loc[frame["label"] == REAL]
    parts = [real.loc[real["task"] == other].assign(task=task) for task, other in borrowed.items()]
    return pd.concat([frame, *parts], ignore_index=True) if parts else frame


def _task_scores(shape: tuple[int, int, int], cell: NDArray[np.int64], ids: NDArray[np.int64],
                 labels: NDArray[np.int8], groups: NDArray[np.int64], logit: Floats, *, where: str) -> TaskScores:
    order = np.lexsort((groups, labels, ids, cell))
    cells, counts = np.unique(cell, return_counts=True)
    images = int(counts[0])
    consistent = (counts == images).all()
    if consistent:
        facts = np.stack([ids, labels, groups])[:, order].reshape(3, len(cells), images)
        consistent = (facts == facts[:, :1]).all()
    if not consistent:
        raise UserError("The runs were not scored on the same images", where=where,
                        expected="each image once for each checkpoint, with one label and one source",
                        do="score the checkpoints again, all on the same test split")
    logits = np.full((np.prod(shape), images), np.nan)
    logits[cells] = logit[order].reshape(len(cells), images)
    image_rows = order[:images]
    return TaskScores(labels=labels[image_rows], groups=groups[image_rows], logits=logits.reshape(*shape, images))


def notices(results: Results) -> tuple[str, ...]:
    """Name what is missing (tasks, seeds, the last stage, and stages that another seed of the method has), and
    the tasks whose test images are of one class, which leaves their AUC undefined."""
    scored = [~np.isnan(task.logits[..., 0]) for task in results.scores if task is not None]
    run = np.logical_or.reduce(scored)
    notices = []
    for task, scores in zip(results.tasks, results.scores, strict=True):
        if scores is None:
            notices.append(f"{task}: no scores")
        elif (scores.labels == scores.labels[0]).all():
            kind = "fake" if scores.labels[0] else "real"
            notices.append(f"{task}: all test images are {kind}, so its AUC is undefined")
        elif task in results.borrowed:
            notices.append(f"{task}: all test images are fake; they are judged with the real ones of "
                           f"{results.borrowed[task]}")
    for m, method in enumerate(results.methods):
        expected = np.logical_or.reduce(run[:, m], axis=0)
        expected[-1] = True
        for k, seed in enumerate(results.seeds):
            if not run[k, m].any():
                if seed not in results.planned.get(method, results.seeds):
                    continue
                notices.append(f"{method}, seed {seed}: no scores")
                continue
            notices += [f"{method}, seed {seed}: no scores after stage {stage.key}"
                        for s, stage in enumerate(results.stages) if expected[s] and not run[k, m, s]]
    return tuple(notices)
