"""One registered pipeline for each sequence in the parameters."""

from kedro.pipeline import Pipeline

from fakemedia.context import project
from fakemedia.pipelines import comparison, grouping, ingestion, reporting, training


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines by sequence; `__default__` is the one that the parameter `sequence` names."""
    pipelines = {name: _whole(name) for name in project.sequences()}
    return {"__default__": pipelines[project.default_sequence()], **pipelines}


def _whole(sequence: str) -> Pipeline:
    """Return all nodes of a sequence and of those that it is compared with.

    As long as the groups of one of them are not known, these are the nodes that find them.
    """
    plans = project.compared(sequence)
    own, *others = plans
    first = sum((grouping.create_pipeline(plan) for plan in others if plan.grouping is not None),
                ingestion.create_pipeline(own) + grouping.create_pipeline(own))
    if not all(plan.stages for plan in plans):
        return first
    trained = sum((training.create_pipeline(plan) for plan in plans), first)
    report = reporting.create_pipeline(own, families=project.families(own.collection),
                                       robust=project.robustness(sequence) is not None)
    return trained + report + comparison.create_pipeline(plans)
