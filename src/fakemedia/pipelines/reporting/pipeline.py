"""Wiring of the reporting pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import RESULTS, VALIDATION
from fakemedia.core.plan import Plan
from fakemedia.pipelines.reporting.nodes import (
    draw_curves,
    draw_matrix,
    draw_tasks,
    tabulate,
    tabulate_calibration,
    write_page,
    write_tables,
)
from fakemedia.pipelines.wiring import bound


def create_pipeline(plan: Plan) -> Pipeline:
    """Return the nodes that turn the scores of `plan` into tables, figures and the report page."""
    methods = [method.name for method in plan.methods]
    results, validation = ([pattern.format(sequence=plan.sequence, method=method) for method in methods]
                           for pattern in (RESULTS, VALIDATION))
    nodes = [
        node(bound(tabulate, plan=plan), results, "tables", name="tabulate"),
        node(bound(tabulate_calibration, plan=plan), [*results, *validation], "calibration",
             name="tabulate_calibration"),
        node(write_tables, "tables", ["metrics", "summary", "latex", "markdown", "headline"], name="write_tables"),
        *(node(bound(draw_curves, measure=measure), "tables", f"average_{measure}", name=f"draw_average_{measure}")
          for measure in ("accuracy", "auc")),
        *(node(bound(draw_tasks, measure=measure), "tables", measure, name=f"draw_{measure}")
          for measure in ("forgetting", "learning_accuracy", "final_accuracy")),
        *(node(bound(draw_matrix, method=method), "tables", f"matrix_{method}", name=f"draw_matrix_{method}")
          for method in methods),
        node(bound(write_page, plan=plan), "tables", "report", name="write_report"),
    ]
    return Pipeline(nodes, namespace=f"{plan.sequence}-report", inputs={*results, *validation}, tags="reporting")
