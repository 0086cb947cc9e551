"""The tables of the report, ready to be printed: main comparison, matrices, zero-shot, robustness and cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from fakemedia.evaluation.perturbations.perturbation import UNPERTURBED
from fakemedia.reporting.estimates import MIN_SEEDS, SIGNIFICANT
from fakemedia.reporting.formats import Column, Grid, interval, number, to_latex, to_markdown
from fakemedia.reporting.tables import ALL_TASKS, Tables

METRICS = {
    "aa": Column(short="AA", long="Average accuracy: mean over the tasks of the accuracy after the last stage, %"),
    "pooled": Column(short="Pooled", long="Accuracy over the test images of all tasks together, %"),
    "gap_closed": Column(short="Gap closed", decimals=0, long="Share of the gap in average accuracy between the "
                         "baseline and the upper bound that is closed, %"),
    "forgetting": Column(short="F", long="Forgetting: best accuracy since learned minus final accuracy, points",
                         higher=False),
    "learning_accuracy": Column(short="LA", long="Learning accuracy: accuracy just after a task was learned, %"),
    "bwt": Column(short="BWT", long="Backward transfer: final accuracy minus accuracy when learned, points"),
    "fwt": Column(short="FWT", long="Forward transfer: accuracy just before learning minus chance (50 %), points"),
    "c_auc": Column(short="C-AUC", long="Continual AUC: mean over all stages and the tasks learned by then",
                    decimals=3),
    "fwt_auc": Column(short="FWT-AUC", decimals=3,
                      long="Forward-transfer AUC: mean over all stages and the tasks still to come"),
}
TASK_MEASURES = {
    "accuracy": Column(short="Accuracy, %"), "accuracy_real": Column(short="Real, %"),
    "accuracy_fake": Column(short="Fake, %"), "auc": Column(short="AUC", decimals=3),
    "ap": Column(short="AP", long="Average precision", decimals=3),
    "eer": Column(short="EER", long="Equal error rate", decimals=3, higher=False),
    "ece": Column(short="ECE", long="Expected calibration error", decimals=3, higher=False),
    "tpr_1": Column(short="TPR at 1 % FPR, %", long="Fake images found where 1 % of the real ones are called fake"),
    "tpr_5": Column(short="TPR at 5 % FPR, %", long="Fake images found where 5 % of the real ones are called fake"),
}
DETECTION = ("auc", "tpr_1", "tpr_5")
"""The measures of each task with a separate table, methods by tasks."""
NOVELTY = {
    "auc": Column(short="AUC, new fakes", long="How well novelty separates fakes of the tasks still to come from the "
                  "images of the tasks learned", decimals=3),
    "known": Column(short="Learned, %", long="Images of the tasks learned that are called unknown", higher=None),
    "new_fake": Column(short="New fakes, %", long="Fakes of the tasks still to come that are called unknown"),
    "new_real": Column(short="New real, %", long="Real images of the tasks still to come that are called unknown",
                       higher=None),
}
COSTS = {
    "seconds": Column(short="Training, min", decimals=2, higher=None,
                      long="Training of all stages, without validation and scoring, minutes"),
    "images_per_second": Column(short="Images/s", decimals=0, higher=None,
                                long="Training images over that time"),
    "memory_mib": Column(short="Memory, MiB", decimals=0, higher=None,
                         long="Largest memory of the process, or of the GPU where there is one, MiB"),
    "stored_bytes": Column(short="Stored, MB", decimals=2, higher=None, long="All checkpoints of a run, MB"),
    "state_bytes": Column(short="Carried, MB", decimals=2, higher=None,
                          long="What the method carries beside the weights after the last stage, MB"),
}
SCALES = {"seconds": 1 / 60, "stored_bytes": 1e-6, "state_bytes": 1e-6}
NOTICEABLE_AUC = 0.8
"""AUC of novelty from which on it detects new generators."""
HEADLINES = ("aa", "forgetting", "c_auc")
MIRROR_TOLERANCE = 0.5
"""Points up to which backward transfer counts as the negative of forgetting, and is left out."""
MIN_GROUPS = 10
"""Below this, as with two seeds, the intervals may cover less than 95 % (docs/reference/metrics.md)."""


@dataclass(frozen=True, kw_only=True)
class Printed:
    """A table as it is saved: every number (`frame`, as CSV), LaTeX and Markdown."""

    frame: pd.DataFrame
    latex: str
    markdown: str


def printed(frame: pd.DataFrame, grids: Sequence[Grid], sequence: str) -> Printed:
    """Return `frame` together with the text of its `grids`, labelled tab:<sequence>-<name>."""
    return Printed(frame=frame, latex="\n".join(to_latex(grid, f"{sequence}-{grid.name}") for grid in grids),
                   markdown="\n".join(map(to_markdown, grids)))


def method_note(tables: Tables) -> str:
    """Return the sentences that explain how the means and intervals of these tables were computed."""
    counts = sorted({tables.seeds_of(method) for method in tables.methods})
    has_seeds = counts[-1] > 1
    scope = ("other photographs and training runs like these" if counts[0] > 1 else
             "other photographs like these; how far training runs differ is not known from one seed")
    scope += ", and other training runs where there are several seeds" if has_seeds and counts[0] == 1 else ""
    caveats = (["source groups"] if 1 < tables.groups < MIN_GROUPS else []) + (
        ["seeds"] if any(1 < count < MIN_SEEDS for count in counts) else [])
    short = f" Intervals over so few {' and '.join(caveats)} may be too short." if caveats else ""
    return (f"{seeds_note(tables)}; in brackets the 95 % interval for "
            f"{scope} (bootstrap over {tables.groups} source groups{' and seeds' if has_seeds else ''}, the same draws "
            f"for every method).{short} Accuracies in percent, their differences in points, AUC as fractions.")


def seeds_note(tables: Tables) -> str:
    """Return over how many seeds the means are, of each method where they differ, without a full stop."""
    by_count: dict[int, list[str]] = {}
    for method in tables.methods:
        by_count.setdefault(tables.seeds_of(method), []).append(method)
    if len(by_count) == 1:
        count = next(iter(by_count))
        return f"Mean over {count} seeds" if count > 1 else "One seed"
    return "Mean over " + ", ".join(f"{count} {'seeds' if count > 1 else 'seed'} ({', '.join(names)})"
                                    for count, names in sorted(by_count.items(), reverse=True))


def best_note(tables: Tables) -> str:
    """Return the sentences that explain what is set in bold."""
    if tables.max_seeds < MIN_SEEDS:
        return f"No method is set in bold: fewer than {MIN_SEEDS} seeds show no significant difference."
    upper = f"; not ranked, since an upper bound: {', '.join(tables.unranked)}" if tables.unranked else ""
    skipped = [method for method in tables.methods if tables.seeds_of(method) < MIN_SEEDS]
    skipped = f" Not compared, with fewer than {MIN_SEEDS} seeds: {', '.join(skipped)}." if skipped else ""
    return ("Bold: the best method and all that are not significantly worse (paired differences, 5 %, Holm's "
            f"correction for the number of methods){upper}.{skipped}")


def difference_note(tables: Tables) -> str:
    """Return the sentences that explain how differences are compared, and which are set in bold."""
    marked = ("Bold: significant at 5 % with Holm's correction for the number of methods."
              if tables.seeds_of(tables.baseline) >= MIN_SEEDS else best_note(tables)
              if tables.max_seeds < MIN_SEEDS else
              f"None is set in bold: fewer than {MIN_SEEDS} seeds of {tables.baseline} show no significant one.")
    return f"Paired by seed and by draw. {marked}"


def method_header(tables: Tables) -> tuple[str, ...]:
    """Return the names of the parts of `method_key`."""
    return ("Method", "Network", "Tuned") if tables.trained else ("Method",)


def method_key(tables: Tables, method: str) -> tuple[str, ...]:
    """Return the label of a method and, where methods differ in them, its network and what is tuned of it."""
    return (method, *tables.trained.get(method, ()))


def _methods(tables: Tables) -> dict[str, Any]:
    return {"header": method_header(tables), "keys": tuple(method_key(tables, method) for method in tables.methods)}


def _where(tables: Tables) -> str:
    return f"Sequence {tables.sequence}, network {tables.network}."


def _pick(frame: pd.DataFrame, keys: Sequence[str], columns: Sequence[str], by: str, column: str) -> dict[str, Any]:
    """Return mean, low, high and, if present, best of `frame` as arrays: one row for each of `keys`, values of `by`.

    NaN where absent.
    """
    matrix = frame.set_index([by, column])
    matrix = matrix.reindex(pd.MultiIndex.from_tuples([(key, name) for key in keys for name in columns]))
    arrays: dict[str, Any] = {name: matrix[name].to_numpy(dtype=np.float64).reshape(len(keys), len(columns))
                              for name in ("mean", "low", "high")}
    if "best" in matrix:
        arrays["best"] = matrix["best"].eq(True).to_numpy().reshape(len(keys), len(columns))
    return arrays


def shown_metrics(tables: Tables) -> tuple[str, ...]:
    """Return the metrics of the main comparison: BWT where it is not -F, gap closed where there is a gap."""
    means = tables.summary.pivot(index="method", columns="metric", values="mean")
    mirrored = np.allclose(means["bwt"], -means["forgetting"], atol=MIRROR_TOLERANCE, equal_nan=True)
    left_out = {"bwt": mirrored, "gap_closed": means["gap_closed"].isna().all(), "fwt_auc": True}
    return tuple(name for name in METRICS if not left_out.get(name, means[name].isna().all()))


def summary_grid(tables: Tables, metrics: Sequence[str] = ()) -> Grid:
    """Return the main comparison: one row per method, one column for each of `metrics`, by default `shown_metrics`."""
    metrics = metrics or shown_metrics(tables)
    return Grid(name="summary", title="Main comparison", where=_where(tables),
                note=f"{method_note(tables)} {best_note(tables)}", **_methods(tables),
                columns=tuple(METRICS[name] for name in metrics),
                **_pick(tables.summary, tables.methods, metrics, "method", "metric"))


def differences_grid(tables: Tables) -> Grid:
    """Return the paired differences of the methods from the baseline; bold where they are significant."""
    methods = [method for method in tables.methods if method != tables.baseline]
    metrics = [name for name in shown_metrics(tables) if name != "gap_closed"]
    frame = tables.differences.assign(best=tables.differences["p"] < SIGNIFICANT)
    return Grid(name="differences", title=f"Difference of each method from {tables.baseline}", where=_where(tables),
                note=f"{method_note(tables)} {difference_note(tables)}", header=method_header(tables),
                keys=tuple(method_key(tables, method) for method in methods),
                columns=tuple(replace(METRICS[name], signed=True) for name in metrics),
                **_pick(frame, methods, metrics, "method", "metric"))


def accuracy_grid(tables: Tables) -> Grid:
    """Return the accuracy on each task after the last stage, with their mean and pooled: one row per method."""
    tasks = list(dict.fromkeys(tables.tasks["task"]))
    final = tables.tasks.loc[tables.tasks["measure"] == "final_accuracy"].rename(columns={"task": "metric"})
    frame = pd.concat([final, tables.summary.loc[tables.summary["metric"].isin(["aa", "pooled"])]])
    columns = [*tasks, "aa", "pooled"]
    return Grid(name="accuracy", title="Accuracy (%) on each task after the last stage", where=_where(tables),
                note=f"{method_note(tables)} {best_note(tables)}", **_methods(tables),
                columns=tuple(Column(short=name) for name in [*tasks, "Mean", "Pooled"]),
                **_pick(frame, tables.methods, columns, "method", "metric"))


def detection_table(tables: Tables) -> pd.DataFrame:
    """Return TASK_MEASURES of each method and task after the last stage, means over seeds."""
    by_task = tables.splits.groupby(["method", "task"], sort=False, as_index=False)
    return pd.DataFrame(by_task[list(TASK_MEASURES)].mean())


def detection_grids(tables: Tables) -> tuple[Grid, ...]:
    """Return AUC and the true positive rates at 1 and 5 % false positives on each task: one row per method."""
    table = detection_table(tables)
    tasks = list(dict.fromkeys(tables.tasks["task"]))
    grids = []
    for name in DETECTION:
        column = TASK_MEASURES[name]
        matrix = table.pivot(index="method", columns="task", values=name).reindex(index=tables.methods, columns=tasks)
        values = matrix.assign(Mean=matrix.mean(axis=1, skipna=False)).to_numpy(dtype=np.float64)
        grids.append(Grid(name=f"detection-{name.replace('_', '-')}", where=_where(tables), **_methods(tables),
                          title=f"{column.short} on each task after the last stage", mean=values,
                          note=f"{seeds_note(tables)}.",
                          columns=tuple(replace(column, short=task) for task in [*tasks, "Mean"]),
                          low=np.full_like(values, np.nan), high=np.full_like(values, np.nan)))
    return tuple(grids)


def matrix_grids(tables: Tables, measure: str = "accuracy") -> tuple[Grid, ...]:
    """Return the accuracy matrix of each scored method: one row per scored stage, one column per task."""
    table = tables.matrices.loc[(tables.matrices["measure"] == measure) & tables.matrices["mean"].notna()]
    tasks = list(dict.fromkeys(tables.matrices["task"]))
    grids = []
    for method in (method for method in tables.methods if (table["method"] == method).any()):
        matrix_rows = table.loc[table["method"] == method]
        keys = [str(key) for key in dict.fromkeys(matrix_rows["key"])]
        grids.append(Grid(
            name=f"matrix-{method}", title=f"Accuracy (%) of {method} after each stage", where=_where(tables),
            note=method_note(tables), header=("After stage",), keys=tuple((key,) for key in keys),
            columns=tuple(Column(short=task, higher=None) for task in tasks),
            **_pick(matrix_rows, keys, tasks, "key", "task")))
    return tuple(grids)


def zero_shot_grids(tables: Tables) -> tuple[Grid, Grid]:
    """Return accuracy and AUC on each task just before it was learned: one row per method."""
    first_tasks = set(tables.stages[0].tasks)
    tasks = [task for task in dict.fromkeys(tables.zero_shot["task"]) if task not in first_tasks]
    grids = []
    for measure, name, decimals in (("accuracy", "accuracy (%)", 1), ("auc", "AUC", 3)):
        table = tables.zero_shot.loc[tables.zero_shot["measure"] == measure]
        columns = tuple(Column(short="Mean" if task == ALL_TASKS else task, decimals=decimals) for task in tasks)
        grids.append(Grid(
            name=f"zero-shot-{measure}", title=f"Zero-shot {name} on each task, just before it was learned",
            where=_where(tables), note=method_note(tables), **_methods(tables), columns=columns,
            **_pick(table, tables.methods, tasks, "method", "task")))
    return grids[0], grids[1]


def robustness_grid(robustness: pd.DataFrame, tables: Tables, measure: str = "accuracy") -> Grid:
    """Return the mean over the strengths of each perturbation (`robustness.robustness_table`): one row per method."""
    table = robustness.loc[(robustness["measure"] == measure) & robustness["strength"].isna()]
    names = list(dict.fromkeys(table["perturbation"]))
    name, decimals = {"accuracy": ("Accuracy (%)", 1), "auc": ("AUC", 3)}[measure]
    columns = tuple(Column(short="unchanged" if perturbation == UNPERTURBED else perturbation, decimals=decimals)
                    for perturbation in names)
    return Grid(name=f"robustness-{measure}", where=_where(tables), note=method_note(tables), **_methods(tables),
                title=f"{name} after the last stage on perturbed test images, mean over tasks and strengths",
                columns=columns, **_pick(table, tables.methods, names, "method", "perturbation"))


def novelty_grid(novelty: pd.DataFrame, tables: Tables) -> Grid:
    """Return the means of `novelty_table.novelty_table` over the stages before the last: one row per method."""
    by_run = novelty.loc[novelty["auc"].notna()].groupby(["method", "seed"], sort=False)[list(NOVELTY)].mean()
    by_method = by_run.groupby("method")
    values = {name: table.reindex(tables.methods).to_numpy(dtype=np.float64) for name, table in (
        ("mean", by_method.mean()), ("low", by_method.min()), ("high", by_method.max()))}
    single_seed = np.array([tables.seeds_of(method) == 1 for method in tables.methods])[:, None]
    values |= {name: np.where(single_seed, np.nan, values[name]) for name in ("low", "high")}
    return Grid(name="novelty", title="What novelty notices of tasks still to come", where=_where(tables),
                note=f"Means over the stages before the last. {_range_note(tables)} {_explained(NOVELTY)}",
                **_methods(tables), columns=tuple(NOVELTY.values()), **values)


def novelty_sentence(novelty: pd.DataFrame) -> str:
    """Return a sentence on what novelty detects, mean over all methods; empty where no task was still to come."""
    defined = novelty.loc[novelty["auc"].notna()]
    if defined.empty:
        return ""
    means = defined[list(NOVELTY)].mean()
    verdict = ("novelty notices many new generators here" if means["auc"] >= NOTICEABLE_AUC else
               "novelty is no protection from new generators here")
    return (f"Of the images of the tasks learned {number(means['known'], 1)} % are called unknown (the threshold "
            f"intends 1 %), of the fakes of tasks still to come {number(means['new_fake'], 1)} %, AUC "
            f"{number(means['auc'], 3)}: {verdict}. It follows content rather than the generator.")


def cost_grid(costs: pd.DataFrame, tables: Tables) -> Grid:
    """Return the costs of a run (`history.cost_table`): one row per method."""
    table = costs.assign(scale=[SCALES.get(metric, 1.0) for metric in costs["metric"]])
    for column in ("mean", "low", "high"):
        table[column] = table[column] * table["scale"]
    single_seed = np.array([tables.seeds_of(method) == 1 for method in tables.methods])[:, None]
    grid = Grid(name="costs", title="Cost of a run", where=_where(tables),
                note=f"{_range_note(tables)} {_explained(COSTS)}", **_methods(tables), columns=tuple(COSTS.values()),
                **_pick(table, tables.methods, list(COSTS), "method", "metric"))
    return replace(grid, low=np.where(single_seed, np.nan, grid.low), high=np.where(single_seed, np.nan, grid.high))


def _range_note(tables: Tables) -> str:
    """Return over how many seeds the means and the ranges of a table are."""
    ranges = ", in brackets the lowest and the highest" if tables.max_seeds > 1 else ""
    return f"{seeds_note(tables)}{ranges}."


def _explained(columns: Mapping[str, Column]) -> str:
    """Return the explanation of the columns as a sentence."""
    return "; ".join(f"{column.short}: {column.long[0].lower()}{column.long[1:]}" for column in columns.values()) + "."


def headline_text(tables: Tables) -> str:
    """Return average accuracy, forgetting and C-AUC of each method as aligned lines for the terminal."""
    grid = summary_grid(tables, HEADLINES)
    rows = [["method", "average accuracy (%)", "forgetting (points)", "C-AUC"]] + [
        [method, *(f"{number(grid.mean[r, c], column.decimals)} "
                   f"{interval(grid.low[r, c], grid.high[r, c], column.decimals)}".strip()
                   for c, column in enumerate(grid.columns))] for r, method in enumerate(tables.methods)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip()
                     for row in rows)
