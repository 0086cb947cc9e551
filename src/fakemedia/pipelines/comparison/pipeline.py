"""Wiring of the comparison pipeline."""

from collections.abc import Sequence

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import DISTANCES, RESULTS
from fakemedia.core.plan import Plan
from fakemedia.pipelines.comparison.nodes import compare, draw_comparison, write_comparison, write_comparison_page
from fakemedia.pipelines.wiring import bound


def create_pipeline(plans: Sequence[Plan]) -> Pipeline:
    """Return the nodes that compare the first of `plans` with the others; none for a single plan."""
    plan = plans[0]
    if len(plans) < 2:
        return Pipeline([])
    distances = [DISTANCES.format(sequence=plan.sequence, measure=measure) for measure in plan.measures]
    results = [RESULTS.format(sequence=compared.sequence, label=method.label)
               for compared in plans for method in compared.methods]
    return Pipeline([
        node(bound(compare, plans=tuple(plans), measures=tuple(plan.measures)), [*distances, *results], "tables",
             name="compare"),
        node(write_comparison, "tables",
             ["arrangements", "differences", "predictions", "latex", "markdown", "verdict"], name="write_comparison"),
        node(draw_comparison, "tables", "figures", name="draw_comparison"),
        node(write_comparison_page, ["tables", "figures"], "page", name="write_comparison_page"),
    ], namespace=f"{plan.sequence}-comparison", inputs={*distances, *results}, tags="reporting")
