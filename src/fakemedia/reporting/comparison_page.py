"""The comparison of arrangements as text: verdicts, LaTeX, Markdown, and an HTML page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from fakemedia.reporting.comparison import METRICS, Comparison
from fakemedia.reporting.estimates import MIN_SEEDS, SIGNIFICANT
from fakemedia.reporting.formats import Column, Grid, interval, to_latex, to_markdown, to_table
from fakemedia.reporting.grids import METRICS as METRIC_COLUMNS
from fakemedia.reporting.pages import Cell, Table, render_page
from fakemedia.reporting.rendering import RenderedFigure

TARGETS = {"zero_shot": "zero-shot transfer", "forgetting": "forgetting"}
EXPECTED_SIGNS = {"zero_shot": -1, "forgetting": 1}
"""Sign of the correlation of a distance that predicts well."""
UNDEFINED_ESTIMATE = dict.fromkeys(("mean", "low", "high", "p"), np.nan)
PREDICTION_NOTE = (
    "Spearman's rank correlation over pairs of what a stage learns and a task that it does not, in all arrangements, "
    "means over seeds. Pairs share tasks: the interval is that of a bootstrap over tasks and seeds, not over pairs. Of "
    "many such intervals about one in twenty excludes 0 by chance.")

def verdicts(comparison: Comparison) -> list[str]:
    """Return a sentence on each arrangement: its change of average accuracy and forgetting, and the significance."""
    estimates = _estimates(comparison.differences, "arrangement", "method", "metric")
    pairs = list(dict.fromkeys((arrangement, method) for arrangement, method, _ in estimates))
    return [f"{arrangement} against {comparison.baseline}, {method}: "
            + "; ".join(_verdict(estimates[arrangement, method, metric], metric) for metric in ("aa", "forgetting"))
            + "." for arrangement, method in pairs]


def _estimates(table: pd.DataFrame, *keys: str) -> dict[tuple[str, ...], dict[str, float]]:
    """Return mean, low, high and p by the values of the columns `keys`, in the order of the table."""
    return {tuple(row[key] for key in keys): {name: row.get(name, np.nan) for name in ("mean", "low", "high", "p")}
            for row in table.to_dict("records")}


def _verdict(row: Mapping[str, float], metric: str) -> str:
    name = {"aa": "average accuracy", "forgetting": "forgetting"}[metric]
    if np.isnan(row["mean"]):
        return f"{name} undefined"
    points = f"{abs(row['mean']):.1f} points {'higher' if row['mean'] > 0 else 'lower'} " \
             f"{interval(row['low'], row['high'], 1)}"
    if np.isnan(row["p"]):
        return f"{name} {points}, not judged, since fewer than {MIN_SEEDS} seeds show no significant difference"
    if row["p"] >= SIGNIFICANT:
        return f"{name} {points}, which is not significant"
    better = (row["mean"] > 0) == METRIC_COLUMNS[metric].higher
    return f"{name} {points}, {'better' if better else 'worse'}"


def prediction_verdicts(comparison: Comparison) -> list[str]:
    """Return a sentence on each measure and method: whether it predicted transfer and forgetting."""
    estimates = _estimates(comparison.predictions, "measure", "method", "target")
    testable = len(comparison.seeds) >= MIN_SEEDS
    return [f"{measure}, {method}, {TARGETS[target]}: {_prediction(row, EXPECTED_SIGNS[target], testable)}."
            for (measure, method, target), row in estimates.items()]


def _prediction(row: Mapping[str, float], sign: int, testable: bool) -> str:
    if np.isnan(row["mean"]):
        return "undefined, since all are equal"
    value = f"{row['mean']:+.2f} {interval(row['low'], row['high'], 2)}"
    if not testable:
        return f"{value}, not judged, since there are fewer than {MIN_SEEDS} seeds"
    if not (row["low"] > 0 or row["high"] < 0):
        return f"{value}, no significant prediction"
    return f"{value}, {'predicted' if row['mean'] * sign > 0 else 'the wrong way round'}"


def comparison_text(comparison: Comparison) -> str:
    """Return the verdicts on the arrangements for the terminal."""
    return "\n".join([f"Against {comparison.baseline}, over {_seeds(comparison)}:",
                      *(f"  {line}" for line in verdicts(comparison))])


def _seeds(comparison: Comparison) -> str:
    return f"{len(comparison.seeds)} seeds" if len(comparison.seeds) > 1 else "one seed"


def note(comparison: Comparison) -> str:
    """Return the sentence on how means and intervals were computed."""
    return (f"Mean over {_seeds(comparison)}; in brackets the 95 % interval of a bootstrap over "
            f"{comparison.groups} source groups{' and seeds' if len(comparison.seeds) > 1 else ''}, the same draws for "
            "every arrangement: differences are paired. Bold: significant at 5 % with Holm's correction for the number "
            f"of arrangements and methods; nothing is judged from fewer than {MIN_SEEDS} seeds. Forgetting leaves "
            "out the tasks learned last.")


def grids(comparison: Comparison) -> list[Grid]:
    """Return the tables of the comparison: arrangements and, where distances were measured, their predictions."""
    against = [replace(METRIC_COLUMNS[metric], short=f"{METRIC_COLUMNS[metric].short} vs {comparison.baseline}",
                       higher=None)
               for metric in ("aa", "forgetting")]
    rows = [(method, arrangement) for method in comparison.methods for arrangement in comparison.stages]
    values = _estimates(comparison.arrangements, "method", "arrangement", "metric")
    differences = _estimates(comparison.differences, "method", "arrangement", "metric")
    cells = [[*(values[*row, metric] for metric in METRICS),
              *(differences.get((*row, metric), UNDEFINED_ESTIMATE) for metric in ("aa", "forgetting"))]
             for row in rows]
    main = _grid(comparison, "comparison", "Arrangements of the same tasks", note(comparison),
                 ("Method", "Arrangement"), rows, [*(METRIC_COLUMNS[metric] for metric in METRICS), *against], cells)
    predictions = _estimates(comparison.predictions, "measure", "method", "target")
    pairs = list(dict.fromkeys((measure, method) for measure, method, _ in predictions))
    if not pairs:
        return [main]
    targets = [Column(short=f"{name[0].upper()}{name[1:]} (perfect: {EXPECTED_SIGNS[target]:+d})", decimals=2,
                      higher=None)
               for target, name in TARGETS.items()]
    return [main, _grid(comparison, "prediction", "Rank correlation of distances with what was seen in training",
                        PREDICTION_NOTE, ("Measure", "Method"), pairs, targets,
                        [[predictions[*pair, target] for target in TARGETS] for pair in pairs])]


def _grid(comparison: Comparison, name: str, title: str, remark: str, header: tuple[str, ...],
          keys: list[tuple[str, str]], columns: list[Column], cells: Sequence[Sequence[Mapping[str, float]]]) -> Grid:
    mean, low, high, p = (np.array([[cell[part] for cell in row] for row in cells])
                          for part in ("mean", "low", "high", "p"))
    return Grid(name=name, title=title, where=f"Sequence {comparison.sequence}.", note=remark, header=header,
                keys=tuple(keys), columns=tuple(columns), mean=mean, low=low, high=high, best=p < SIGNIFICANT)


def comparison_latex(comparison: Comparison) -> str:
    """Return the tables of the comparison in LaTeX."""
    return "\n".join(to_latex(grid, f"{comparison.sequence}-{grid.name}") for grid in grids(comparison))


def comparison_markdown(comparison: Comparison) -> str:
    """Return the tables of the comparison, and the verdicts, in Markdown."""
    return "\n".join([*map(to_markdown, grids(comparison)), *(f"- {line}" for line in verdicts(comparison)), ""])


def comparison_page(comparison: Comparison, figures: Sequence[RenderedFigure]) -> str:
    """Return the comparison as one self-contained HTML page; `figures` as of `draw_comparison`."""
    main, *others = grids(comparison)
    orders = [[Cell(text=text) for text in (label, " → ".join(" + ".join(stage.tasks) for stage in stages))]
              for label, stages in comparison.stages.items()]
    return render_page(
        "comparison.html", title=f"{comparison.sequence}: did the order and the groups of the tasks matter?",
        verdicts=verdicts(comparison), orders=Table(header=["Arrangement", "Stages"], rows=orders, text_columns=2),
        results=to_table(main), note=main.note, pictures=figures,
        predictions=to_table(others[0]) if others else None, prediction_note=PREDICTION_NOTE,
        prediction_verdicts=prediction_verdicts(comparison))
