"""Every table of the report, computed from the scores only.

Data frames with one row for each estimate; the columns `mean`, `low` and `high` hold the mean over seeds and its 95 %
interval.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from fakemedia.core.errors import unknown_name
from fakemedia.core.types import Stage
from fakemedia.evaluation import continual, metrics
from fakemedia.evaluation.intervals import DRAWS, FRACTION, PERCENT
from fakemedia.evaluation.label_check import label_notices
from fakemedia.reporting.estimates import (
    Bootstrap,
    Quantity,
    among_best,
    estimate,
    estimate_difference,
    gap_closed,
    measure,
    over_seeds,
)
from fakemedia.reporting.results import Results, notices

Floats = NDArray[np.float64]
RUN_METRICS = ("aa", "forgetting", "bwt", "fwt", "c_auc", "fwt_auc")
SUMMARY_METRICS = ("aa", "pooled", "gap_closed", "forgetting", "learning_accuracy", "bwt", "fwt", "c_auc", "fwt_auc")
COMPARED_METRICS = tuple(name for name in SUMMARY_METRICS if name != "gap_closed")
"""The metrics that methods are compared by."""
SPLIT_METRICS = ("accuracy", "accuracy_real", "accuracy_fake", "auc", "ap", "eer", "ece", "tpr_1", "tpr_5")
LESS_IS_BETTER = ("forgetting",)
ALL_TASKS = "all tasks"
"""In the column `task`: the mean over the tasks. No task can have this name."""


@dataclass(frozen=True)
class Tables:
    """Everything that the report shows, as data frames, with the facts that its captions state.

    The column `method` holds labels. runs: one row per run (sequence, network, method, seed and RUN_METRICS). summary:
    method, metric, and `best`: not distinguishable from the best method. differences: method, baseline, metric, and
    `p`, corrected for the number of methods; paired, method minus baseline. curves: method, stage, key, measure
    (accuracy or auc, over the tasks seen). tasks: method, task, `best`, measure (learning_accuracy, final_accuracy,
    forgetting, and after the last stage real_accuracy and fake_accuracy). by_group: the first three, averaged over the
    tasks of each `group` (forgetting over those not learned last); empty where there are no groups. zero_shot: method,
    measure (accuracy or auc), task; just before the task was learned. matrices: method, stage, key, task, measure
    (accuracy or auc), learned (stage of the task). splits: method, seed, task and SPLIT_METRICS after the last stage.
    All but `runs` and `splits` hold mean, low, high. `notices` name what is missing or undefined, and tasks whose
    labels look swapped.
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
    upper: str | None = None
    """The upper bound that gaps are measured to."""
    unranked: tuple[str, ...] = ()
    """All methods that learn all tasks at once: upper bounds, shown and not ranked; `upper` is one of them."""
    trained: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """Network and tuned part of each method, where methods differ in them."""
    planned: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    """The seeds that a method runs with, if not all."""

    def seeds_of(self, method: str) -> int:
        """Return the number of seeds of `method`."""
        return len(self.planned.get(method, self.seeds))

    @property
    def max_seeds(self) -> int:
        """The largest number of seeds of a method."""
        return max(map(self.seeds_of, self.methods))

    @property
    def scored(self) -> tuple[str, ...]:
        """The methods that have any scores."""
        methods = set(self.matrices.dropna(subset="mean")["method"])
        return tuple(method for method in self.methods if method in methods)


def _summary(bootstrap: Bootstrap) -> Quantity:
    """Return the quantity (..., C) that holds COMPARED_METRICS."""
    peak = continual.peak_stage(bootstrap.accuracy, bootstrap.learned)
    share = bootstrap.images / bootstrap.images.sum()

    def quantity(accuracy: Floats, auc: Floats) -> Floats:
        values = {**continual.summary(accuracy, auc, bootstrap.learned, peak), "pooled": accuracy[..., -1, :] @ share}
        return np.stack([values[name] for name in COMPARED_METRICS], axis=-1)

    return quantity


def _long(index: dict[str, Sequence], values: tuple[Floats, Floats, Floats]) -> pd.DataFrame:
    """Return one row for each combination of the `index` values, in order, with columns mean, low, high."""
    keys = pd.MultiIndex.from_product(list(index.values()), names=list(index))
    columns = {name: array.reshape(-1) for name, array in zip(("mean", "low", "high"), values, strict=True)}
    return pd.DataFrame(columns, index=keys).reset_index()


def _with_mean(values: Floats, mask: NDArray[np.bool_]) -> Floats:
    """Return `values` (..., T) with their mean over the tasks of `mask`, bool (T,), as a last column: (..., T + 1)."""
    return np.concatenate([values, _mean(values[..., mask])[..., None]], axis=-1)


def _grouped(quantity: Quantity, groups: Sequence[NDArray[np.int64]]) -> Quantity:
    """Return the quantity (..., G): the mean of `quantity` (..., T) over the tasks of each group."""
    return lambda accuracy, auc: np.stack([_mean(quantity(accuracy, auc)[..., group]) for group in groups], axis=-1)


def _mean(values: Floats) -> Floats:
    return values.mean(axis=-1) if values.shape[-1] else np.full(values.shape[:-1], np.nan)


def _run_table(results: Results, bootstrap: Bootstrap, trained: Mapping[str, tuple[str, str]]) -> pd.DataFrame:
    values = continual.summary(bootstrap.accuracy, bootstrap.auc, bootstrap.learned)
    ran = np.any(np.isfinite(bootstrap.accuracy), axis=(-2, -1))
    return pd.DataFrame([
        {"sequence": results.sequence, "network": trained.get(method, (results.network,))[0], "method": method,
         "seed": seed,
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
    groups: dict[str, tuple[str, ...]] = {}
    for task in stages[-1].seen:
        if task in families:
            groups[families[task]] = (*groups.get(families[task], ()), task)
    return groups if len(groups) > 1 else {}


def make_tables(results: Results, *, baseline: str | None = None, upper: str | None = None,
                unranked: Sequence[str] = (),
                families: Mapping[str, str] | None = None, trained: Mapping[str, tuple[str, str]] | None = None,
                draws: int = DRAWS, seed: int = 0) -> Tables:
    """Return all tables of the report; differences are taken from the method `baseline`, by default the first.

    `upper` is the upper bound that gaps are measured to; it and `unranked` are shown, but not ranked. `families` gives
    the family of a task, where one is declared, `trained` network and tuned part of each method, where they differ.
    Raises UserError where `baseline` or `upper` is not a method of the results.
    """
    baseline, trained = results.methods[0] if baseline is None else baseline, trained or {}
    for where, method in (("baseline", baseline), ("upper", upper)):
        if method is not None and method not in results.methods:
            raise unknown_name("method", method, results.methods, where=where)
    bootstrap = measure(results, draws=draws, seed=seed)
    keys = {stage.index: stage.key for stage in results.stages}
    learned_stage = dict(zip(results.tasks, (bootstrap.learned + 1).tolist(), strict=True))
    groups = groups_of(results.stages, families or {})
    unranked = tuple(method for method in results.methods if method == upper or method in unranked)
    summary, differences = _summary_tables(results, bootstrap, baseline, upper, unranked)
    tasks, by_group = _task_tables(results, bootstrap, groups, unranked)
    curves, matrices = _stage_tables(results, bootstrap)
    return Tables(
        sequence=results.sequence, network=results.network, stages=results.stages, methods=results.methods,
        seeds=results.seeds, groups=results.groups, baseline=baseline, upper=upper, unranked=unranked,
        trained=trained, planned=results.planned,
        notices=(*notices(results), *label_notices(bootstrap.auc, bootstrap.learned, results.tasks)),
        runs=_run_table(results, bootstrap, trained), summary=summary, differences=differences,
        curves=curves.assign(key=[keys[stage] for stage in curves["stage"]]), tasks=tasks, by_group=by_group,
        zero_shot=_zero_shot_table(results, bootstrap),
        matrices=matrices.assign(key=[keys[stage] for stage in matrices["stage"]],
                                 learned=[learned_stage[task] for task in matrices["task"]]),
        splits=_split_table(results),
    )


def _summary_tables(results: Results, bootstrap: Bootstrap, baseline: str,
                    upper: str | None, unranked: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return `Tables.summary` and `Tables.differences`."""
    methods, quantity = results.methods, _summary(bootstrap)
    base, ranges = methods.index(baseline), continual.bounds(
        ["aa" if name == "pooled" else name for name in COMPARED_METRICS])
    summary = _long({"method": methods, "metric": COMPARED_METRICS}, estimate(bootstrap, quantity, ranges)).assign(
        best=among_best(bootstrap, quantity, ranges, ranked=_ranked(methods, unranked),
                        higher=[name not in LESS_IS_BETTER for name in COMPARED_METRICS]).reshape(-1))
    gap = _long({"method": methods, "metric": ["gap_closed"]},
                gap_closed(bootstrap, base, None if upper is None else methods.index(upper))).assign(best=False)
    mean, low, high, p = estimate_difference(bootstrap, quantity, base, ranges)
    differences = _long({"method": methods, "metric": COMPARED_METRICS}, (mean, low, high)).assign(p=p.reshape(-1))
    differences.insert(1, "baseline", baseline)
    return (pd.concat([summary, gap], ignore_index=True),
            differences.loc[differences["method"] != baseline].reset_index(drop=True))


def _ranked(methods: Sequence[str], unranked: Sequence[str]) -> NDArray[np.bool_]:
    return np.array([method not in unranked for method in methods])


def _task_tables(results: Results, bootstrap: Bootstrap, groups: Mapping[str, tuple[str, ...]],
                 unranked: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return `Tables.tasks` and `Tables.by_group`."""
    methods, tasks, learned = results.methods, results.tasks, bootstrap.learned
    peak = continual.peak_stage(bootstrap.accuracy, learned)
    quantities: dict[str, Quantity] = {
        "learning_accuracy": lambda accuracy, _: continual.learning_accuracy(accuracy, learned),
        "final_accuracy": lambda accuracy, _: accuracy[..., -1, :],
        "forgetting": lambda accuracy, _: continual.forgetting_per_task(accuracy, learned, peak),
    }
    bounds = {name: continual.RANGES["forgetting"] if name == "forgetting" else PERCENT for name in quantities}
    parts = [_long({"method": methods, "measure": [name], "task": tasks},
                   estimate(bootstrap, quantity, bounds[name], bootstrap.task_groups)).assign(
        best=among_best(bootstrap, quantity, bounds[name], ranked=_ranked(methods, unranked),
                        higher=np.full(len(tasks), name not in LESS_IS_BETTER)).reshape(-1))
        for name, quantity in quantities.items()]
    for label, name in enumerate(("real_accuracy", "fake_accuracy")):
        values = over_seeds(bootstrap.by_class[:, :, label], bootstrap.by_class_draws[:, :, :, label],
                            bootstrap.seed_weights, groups=bootstrap.task_groups, bounds=PERCENT)
        parts.append(_long({"method": methods, "measure": [name], "task": tasks}, values).assign(best=False))
    old = learned < len(results.stages) - 1
    members = [np.array([tasks.index(task) for task in group]) for group in groups.values()]
    by_group = [_long({"method": methods, "measure": [name], "group": list(groups)}, estimate(bootstrap, _grouped(
        quantity, [group[old[group]] if name == "forgetting" else group for group in members]), bounds[name]))
        for name, quantity in quantities.items()] if groups else [pd.DataFrame()]
    return pd.concat(parts, ignore_index=True), pd.concat(by_group, ignore_index=True)


def _stage_tables(results: Results, bootstrap: Bootstrap) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return averages over the tasks seen, and the matrices themselves, by stage."""
    stages = [stage.index for stage in results.stages]
    curves, matrices = [], []
    for position, (name, bounds) in enumerate((("accuracy", PERCENT), ("auc", FRACTION))):
        index = {"method": results.methods, "measure": [name], "stage": stages}
        curves.append(_long(index, estimate(bootstrap, lambda *pair, number=position: continual.average_over_seen(
            pair[number], bootstrap.learned), bounds)))
        matrices.append(_long({**index, "task": results.tasks}, estimate(
            bootstrap, lambda *pair, number=position: pair[number], bounds, bootstrap.task_groups)))
    return pd.concat(curves, ignore_index=True), pd.concat(matrices, ignore_index=True)


def _zero_shot_table(results: Results, bootstrap: Bootstrap) -> pd.DataFrame:
    later = bootstrap.learned > 0
    groups = [*bootstrap.task_groups, bootstrap.groups]
    index = {"method": results.methods, "measure": [""], "task": [*results.tasks, ALL_TASKS]}
    return pd.concat([_long({**index, "measure": [name]}, estimate(
        bootstrap, lambda *pair, number=position: _with_mean(
            continual.zero_shot(pair[number], bootstrap.learned), later), bounds,
        groups)) for position, (name, bounds) in enumerate((("accuracy", PERCENT), ("auc", FRACTION)))],
        ignore_index=True)
