"""Every table of the report, made from the scores alone.

Data frames with a row for each estimate; the columns `mean`, `low` and `high` hold the mean over seeds and its 95 %
interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fakemedia.core.errors import unknown_name
from fakemedia.core.types import Stage
from fakemedia.evaluation import continual, metrics
from fakemedia.evaluation.intervals import DRAWS, FRACTION, PERCENT
from fakemedia.reporting.estimates import Measured, Quantity, estimate, estimate_difference, measure, over_seeds
from fakemedia.reporting.results import Results, notices

Floats = NDArray[np.float64]
RUN_METRICS = ("aa", "forgetting", "bwt", "fwt", "c_auc", "fwt_auc")
SUMMARY_METRICS = (*RUN_METRICS, "learning_accuracy")
SPLIT_METRICS = ("accuracy", "accuracy_real", "accuracy_fake", "auc", "ap", "eer", "ece")
ALL_TASKS = "all tasks"
"""In the column `task`: the mean over the tasks. No task can have this name."""


@dataclass(frozen=True)
class Tables:
    """Everything that the report shows, as data frames, with the facts that its captions state.

    runs: a row a run (sequence, network, method, seed and RUN_METRICS). summary: method, metric. differences: method,
    baseline, metric; paired, method minus baseline. curves: method, stage, key, measure (accuracy or auc, over the
    tasks seen). tasks: method, task, measure (learning_accuracy, final_accuracy, forgetting, and after the last stage
    real_accuracy and fake_accuracy). by_group: the first three, averaged over the tasks of each `group` (forgetting
    over those not learned last); empty where there are no groups. zero_shot: method, measure (accuracy or auc), task;
    just before the task was learned. matrices: method, stage, key, task,
    measure (accuracy or auc), learned (stage of the task). splits: method, seed, task and SPLIT_METRICS after the last
    stage. All but `runs` and `splits` end in mean, low, high. `notices` name what is missing or undefined.
    """

    sequence: str
    network: str
    stages: tuple[Stage, ...]
    methods: tuple[str, ...]
    seeds: tuple[int, ...]
    groups: int
    notices: tuple[str, ...]
    baseline: str
    runs: pd.DataFrame
    summary: pd.DataFrame
    differences: pd.DataFrame
    curves: pd.DataFrame
    tasks: pd.DataFrame
    by_group: pd.DataFrame
    zero_shot: pd.DataFrame
    matrices: pd.DataFrame
    splits: pd.DataFrame

    @property
    def scored(self) -> tuple[str, ...]:
        """The methods that have any scores."""
        there = set(self.matrices.dropna(subset="mean")["method"])
        return tuple(method for method in self.methods if method in there)


def _summary(measured: Measured) -> Quantity:
    """Return the quantity (..., 7) that holds SUMMARY_METRICS."""
    peak = continual.peak_stage(measured.accuracy, measured.learned)

    def quantity(accuracy: Floats, auc: Floats) -> Floats:
        values = continual.summary(accuracy, auc, measured.learned, peak)
        return np.stack([values[name] for name in SUMMARY_METRICS], axis=-1)

    return quantity


def _long(index: dict[str, Sequence], values: tuple[Floats, Floats, Floats]) -> pd.DataFrame:
    """Return a row for each combination of the `index` values, in order, with columns mean, low, high."""
    keys = pd.MultiIndex.from_product(list(index.values()), names=list(index))
    columns = {name: array.reshape(-1) for name, array in zip(("mean", "low", "high"), values, strict=True)}
    return pd.DataFrame(columns, index=keys).reset_index()


def _with_mean(values: Floats, over: NDArray[np.bool_]) -> Floats:
    """Return `values` (..., T) with their mean over the tasks `over` (T,) as one column more."""
    return np.concatenate([values, _mean(values[..., over])[..., None]], axis=-1)


def _grouped(quantity: Quantity, groups: Sequence[NDArray[np.int64]]) -> Quantity:
    """Return the quantity (..., G): the mean of `quantity` (..., T) over the tasks of each group."""
    return lambda accuracy, auc: np.stack([_mean(quantity(accuracy, auc)[..., group]) for group in groups], axis=-1)


def _mean(values: Floats) -> Floats:
    return values.mean(axis=-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)


def _run_table(results: Results, measured: Measured) -> pd.DataFrame:
    values = continual.summary(measured.accuracy, measured.auc, measured.learned)
    ran = np.any(np.isfinite(measured.accuracy), axis=(-2, -1))
    return pd.DataFrame([
        {"sequence": results.sequence, "network": results.network, "method": method, "seed": seed,
         **{name: values[name][k, m] for name in RUN_METRICS}}
        for m, method in enumerate(results.methods) for k, seed in enumerate(results.seeds) if ran[k, m]
    ])


def _split_table(results: Results) -> pd.DataFrame:
    return pd.DataFrame([
        {"method": method, "seed": seed, "task": task,
         **metrics.task_metrics(scores.labels, scores.logits[k, m, -1])}
        for m, method in enumerate(results.methods) for k, seed in enumerate(results.seeds)
        for task, scores in zip(results.tasks, results.scores, strict=True)
        if scores is not None and not np.isnan(scores.logits[k, m, -1, 0])
    ], columns=["method", "seed", "task", *SPLIT_METRICS])


def groups_of(stages: Sequence[Stage], families: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Return the groups of tasks to compare: the stages, where one learns several tasks, else the families declared.

    Tasks without a family are left out; empty where there are no two groups.
    """
    if any(len(stage.tasks) > 1 for stage in stages):
        return {stage.name: stage.tasks for stage in stages}
    found: dict[str, tuple[str, ...]] = {}
    for task in stages[-1].seen:
        if task in families:
            found[families[task]] = (*found.get(families[task], ()), task)
    return found if len(found) > 1 else {}


def make_tables(results: Results, *, baseline: str | None = None, families: Mapping[str, str] | None = None,
                draws: int = DRAWS, seed: int = 0) -> Tables:
    """Return all tables of the report; differences are taken from the method `baseline`, by default the first.

    `families` gives the family of a task, where one is declared. Raises UserError where `baseline` is no method of the
    results.
    """
    baseline = results.methods[0] if baseline is None else baseline
    if baseline not in results.methods:
        raise unknown_name("method", baseline, results.methods, where="baseline")
    measured = measure(results, draws=draws, seed=seed)
    learned, methods, tasks = measured.learned, results.methods, results.tasks
    peak = continual.peak_stage(measured.accuracy, learned)
    stages = [stage.index for stage in results.stages]
    keys = {stage.index: stage.key for stage in results.stages}
    learned_stage = dict(zip(tasks, (learned + 1).tolist(), strict=True))

    curve: dict[str, Quantity] = {"accuracy": lambda accuracy, _: continual.average_over_seen(accuracy, learned),
                                  "auc": lambda _, auc: continual.average_over_seen(auc, learned)}
    per_task: dict[str, Quantity] = {
        "learning_accuracy": lambda accuracy, _: continual.learning_accuracy(accuracy, learned),
        "final_accuracy": lambda accuracy, _: accuracy[..., -1, :],
        "forgetting": lambda accuracy, _: continual.forgetting_per_task(accuracy, learned, peak),
    }
    cells: dict[str, Quantity] = {"accuracy": lambda accuracy, _: accuracy, "auc": lambda _, auc: auc}
    bounds = {"accuracy": PERCENT, "auc": FRACTION, "learning_accuracy": PERCENT, "final_accuracy": PERCENT,
              "forgetting": continual.RANGES["forgetting"]}
    curves = pd.concat([_long({"method": methods, "measure": [name], "stage": stages},
                              estimate(measured, quantity, bounds[name])) for name, quantity in curve.items()],
                       ignore_index=True)
    matrices = pd.concat([_long({"method": methods, "measure": [name], "stage": stages, "task": tasks},
                                estimate(measured, quantity, bounds[name], measured.task_groups))
                          for name, quantity in cells.items()], ignore_index=True)
    groups = groups_of(results.stages, families or {})
    estimates = {name: estimate(measured, quantity, bounds[name], measured.task_groups)
                 for name, quantity in per_task.items()}
    for label, name in enumerate(("real_accuracy", "fake_accuracy")):
        estimates[name] = over_seeds(measured.by_class[:, :, label], measured.by_class_draws[:, :, :, label],
                                     measured.seed_weights, groups=measured.task_groups, bounds=PERCENT)
    later, old = learned > 0, learned < stages[-1] - 1
    unseen: dict[str, Quantity] = {
        "accuracy": lambda accuracy, _: _with_mean(continual.zero_shot(accuracy, learned), later),
        "auc": lambda _, auc: _with_mean(continual.zero_shot(auc, learned), later),
    }
    members = [np.array([tasks.index(task) for task in group]) for group in groups.values()]
    by_group = [_long({"method": methods, "measure": [name], "group": list(groups)}, estimate(measured, _grouped(
        quantity, [group[old[group]] if name == "forgetting" else group for group in members]), bounds[name]))
        for name, quantity in per_task.items()] if groups else []
    ranges = continual.bounds(SUMMARY_METRICS)
    differences = _long({"method": methods, "metric": SUMMARY_METRICS},
                        estimate_difference(measured, _summary(measured), methods.index(baseline), ranges))
    differences.insert(1, "baseline", baseline)
    return Tables(
        sequence=results.sequence, network=results.network, stages=results.stages, methods=methods,
        seeds=results.seeds, groups=results.groups, notices=notices(results), baseline=baseline,
        runs=_run_table(results, measured),
        summary=_long({"method": methods, "metric": SUMMARY_METRICS}, estimate(measured, _summary(measured), ranges)),
        differences=differences.loc[differences["method"] != baseline].reset_index(drop=True),
        curves=curves.assign(key=[keys[stage] for stage in curves["stage"]]),
        tasks=pd.concat([_long({"method": methods, "measure": [name], "task": tasks}, values)
                         for name, values in estimates.items()], ignore_index=True),
        by_group=pd.concat(by_group, ignore_index=True) if groups else pd.DataFrame(),
        zero_shot=pd.concat([_long({"method": methods, "measure": [name], "task": [*tasks, ALL_TASKS]},
                                   estimate(measured, quantity, bounds[name],
                                            [*measured.task_groups, measured.groups]))
                             for name, quantity in unseen.items()], ignore_index=True),
        matrices=matrices.assign(key=[keys[stage] for stage in matrices["stage"]],
                                 learned=[learned_stage[task] for task in matrices["task"]]),
        splits=_split_table(results),
    )
