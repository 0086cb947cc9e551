"""Wiring of the training pipeline."""

from kedro.pipeline import Pipeline, node
from kedro.pipeline.node import Node

from fakemedia.catalog.names import (
    CALIBRATION,
    CALIBRATIONS,
    CHECKPOINT,
    HISTORY,
    PERTURBED,
    RESULTS,
    ROBUSTNESS,
    SCORES,
    SPLIT,
    SUITE,
    VALIDATION_SCORES,
)
from fakemedia.context import project
from fakemedia.core.plan import Plan
from fakemedia.core.types import Stage
from fakemedia.pipelines.training.nodes import (
    calibrate,
    collect,
    collect_calibrations,
    collect_history,
    gather,
    learn,
    perturb,
    score,
    start,
)
from fakemedia.pipelines.wiring import bound


def create_pipeline(plan: Plan) -> Pipeline:
    """Return the nodes that gather the suites, train every method of `plan` by stages, score and calibrate them all.

    Whatever a method needs is tagged with its name too: `--tags training` or `--tags kd` goes on from the pixel stores.
    """
    methods = [method.label for method in plan.methods]
    return sum((_method_pipeline(plan, method) for method in methods), _suites_pipeline(plan, methods))


def _suites_pipeline(plan: Plan, methods: list[str]) -> Pipeline:
    """Return the nodes that gather the suites, in the box of the data: there the splits of each task end."""
    stores = {split: [SPLIT.format(collection=plan.collection, task=task, split=split) for task in plan.tasks]
              for split in ("val", "test")}
    suites = {split: SUITE.format(sequence=plan.sequence, split=split) for split in stores}
    tags = {"val": ["training", *methods], "test": ["training", *methods]}
    if project.robustness(plan.sequence):
        tags["test"].append("robustness")
    return Pipeline(
        [node(gather, stores[split], suites[split], name=f"gather_{plan.sequence}_{split}", tags=tags[split])
         for split in stores],
        namespace=f"{plan.collection}-data", inputs={name for names in stores.values() for name in names},
        outputs=set(suites.values()),
    )


def _method_pipeline(plan: Plan, method: str) -> Pipeline:
    """Return one method's nodes, in a namespace of their own: one box in the viewer."""
    runs = [(seed, stage) for seed in plan.seeds for stage in plan.learned(method)]
    nodes = [make(plan, method, seed, stage) for seed, stage in runs
             for make in (_train_node, _score_node, _calibrate_node)]
    handed_over = {"results": (RESULTS, SCORES, runs), "calibrations": (CALIBRATIONS, CALIBRATION, runs)}
    if project.robustness(plan.sequence):
        last = [(seed, plan.learned(method)[-1]) for seed in plan.seeds]
        nodes += [_perturb_node(plan, method, seed, stage) for seed, stage in last]
        handed_over["robustness"] = (PERTURBED, ROBUSTNESS, last)
    nodes += [
        node(bound(collect_calibrations if name == "calibrations" else collect,
                   keys=tuple((seed, stage.index) for seed, stage in scored), method=method),
             [_local(pattern, seed, stage) for seed, stage in scored], name, name=f"collect_{name}",
             tags=["reporting", method])
        for name, (_, pattern, scored) in handed_over.items()
    ]
    outside = {"history": HISTORY, **{name: pattern for name, (pattern, *_) in handed_over.items()}}
    folders = tuple((seed, stage.index, project.path(CHECKPOINT, sequence=plan.sequence, method=method, seed=seed,
                                                     stage=stage.key)) for seed, stage in runs)
    nodes.append(node(bound(collect_history, method=method, folders=folders), "results", "history",
                      name="collect_history", tags=["reporting", method]))
    made = {name for each in nodes for name in each.outputs}
    return Pipeline(
        nodes, namespace=f"{plan.sequence}-{method}", inputs={name for each in nodes for name in each.inputs} - made,
        outputs={name: pattern.format(sequence=plan.sequence, method=method) for name, pattern in outside.items()},
    )


def _local(pattern: str, seed: int, stage: Stage) -> str:
    """Return the name inside the method's namespace of what a stage makes."""
    return pattern.partition(".")[2].format(seed=seed, stage=stage.key)


def _train_node(plan: Plan, method: str, seed: int, stage: Stage) -> Node:
    parent = plan.parent(method, stage)
    stores = [SPLIT.format(collection=plan.collection, task=task, split="train")
              for task in plan.trained_tasks(method, stage)]
    return node(
        bound(learn if parent else start, plan=plan, method=method, seed=seed, stage=stage,
              folder=project.path(CHECKPOINT, sequence=plan.sequence, method=method, seed=seed, stage=stage.key)),
        [SUITE.format(sequence=plan.sequence, split="val"), *([_local(CHECKPOINT, seed, parent)] if parent else []),
         *stores],
        _local(CHECKPOINT, seed, stage), name=f"train_{stage.key}_seed{seed}", tags=["training", method],
    )


def _score_node(plan: Plan, method: str, seed: int, stage: Stage) -> Node:
    return node(
        bound(score, plan=plan,
              path=project.path(SCORES, sequence=plan.sequence, method=method, seed=seed, stage=stage.key)),
        [_local(CHECKPOINT, seed, stage), SUITE.format(sequence=plan.sequence, split="test")],
        _local(SCORES, seed, stage), name=f"score_{stage.key}_seed{seed}", tags=["training", method],
    )


def _calibrate_node(plan: Plan, method: str, seed: int, stage: Stage) -> Node:
    return node(
        bound(calibrate, plan=plan, stage=stage,
              path=project.path(VALIDATION_SCORES, sequence=plan.sequence, method=method, seed=seed, stage=stage.key)),
        [_local(CHECKPOINT, seed, stage), SUITE.format(sequence=plan.sequence, split="val")],
        [_local(VALIDATION_SCORES, seed, stage), _local(CALIBRATION, seed, stage)],
        name=f"calibrate_{stage.key}_seed{seed}", tags=["training", method],
    )


def _perturb_node(plan: Plan, method: str, seed: int, stage: Stage) -> Node:
    return node(
        bound(perturb, plan=plan, path=project.path(ROBUSTNESS, sequence=plan.sequence, method=method, seed=seed)),
        [_local(CHECKPOINT, seed, stage), SUITE.format(sequence=plan.sequence, split="test")],
        _local(ROBUSTNESS, seed, stage), name=f"perturb_seed{seed}", tags=["training", "robustness", method],
    )
