"""Wiring of the monitoring pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import MONITORING_PARAMETERS, SCORE_LOG
from fakemedia.pipelines.monitoring.nodes import draw_timeline, judge_windows, write_monitoring_page


def create_pipeline() -> Pipeline:
    """Return the nodes that judge the windows of the log since the last time and write the page."""
    return Pipeline([
        node(judge_windows, [MONITORING_PARAMETERS, SCORE_LOG, "windows_before", "reference_before"],
             ["windows", "reference"], name="judge_windows"),
        node(draw_timeline, "windows", "timeline", name="draw_timeline"),
        node(write_monitoring_page, [MONITORING_PARAMETERS, "windows", "timeline"], "page",
             name="write_monitoring_page"),
    ], namespace="monitoring", parameters={MONITORING_PARAMETERS, SCORE_LOG}, tags="monitoring")
