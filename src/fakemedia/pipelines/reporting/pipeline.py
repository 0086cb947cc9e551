"""Wiring of the reporting pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import AUDIT, HISTORY, PERTURBED, RESULTS, VALIDATION
from fakemedia.context import project
from fakemedia.core.plan import Plan
from fakemedia.pipelines.reporting.nodes import (
    draw_curves,
    draw_groups,
    draw_matrices,
    draw_real_fake,
    draw_reliability,
    draw_robustness,
    draw_rocs,
    draw_scores,
    draw_tasks,
    draw_training,
    gather_histories,
    gather_scores,
    profile,
    tabulate,
    tabulate_calibration,
    tabulate_robustness,
    write_costs,
    write_page,
    write_robustness,
    write_tables,
)
from fakemedia.pipelines.wiring import bound


def create_pipeline(plan: Plan) -> Pipeline:
    """Return the nodes that turn the scores and histories of `plan` into tables, figures and the report page."""
    results, validation, histories, perturbed = (
        [pattern.format(sequence=plan.sequence, method=method.label) for method in plan.methods]
        for pattern in (RESULTS, VALIDATION, HISTORY, PERTURBED))
    robust = project.robustness(plan.sequence) is not None
    audit = AUDIT.format(collection=plan.collection, sequence=plan.sequence)
    nodes = [
        node(bound(gather_scores, plan=plan), results, "scores", name="gather_scores"),
        node(gather_histories, histories, "histories", name="gather_histories"),
        node(bound(tabulate, plan=plan), "scores", "tables", name="tabulate"),
        node(bound(tabulate_calibration, plan=plan), [*results, *validation], "calibration",
             name="tabulate_calibration"),
        node(profile, ["scores", "calibration"], "profiles", name="profile"),
        node(write_tables, "tables", ["metrics", "summary", "matrices", "zero_shot", "headline"],
             name="write_tables"),
        node(write_costs, ["histories", "tables"], "costs", name="write_costs"),
        *(node(bound(draw_curves, measure=measure), "tables", f"average_{measure}", name=f"draw_average_{measure}")
          for measure in ("accuracy", "auc")),
        *(node(bound(draw_tasks, measure=measure), "tables", measure, name=f"draw_{measure}")
          for measure in ("forgetting", "learning_accuracy", "final_accuracy")),
        node(draw_real_fake, "tables", "real_fake", name="draw_real_fake"),
        node(draw_groups, "tables", "groups", name="draw_groups"),
        node(draw_matrices, "tables", "matrix_figures", name="draw_matrices"),
        node(draw_rocs, ["profiles", "tables"], "roc_figures", name="draw_rocs"),
        node(draw_scores, ["profiles", "tables"], "score_figures", name="draw_scores"),
        node(draw_reliability, ["profiles", "tables"], "reliability", name="draw_reliability"),
        node(bound(draw_training, plan=plan), "histories", "training_curves", name="draw_training"),
        node(bound(write_page, plan=plan), ["tables", "profiles", "calibration", "histories", audit,
                                            *(["robustness"] if robust else [])], "report", name="write_report"),
    ]
    if robust:
        nodes += [
            node(bound(tabulate_robustness, plan=plan), perturbed, "robustness", name="tabulate_robustness"),
            node(write_robustness, ["robustness", "tables"], "robustness_means", name="write_robustness"),
            node(draw_robustness, ["robustness", "tables"], "robustness_curves", name="draw_robustness"),
        ]
    return Pipeline(nodes, namespace=f"{plan.sequence}-report", tags="reporting",
                    inputs={*results, *validation, *histories, audit, *(perturbed if robust else ())})
