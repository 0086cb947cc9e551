"""One registered pipeline for each sequence in the parameters."""

from kedro.pipeline import Pipeline

from fakemedia import project
from fakemedia.pipelines import grouping, ingestion, reporting, training


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines by sequence; `__default__` is the one that the parameter `sequence` names."""
    pipelines = {}
    for name in project.sequences():
        plan = project.plan(name)
        pipelines[name] = (
            ingestion.create_pipeline(plan) + grouping.create_pipeline(plan) + training.create_pipeline(plan)
            + reporting.create_pipeline(plan)
        )
    return {"__default__": pipelines[project.default_sequence()], **pipelines}
