"""Wiring of the training pipeline."""

from kedro.pipeline import Pipeline, node
from kedro.pipeline.node import Node

from fakemedia.catalog.names import (
    CALIBRATION,
    CALIBRATION_PARAMETERS,
    CALIBRATIONS,
    CHECKPOINT,
    HISTORY,
    METHOD_PARAMETERS,
    PERTURBED,
    RESULTS,
    ROBUSTNESS,
    ROBUSTNESS_PARAMETERS,
    SCORES,
    SPLIT,
    SUITE,
    VALIDATION_SCORES,
)
from fakemedia.context.context import Context
from fakemedia.core.plan import Plan
from fakemedia.core.types import Stage
from fakemedia.pipelines.training.nodes import (
    calibrate,
    collect,
    collect_calibrations,
    collect_history,
    continue_training,
    gather,
    perturb,
    score,
    start_training,
)
from fakemedia.pipelines.wiring import bound


def create_pipeline(context: Context, plan: Plan) -> Pipeline:
    """Return the nodes that train every method of `plan` by stages, and score and calibrate every checkpoint.

    Whatever a method needs is tagged with its label too: `--tags training` or `--tags kd` starts from the pixel stores.
    """
    labels = [method.label for method in plan.methods]
    return sum((_Method(context, plan, label).pipeline() for label in labels), _suites_pipeline(context, plan, labels))


def _suites_pipeline(context: Context, plan: Plan, labels: list[str]) -> Pipeline:
    """Return the nodes that gather the suites, in the box of the data: there the splits of each task end."""
    stores = {split: [SPLIT.format(collection=plan.collection, task=task, split=split) for task in plan.tasks]
              for split in ("val", "test")}
    suites = {split: SUITE.format(sequence=plan.sequence, split=split) for split in stores}
    tags = {"val": ["training", *labels], "test": ["training", *labels]}
    if context.robustness(plan.sequence):
        tags["test"].append("robustness")
    return Pipeline(
        [node(gather, stores[split], suites[split], name=f"gather_{plan.sequence}_{split}", tags=tags[split])
         for split in stores],
        namespace=f"{plan.collection}-data", inputs={name for names in stores.values() for name in names},
        outputs=set(suites.values()),
    )


class _Method:
    """The nodes of one configured method, in a namespace of their own: one box in the viewer."""

    def __init__(self, context: Context, plan: Plan, label: str) -> None:
        self.context, self.plan, self.label = context, plan, label
        self.runs = [(seed, stage) for seed in plan.seeds for stage in plan.learned(label)]
        self.settings = METHOD_PARAMETERS.format(sequence=plan.sequence, label=label)

    def pipeline(self) -> Pipeline:
        nodes = [make(seed, stage) for seed, stage in self.runs for make in (self._train, self._score, self._calibrate)]
        collected = {"results": (RESULTS, SCORES, self.runs), "calibrations": (CALIBRATIONS, CALIBRATION, self.runs)}
        if self.context.robustness(self.plan.sequence):
            last = [(seed, self.plan.learned(self.label)[-1]) for seed in self.plan.seeds]
            nodes += [self._perturb(seed, stage) for seed, stage in last]
            collected["robustness"] = (PERTURBED, ROBUSTNESS, last)
        nodes += [self._collect(name, pattern, runs) for name, (_, pattern, runs) in collected.items()]
        nodes.append(self._collect_history())
        outside = {"history": HISTORY, **{name: outer for name, (outer, *_) in collected.items()}}
        made = {name for each in nodes for name in each.outputs}
        given = {name for each in nodes for name in each.inputs} - made
        return Pipeline(
            nodes, namespace=f"{self.plan.sequence}-{self.label}",
            inputs={name for name in given if not name.startswith("params:")},
            parameters={name for name in given if name.startswith("params:")},
            outputs={name: outer.format(sequence=self.plan.sequence, label=self.label)
                     for name, outer in outside.items()},
        )

    def _name(self, verb: str, seed: int, stage: Stage) -> str:
        return f"{verb}_{self.label}_{stage.index}_{stage.name}_seed{seed}"

    def _path(self, entry: str, seed: int, stage: Stage):
        return self.context.path(entry, sequence=self.plan.sequence, label=self.label, seed=seed, stage=stage.key)

    def _suite(self, split: str) -> str:
        return SUITE.format(sequence=self.plan.sequence, split=split)

    def _train(self, seed: int, stage: Stage) -> Node:
        parent = self.plan.parent(self.label, stage)
        stores = [SPLIT.format(collection=self.plan.collection, task=task, split="train")
                  for task in self.plan.trained_tasks(self.label, stage)]
        return node(
            bound(continue_training if parent else start_training, context=self.context, plan=self.plan, seed=seed,
                  stage=stage, folder=self._path(CHECKPOINT, seed, stage)),
            [self.settings, self._suite("val"), *([_local(CHECKPOINT, seed, parent)] if parent else []), *stores],
            _local(CHECKPOINT, seed, stage), name=self._name("train", seed, stage), tags=["training", self.label],
        )

    def _score(self, seed: int, stage: Stage) -> Node:
        return node(
            bound(score, context=self.context, path=self._path(SCORES, seed, stage)),
            [self.settings, _local(CHECKPOINT, seed, stage), self._suite("test")],
            _local(SCORES, seed, stage), name=self._name("score", seed, stage), tags=["training", self.label],
        )

    def _calibrate(self, seed: int, stage: Stage) -> Node:
        return node(
            bound(calibrate, context=self.context, stage=stage, path=self._path(VALIDATION_SCORES, seed, stage)),
            [self.settings, CALIBRATION_PARAMETERS, _local(CHECKPOINT, seed, stage), self._suite("val")],
            [_local(VALIDATION_SCORES, seed, stage), _local(CALIBRATION, seed, stage)],
            name=self._name("calibrate", seed, stage), tags=["training", self.label],
        )

    def _perturb(self, seed: int, stage: Stage) -> Node:
        return node(
            bound(perturb, context=self.context, path=self._path(ROBUSTNESS, seed, stage)),
            [self.settings, ROBUSTNESS_PARAMETERS, _local(CHECKPOINT, seed, stage), self._suite("test")],
            _local(ROBUSTNESS, seed, stage), name=f"perturb_{self.label}_seed{seed}",
            tags=["training", "robustness", self.label],
        )

    def _collect(self, name: str, pattern: str, runs: list[tuple[int, Stage]]) -> Node:
        function = collect_calibrations if name == "calibrations" else collect
        return node(bound(function, keys=tuple((seed, stage.index) for seed, stage in runs), label=self.label),
                    [_local(pattern, seed, stage) for seed, stage in runs], name,
                    name=f"collect_{name}_{self.label}", tags=["reporting", self.label])

    def _collect_history(self) -> Node:
        folders = tuple((seed, stage.index, self._path(CHECKPOINT, seed, stage)) for seed, stage in self.runs)
        return node(bound(collect_history, label=self.label, folders=folders), "results", "history",
                    name=f"collect_history_{self.label}", tags=["reporting", self.label])


def _local(pattern: str, seed: int, stage: Stage) -> str:
    """Return the name inside the method's namespace of what a stage makes."""
    return pattern.partition(".")[2].format(seed=seed, stage=stage.key)
