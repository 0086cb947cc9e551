"""One registered pipeline for each sequence in the parameters, and those of production."""

from kedro.pipeline import Pipeline

from fakemedia.catalog.names import SPLIT
from fakemedia.catalog.project_catalog import HANDED_OVER
from fakemedia.context.context import Context
from fakemedia.context.loading import load_context
from fakemedia.pipelines import comparison, grouping, ingestion, monitoring, promotion, reporting, training, update


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines by sequence; `__default__` is the one named by the parameter `sequence`.

    The context is that of the running session, or, without a session, that of KEDRO_ENV.
    """
    context = HANDED_OVER.get() or load_context()
    made = {name: _whole(context, name) for name in context.sequences}
    beside = {"monitoring": monitoring.create_pipeline(), "update": update.create_pipeline(context),
              "promotion": promotion.create_pipeline(context)}
    return {"__default__": made[context.default_sequence], **made, **beside}


def _whole(context: Context, sequence: str) -> Pipeline:
    """Return all nodes of a sequence and of those that it is compared with.

    While the groups of one of them are unknown, these are the nodes that find them.
    """
    plans = context.compared(sequence)
    own, *others = plans
    first = sum((ingestion.gather_splits(plan) for plan in plans),
                ingestion.create_pipeline(context, own) + grouping.create_pipeline(context, own))
    first = sum((grouping.create_pipeline(context, plan) for plan in others if plan.grouping is not None), first)
    if not all(plan.stages for plan in plans):
        return first
    trained = sum((training.create_pipeline(context, plan) for plan in plans), first)
    report = reporting.create_pipeline(own, families=context.families(own.collection),
                                       robust=context.robustness(sequence) is not None,
                                       stores={task: context.path(SPLIT, collection=own.collection, task=task,
                                                                  split="test") for task in own.tasks})
    return trained + report + comparison.create_pipeline(plans)
