"""Wiring of the promotion pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import GATE_PARAMETERS
from fakemedia.context.context import Context
from fakemedia.pipelines.promotion.nodes import (
    choose_versions,
    gather_test_pictures,
    judge_candidate,
    score_cases,
    score_version,
    write_gate_report,
)
from fakemedia.pipelines.wiring import bound


def create_pipeline(context: Context) -> Pipeline:
    """Return the nodes that compare the candidate with the champion, as `kedro gate` does."""
    return Pipeline([
        node(bound(choose_versions, context=context), None, "versions", name="choose_versions"),
        node(bound(gather_test_pictures, context=context), "versions", "test_pictures", name="gather_test_pictures"),
        *(node(bound(score_version, context=context, role=role), ["versions", "test_pictures"], f"{role}_scores",
               name=f"score_{role}") for role in ("champion", "candidate")),
        node(bound(score_cases, context=context), ["versions", GATE_PARAMETERS], "cases", name="score_cases"),
        node(judge_candidate, ["champion_scores", "candidate_scores", "cases", GATE_PARAMETERS], "verdict",
             name="judge_candidate"),
        node(bound(write_gate_report, context=context), "verdict", "report", name="write_gate_report"),
    ], namespace="promotion", parameters={GATE_PARAMETERS}, tags="gate")
