"""Wiring of the training pipeline."""

from kedro.pipeline import Pipeline, node
from kedro.pipeline.node import Node

from fakemedia import project
from fakemedia.catalog.names import CHECKPOINT, RESULTS, SCORES, SPLIT, SUITE, of_stage
from fakemedia.core.plan import Plan
from fakemedia.core.types import Stage
from fakemedia.pipelines.training.nodes import collect, learn, score, start
from fakemedia.pipelines.wiring import bound


def create_pipeline(plan: Plan) -> Pipeline:
    """Return the nodes that train every method of `plan` stage by stage, and score every checkpoint."""
    return Pipeline([made for method in plan.methods for made in _method_nodes(plan, method.name)])


def _method_nodes(plan: Plan, method: str) -> list[Node]:
    space = {"namespace": f"{plan.sequence}-{method}"}
    stages = plan.learned(method)
    runs = [(seed, stage) for seed in plan.seeds for stage in stages]
    nodes = []
    for seed, stage in runs:
        nodes.append(_train_node(plan, method, seed, stage, space))
        nodes.append(_score_node(plan, method, seed, stage, space))
    nodes.append(node(
        bound(collect, keys=tuple((seed, stage.index) for seed, stage in runs), method=method),
        [of_stage(SCORES, plan, method, seed, stage) for seed, stage in runs],
        RESULTS.format(sequence=plan.sequence, method=method), name="collect_results",
        tags=["reporting", method], **space,
    ))
    return nodes


def _runtime() -> dict[str, object]:
    return dict(project.parameters().get("runtime") or {})


def _train_node(plan: Plan, method: str, seed: int, stage: Stage, space: dict[str, str]) -> Node:
    parent = plan.parent(method, stage)
    stores = [SPLIT.format(collection=plan.collection, task=task, split="train")
              for task in plan.trained_tasks(method, stage)]
    parents = [of_stage(CHECKPOINT, plan, method, seed, parent)] if parent else []
    return node(
        bound(learn if parent else start, plan=plan, method=method, seed=seed, stage=stage, runtime=_runtime(),
              folder=project.path(CHECKPOINT, sequence=plan.sequence, method=method, seed=seed, stage=stage.key)),
        [SUITE.format(sequence=plan.sequence, split="val"), *parents, *stores],
        of_stage(CHECKPOINT, plan, method, seed, stage), name=f"train_{stage.key}_seed{seed}",
        tags=["training", method], **space,
    )


def _score_node(plan: Plan, method: str, seed: int, stage: Stage, space: dict[str, str]) -> Node:
    return node(
        bound(score, plan=plan, runtime=_runtime(),
              path=project.path(SCORES, sequence=plan.sequence, method=method, seed=seed, stage=stage.key)),
        [of_stage(CHECKPOINT, plan, method, seed, stage), SUITE.format(sequence=plan.sequence, split="test")],
        of_stage(SCORES, plan, method, seed, stage), name=f"score_{stage.key}_seed{seed}",
        tags=["training", method], **space,
    )
