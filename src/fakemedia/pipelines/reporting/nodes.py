"""Nodes of the reporting pipeline: everything is computed from result files."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.core.plan import Plan
    from fakemedia.reporting.examples import Examples
    from fakemedia.reporting.grids import Printed
    from fakemedia.reporting.method_results import MethodResults
    from fakemedia.reporting.profiles import Profiles
    from fakemedia.reporting.rendering import RenderedFigure
    from fakemedia.reporting.results import Results
    from fakemedia.reporting.sections import Section
    from fakemedia.reporting.tables import Tables


def gather_scores(*results: MethodResults, plan: Plan) -> Results:
    """Return the scores of all methods, checked and laid out by task and run."""
    from fakemedia.reporting.results import gather

    return gather(_joined([result.scores for result in results]), sequence=plan.sequence, network=plan.network.name,
                  stages=plan.stages, methods=[method.label for method in plan.methods], seeds=plan.seeds,
                  planned={method.label: plan.seeds_of(method.label) for method in plan.methods})


def gather_histories(*results: MethodResults) -> pd.DataFrame:
    """Return how every checkpoint was trained, all methods in one table."""
    return _joined([result.history for result in results])


def _joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Return `tables` as one; tables without rows are ignored, so that column types stay."""
    import pandas as pd

    return pd.concat([table for table in tables if len(table)] or tables[:1], ignore_index=True)


def tabulate(scores: Results, *, plan: Plan, families: Mapping[str, str]) -> Tables:
    """Return every table of accuracies and AUC, with intervals; `families` gives the family of each task.

    The baseline is the first label whose method is `finetune`, the upper bound the first whose method is
    `joint`; none of these is ranked.
    """
    from fakemedia.reporting.tables import make_tables

    first = {method.method: method.label for method in reversed(plan.methods)}
    trained = {method.label: (method.network.settings.get("architecture", method.network.name), method.tune)
               for method in plan.methods}
    return make_tables(scores, baseline=first.get("finetune"), upper=first.get("joint"), families=families,
                       unranked=[method.label for method in plan.methods if method.method == "joint"],
                       trained=trained if len(set(trained.values())) > 1 else {})


def tabulate_calibration(*results: MethodResults, plan: Plan) -> pd.DataFrame:
    """Return what the calibration of each checkpoint changes on every test split."""
    from fakemedia.reporting.calibration_table import calibration_table

    calibrations = {key: calibration for result in results for key, calibration in result.calibrations.items()}
    return calibration_table(_joined([result.scores for result in results]), calibrations, stages=plan.stages)


def tabulate_novelty(*results: MethodResults, plan: Plan) -> pd.DataFrame:
    """Return how well novelty separates future tasks from the tasks learned, by checkpoint."""
    from fakemedia.reporting.novelty_table import novelty_table

    return novelty_table(_joined([result.scores for result in results]), stages=plan.stages)


def tabulate_robustness(*results: MethodResults, plan: Plan) -> pd.DataFrame:
    """Return accuracy and AUC on perturbed images, with intervals, by perturbation and strength."""
    from fakemedia.reporting.robustness_table import robustness_table

    perturbed = [result.perturbed for result in results if result.perturbed is not None]
    return robustness_table(_joined(perturbed), sequence=plan.sequence, network=plan.network.name, tasks=plan.tasks,
                            methods=tuple(method.label for method in plan.methods))


def profile(scores: Results, calibration: pd.DataFrame) -> Profiles:
    """Return ROC curves, histograms of the scores and reliability of the probabilities."""
    from fakemedia.reporting.profiles import make_profiles

    last = calibration.loc[calibration["stage"] == len(scores.stages)].drop_duplicates(["method", "seed"])
    return make_profiles(scores, {(str(row["method"]), int(row["seed"])): float(row["temperature"])
                                  for row in last.to_dict("records")})


def find_examples(tables: Tables, *results: MethodResults, stores: Mapping[str, Path]) -> Examples:
    """Return example pictures of every task and the worst errors; `stores` are the folders of the test pictures."""
    from fakemedia.reporting.examples import find_examples

    return find_examples(_joined([result.scores for result in results]), tables, stores)


def write_tables(tables: Tables, histories: pd.DataFrame, novelty: pd.DataFrame,
                 *robustness: pd.DataFrame) -> tuple[pd.DataFrame, dict[str, Printed], str]:
    """Return the metrics of every run, the tables of the report by name, and the headline for the terminal.

    `robustness` is the table of accuracies on perturbed images, where they were measured.
    """
    from fakemedia.reporting import grids
    from fakemedia.reporting.history import cost_table

    costs, single_method = cost_table(histories), len(tables.methods) == 1
    frames = {
        "summary": (tables.summary, [grids.summary_grid(tables)]),
        "differences": (tables.differences, [] if single_method else [grids.differences_grid(tables)]),
        "accuracy": (tables.tasks, [grids.accuracy_grid(tables)]),
        "detection": (grids.detection_table(tables), grids.detection_grids(tables)),
        "matrices": (tables.matrices, grids.matrix_grids(tables)),
        "zero_shot": (tables.zero_shot, grids.zero_shot_grids(tables)),
        "novelty": (novelty, [grids.novelty_grid(novelty, tables)] if novelty["auc"].notna().to_numpy().any() else []),
        "costs": (costs, [grids.cost_grid(costs, tables)]),
    }
    for table in robustness:
        measures = () if table.empty else ("accuracy", "auc")
        frames["robustness"] = (table, [grids.robustness_grid(table, tables, measure) for measure in measures])
    printed = {name: grids.printed(frame, table_grids, tables.sequence)
               for name, (frame, table_grids) in frames.items()}
    return tables.runs, printed, grids.headline_text(tables)


def draw_figures(tables: Tables, *others: Any, section: Section) -> list[RenderedFigure]:
    """Return the figures of a section of the report, in all file formats."""
    from fakemedia.reporting.gallery import draw_section

    return draw_section(section, tables, *others)


def write_page(tables: Tables, calibration: pd.DataFrame, novelty: pd.DataFrame, histories: pd.DataFrame, audit: str,
               examples: Examples, *others: Any, plan: Plan, sections: tuple[str, ...], robust: bool) -> str:
    """Return the report as one self-contained HTML page.

    `audit` is the verdict on the data, JSON or empty; `others` are the figures of each of `sections` and, if it was
    measured, the robustness.
    """
    from fakemedia.reporting.history import checkpoint_notices, cost_table, last_weights
    from fakemedia.reporting.provenance import package_versions, provenance
    from fakemedia.reporting.report_page import report_page

    return report_page(
        tables, dict(zip(sections, others, strict=False)), costs=cost_table(histories), calibration=calibration,
        novelty=novelty, robustness=others[-1] if robust else None, audit=json.loads(audit) if audit else None,
        weights=last_weights(histories), notices=checkpoint_notices(histories, plan), sources=_sources(plan),
        configuration=asdict(plan.resolved()), versions=package_versions(),
        provenance=provenance(histories, plan.seeds), no_pictures=examples.missing,
    )


def _sources(plan: Plan) -> list[tuple[str, str, str]]:
    """Return where the numbers of the report come from: what, file, command."""
    run = f"kedro run --pipelines {plan.sequence}"
    n_seeds = min(len(plan.seeds_of(method.label)) for method in plan.methods)
    seeded_run = f"{run} --params seed={plan.seeds[0]},n_seeds={n_seeds}"
    report = f"data/08_reporting/{plan.sequence}"
    path = f"{plan.sequence}/<label>/seed<seed>/<stage>"
    return [
        ("Everything, from the pictures on", f"{report}/report.html", seeded_run),
        ("Checkpoint of a stage, with its history beside it", f"data/06_models/{path}",
         f"{seeded_run} --tags <label>"),
        ("Scores of a checkpoint on all test images", f"data/07_model_output/{path}.parquet",
         f"{seeded_run} --tags <label>"),
        ("Every table, from the scores", f"{report}/tables/*.csv, .tex, .md; {report}/metrics.csv",
         f"{seeded_run} --tags reporting"),
        ("Every figure, from the scores and histories", f"{report}/figures/*.pdf, .png",
         f"{seeded_run} --tags reporting"),
        ("Only what is missing or stale", "", f"{seeded_run} --only-missing-outputs"),
    ]
