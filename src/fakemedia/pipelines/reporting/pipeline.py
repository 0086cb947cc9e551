"""Wiring of the reporting pipeline."""

from collections.abc import Mapping
from pathlib import Path

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import AUDIT, RESULTS, SIMILARITY_FIGURES
from fakemedia.core.plan import Plan
from fakemedia.pipelines.reporting.nodes import (
    draw_figures,
    find_examples,
    gather_histories,
    gather_scores,
    profile,
    tabulate,
    tabulate_calibration,
    tabulate_novelty,
    tabulate_robustness,
    write_page,
    write_tables,
)
from fakemedia.pipelines.wiring import bound
from fakemedia.reporting.sections import ROBUSTNESS, SECTIONS


def create_pipeline(plan: Plan, *, families: Mapping[str, str], robust: bool, stores: Mapping[str, Path]) -> Pipeline:
    """Return the nodes that turn the scores and histories of `plan` into tables, figures and the report page.

    `families` gives the family of each task, `robust` says whether robustness is measured,
    `stores` gives the folder of each task's test pictures; the report can do without them.
    """
    results = [RESULTS.format(sequence=plan.sequence, label=method.label) for method in plan.methods]
    audit = AUDIT.format(collection=plan.collection, sequence=plan.sequence)
    sections = tuple(section for section in SECTIONS if robust or section != ROBUSTNESS)
    figures = [f"figures_{section.key}" for section in sections]
    similarity = [SIMILARITY_FIGURES.format(sequence=plan.sequence)] if plan.measures and len(plan.tasks) > 1 else []
    nodes = [
        node(bound(gather_scores, plan=plan), results, "scores", name="gather_scores"),
        node(gather_histories, results, "histories", name="gather_histories"),
        node(bound(tabulate, plan=plan, families=families), "scores", "tables", name="tabulate"),
        node(bound(tabulate_calibration, plan=plan), results, "calibration", name="tabulate_calibration"),
        node(bound(tabulate_novelty, plan=plan), results, "novelty", name="tabulate_novelty"),
        node(profile, ["scores", "calibration"], "profiles", name="profile"),
        node(bound(find_examples, stores=stores), ["tables", *results], "examples", name="find_examples"),
        node(write_tables, ["tables", "histories", "novelty", *(["robustness"] if robust else [])],
             ["metrics", "printed_tables", "headline"], name="write_tables"),
        *(node(bound(draw_figures, section=section), list(section.needs), name, name=f"draw_{section.key}")
          for section, name in zip(sections, figures, strict=True)),
        node(bound(write_page, plan=plan, robust=robust,
                   sections=(*(section.key for section in sections), *(["similarity"] if similarity else []))),
             ["tables", "calibration", "novelty", "histories", audit, "examples", *figures, *similarity,
              *(["robustness"] if robust else [])],
             "report", name="write_report"),
    ]
    if robust:
        nodes.append(node(bound(tabulate_robustness, plan=plan), results, "robustness", name="tabulate_robustness"))
    return Pipeline(nodes, namespace=f"{plan.sequence}-report", tags="reporting",
                    inputs={*results, audit, *similarity})
