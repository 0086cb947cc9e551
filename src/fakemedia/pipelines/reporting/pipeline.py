"""Wiring of the reporting pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import MATRIX, RESULTS
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
    methods, sequence = [method.name for method in plan.methods], plan.sequence
    tables = f"{sequence}__tables"
    nodes = [
        node(bound(tabulate, plan=plan), [RESULTS.format(sequence=sequence, method=method) for method in methods],
             tables, name=f"tabulate_{sequence}"),
        node(write_tables, tables,
             [f"{sequence}__{part}" for part in ("metrics", "summary", "latex", "markdown", "headline")],
             name=f"write_tables_{sequence}"),
        *(node(bound(draw_curves, measure=measure), tables, f"{sequence}__average_{measure}",
               name=f"draw_average_{measure}_{sequence}") for measure in ("accuracy", "auc")),
        *(node(bound(draw_tasks, measure=measure), tables, f"{sequence}__{measure}", name=f"draw_{measure}_{sequence}")
          for measure in ("forgetting", "learning_accuracy", "final_accuracy")),
        *(node(bound(draw_matrix, method=method), tables, MATRIX.format(sequence=sequence, method=method),
               name=f"draw_matrix_{method}_{sequence}") for method in methods),
        node(bound(write_page, plan=plan), tables, f"{sequence}__report", name=f"write_report_{sequence}"),
    ]
    return Pipeline(nodes, tags="reporting")
