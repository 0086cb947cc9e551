"""Wiring of the update pipeline."""

from kedro.pipeline import Pipeline, node

from fakemedia.catalog.names import UPDATE_PARAMETERS
from fakemedia.context.context import Context
from fakemedia.pipelines.update.nodes import (
    check_task,
    gather_earlier,
    index_folder,
    learn_task,
    open_champion,
    plan_task,
    register_candidate,
    store_folder,
)
from fakemedia.pipelines.wiring import bound


def create_pipeline(context: Context) -> Pipeline:
    """Return the nodes by which the champion learns the task that the parameter `update` names, as `kedro update`."""
    request = UPDATE_PARAMETERS
    return Pipeline([
        node(bound(open_champion, context=context), None, "champion", name="open_champion"),
        node(bound(plan_task, context=context), [request, "champion"], "plan", name="plan_task"),
        node(bound(index_folder, context=context), [request, "champion", "plan"], "index",
             name="index_folder"),
        node(bound(store_folder, context=context), [request, "champion", "index"], "stored_pictures",
             name="store_folder"),
        node(bound(gather_earlier, context=context), "champion", "earlier_pictures", name="gather_earlier"),
        node(bound(check_task, context=context), ["champion", "stored_pictures", "earlier_pictures"], "pictures",
             name="check_task"),
        node(bound(learn_task, context=context), ["plan", "champion", "pictures", "earlier_pictures"], "checkpoint",
             name="learn_task"),
        node(bound(register_candidate, context=context), ["champion", "checkpoint"], "candidate",
             name="register_candidate"),
    ], namespace="update", parameters={request}, tags="update")
