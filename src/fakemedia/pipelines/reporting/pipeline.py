"""Wiring of the reporting pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import RESULTS
from fakemedia.core.plan import Plan
from fakemedia.pipelines.reporting.nodes import (
    draw_curves,
    draw_matrix,
    draw_tasks,
    tabulate,
    write_page,
    write_tables,
)
from fakemedia.pipelines.wiring import bound


def create_pipeline(plan: Plan) -> Pipeline:
    """Return the nodes that turn the scores of `plan` into tables, figures and the report page."""
    methods = [method.name for method in plan.methods]
    results = [RESULTS.format(sequence=plan.sequence, method=method) for method in methods]
    nodes = [
        node(bound(tabulate, plan=plan), results, "tables", name="tabulate"),
        node(write_tables, "tables", ["metrics", "summary", "latex", "markdown", "headline"], name="write_tables"),
        *(node(bound(draw_curves, measure=measure), "tables", f"average_{measure}", name=f"draw_average_{measure}")
          for measure in ("accuracy", "auc")),
        *(node(bound(draw_tasks, measure=measure), "tables", measure, name=f"draw_{measure}")
          for measure in ("forgetting", "learning_accuracy", "final_accuracy")),
        *(node(bound(draw_matrix, method=method), "tables", f"matrix_{method}", name=f"draw_matrix_{method}")
          for method in methods),
        node(bound(write_page, plan=plan), "tables", "report", name="write_report"),
    ]
    return Pipeline(nodes, namespace=f"{plan.sequence}-report", inputs=set(results), tags="reporting")
