"""Wiring of the training pipeline."""

from pathlib import Path

from kedro.pipeline import Pipeline, node
from kedro.pipeline.node import Node

from fakemedia.catalog.names import (
    CALIBRATION,
    CALIBRATION_PARAMETERS,
    CHECKPOINT,
    METHOD_PARAMETERS,
    NOVELTY,
    RESULTS,
    ROBUSTNESS,
    ROBUSTNESS_PARAMETERS,
    SCORES,
    SUITE,
    VALIDATION_SCORES,
)
from fakemedia.context.context import Context
from fakemedia.core.plan import Plan
from fakemedia.core.types import Stage
from fakemedia.pipelines.training.nodes import (
    calibrate,
    collect,
    continue_training,
    perturb,
    score,
    score_validation,
    start_training,
)
from fakemedia.pipelines.wiring import bound


def create_pipeline(context: Context, plan: Plan) -> Pipeline:
    """Return the nodes that train every method of `plan` by stages, and score and calibrate every checkpoint.

    All nodes that a method needs also carry its label as a tag: `--tags training` or `--tags kd` starts from the pixel
    stores.
    """
    return sum((_Method(context, plan, method.label).pipeline() for method in plan.methods), Pipeline([]))


class _Method:
    """The nodes of one configured method, in their own namespace: one box in the viewer."""

    def __init__(self, context: Context, plan: Plan, label: str) -> None:
        self.context, self.plan, self.label = context, plan, label
        self.runs = [(seed, stage) for seed in plan.seeds_of(label) for stage in plan.learned(label)]
        self.settings = METHOD_PARAMETERS.format(sequence=plan.sequence, label=label)

    def pipeline(self) -> Pipeline:
        nodes = [make(seed, stage) for seed, stage in self.runs
                 for make in (self._train, self._score, self._score_validation, self._calibrate)]
        robust = self.context.robustness(self.plan.sequence) is not None
        last = self.plan.learned(self.label)[-1]
        perturbed = [(seed, last) for seed in self.plan.seeds_of(self.label)] if robust else []
        nodes += [self._perturb(seed, stage) for seed, stage in perturbed]
        nodes.append(self._collect(perturbed))
        produced = {name for method_node in nodes for name in method_node.outputs}
        needed = {name for method_node in nodes for name in method_node.inputs} - produced
        return Pipeline(
            nodes, namespace=f"{self.plan.sequence}-{self.label}",
            inputs={name for name in needed if not name.startswith("params:")},
            parameters={name for name in needed if name.startswith("params:")},
            outputs={"results": RESULTS.format(sequence=self.plan.sequence, label=self.label)},
        )

    def _name(self, verb: str, seed: int, stage: Stage) -> str:
        return node_name(verb, self.label, seed, stage)

    def _path(self, entry: str, seed: int, stage: Stage) -> Path:
        return self.context.path(entry, sequence=self.plan.sequence, label=self.label, seed=seed, stage=stage.key)

    def _suite(self, split: str) -> str:
        return SUITE.format(sequence=self.plan.sequence, split=split)

    def _train(self, seed: int, stage: Stage) -> Node:
        parent = self.plan.parent(self.label, stage)
        return node(
            bound(continue_training if parent else start_training, context=self.context, plan=self.plan, seed=seed,
                  stage=stage, folder=self._path(CHECKPOINT, seed, stage)),
            [self.settings, self._suite("train"), self._suite("val"),
             *([_local(CHECKPOINT, seed, parent)] if parent else [])],
            _local(CHECKPOINT, seed, stage), name=self._name("train", seed, stage), tags=["training", self.label],
        )

    def _score(self, seed: int, stage: Stage) -> Node:
        return node(
            bound(score, context=self.context, collection=self.plan.collection,
                  path=self._path(SCORES, seed, stage)),
            [self.settings, _local(CHECKPOINT, seed, stage), _local(NOVELTY, seed, stage), self._suite("test")],
            _local(SCORES, seed, stage), name=self._name("score", seed, stage), tags=["training", self.label],
        )

    def _score_validation(self, seed: int, stage: Stage) -> Node:
        return node(
            bound(score_validation, context=self.context, collection=self.plan.collection, stage=stage,
                  path=self._path(VALIDATION_SCORES, seed, stage), novelty=self._path(NOVELTY, seed, stage)),
            [self.settings, _local(CHECKPOINT, seed, stage), self._suite("train"), self._suite("val")],
            [_local(VALIDATION_SCORES, seed, stage), _local(NOVELTY, seed, stage)],
            name=self._name("score_validation", seed, stage), tags=["training", self.label],
        )

    def _calibrate(self, seed: int, stage: Stage) -> Node:
        return node(
            calibrate,
            [CALIBRATION_PARAMETERS, _local(CHECKPOINT, seed, stage), _local(VALIDATION_SCORES, seed, stage)],
            _local(CALIBRATION, seed, stage), name=self._name("calibrate", seed, stage),
            tags=["training", self.label],
        )

    def _perturb(self, seed: int, stage: Stage) -> Node:
        return node(
            bound(perturb, context=self.context, path=self._path(ROBUSTNESS, seed, stage)),
            [self.settings, ROBUSTNESS_PARAMETERS, _local(CHECKPOINT, seed, stage), self._suite("test")],
            _local(ROBUSTNESS, seed, stage), name=f"perturb_{self.label}_seed{seed}",
            tags=["training", "robustness", self.label],
        )

    def _collect(self, perturbed: list[tuple[int, Stage]]) -> Node:
        runs = tuple((seed, stage.index, self._path(CHECKPOINT, seed, stage)) for seed, stage in self.runs)
        parts = [_local(pattern, seed, stage) for pattern in (SCORES, CALIBRATION) for seed, stage in self.runs]
        keys = tuple((seed, stage.index) for seed, stage in perturbed)
        return node(bound(collect, context=self.context, runs=runs, perturbed=keys, label=self.label),
                    [*parts, *(_local(ROBUSTNESS, seed, stage) for seed, stage in perturbed)], "results",
                    name=f"collect_{self.label}", tags=["reporting", self.label])


def node_name(verb: str, label: str, seed: int, stage: Stage) -> str:
    """Return the name of a node of a stage, within its method's namespace."""
    return f"{verb}_{label}_{stage.index}_{stage.name}_seed{seed}"


def _local(pattern: str, seed: int, stage: Stage) -> str:
    """Return the name of a stage's output inside the method's namespace."""
    return pattern.partition(".")[2].format(seed=seed, stage=stage.key)
