"""One registered pipeline for each sequence in the parameters, those of several together, and those of production."""

from collections.abc import Sequence

from kedro.pipeline import Pipeline

from fakemedia.catalog.names import SPLIT
from fakemedia.catalog.project_catalog import CURRENT_CONTEXT
from fakemedia.context.context import Context
from fakemedia.context.loading import load_context
from fakemedia.core.plan import SEPARATOR
from fakemedia.pipelines import comparison, grouping, ingestion, monitoring, promotion, reporting, training, update


def register_pipelines() -> dict[str, Pipeline]:
    """Return the pipelines by sequence; `__default__` is the one named by the parameter `sequence`.

    Names joined by a plus sign, such as `demo+second`, are the pipeline of these sequences together. The context is
    that of the running session, or, without a session, that of KEDRO_ENV.
    """
    context = CURRENT_CONTEXT.get() or load_context()
    made = {name: _whole(context, (name,)) for name in context.sequences}
    beside = {"monitoring": monitoring.create_pipeline(), "update": update.create_pipeline(context),
              "promotion": promotion.create_pipeline(context)}
    return _Pipelines(context, {"__default__": made[context.default_sequence], **made, **beside})


class _Pipelines(dict[str, Pipeline]):
    """Pipelines by name; those of several sequences are made when they are asked for."""

    def __init__(self, context: Context, made: dict[str, Pipeline]) -> None:
        super().__init__(made)
        self._context = context

    def __missing__(self, name: str) -> Pipeline:
        sequences = name.split(SEPARATOR)
        if len(sequences) == 1:
            raise KeyError(name)
        return _whole(self._context, sequences)


def _whole(context: Context, sequences: Sequence[str]) -> Pipeline:
    """Return all nodes of `sequences` and of those that they are compared with; a task of several is ingested once."""
    plans = [context.plan(sequence) for sequence in sequences]
    collections = dict.fromkeys(plan.collection for plan in plans)
    ingested = [ingestion.create_pipeline(context, [plan for plan in plans if plan.collection == collection])
                for collection in collections]
    return sum([_learned(context, sequence) for sequence in sequences], sum(ingested, Pipeline([])))


def _learned(context: Context, sequence: str) -> Pipeline:
    """Return the nodes of a sequence, and of those that it is compared with, after the ingestion.

    While the groups of one of them are unknown, these are the nodes that find them.
    """
    plans = context.compared(sequence)
    own, *others = plans
    first = sum((ingestion.gather_splits(plan) for plan in plans), grouping.create_pipeline(context, own))
    first = sum((grouping.create_pipeline(context, plan) for plan in others if plan.grouping is not None), first)
    if not all(plan.stages for plan in plans):
        return first
    trained = sum((training.create_pipeline(context, plan) for plan in plans), first)
    report = reporting.create_pipeline(own, families=context.families(own.collection),
                                       robust=context.robustness(sequence) is not None,
                                       stores={task: context.path(SPLIT, collection=own.collection, task=task,
                                                                  split="test") for task in own.tasks})
    return trained + report + comparison.create_pipeline(plans)
