"""What is to be run, read from the parameters: sequences, methods, networks, seeds, stages and their fingerprints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fakemedia.core import plugin
from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.fingerprint import fingerprint
from fakemedia.core.plugin import configure, names, resolve
from fakemedia.core.stages import Group, GroupingConfig, SimilarityConfig, read_stages
from fakemedia.core.types import Stage, check_name, make_stages

PARAMETERS = ("sequence", "seed", "n_seeds", "similarity", "collections", "robustness", "sequences", "runtime",
              "calibration")
"""The keys of the parameters, beside those that begin with an underscore, which hold what others share."""

TRAINING_PRESETS: dict[str, dict[str, Any]] = {
    # Tassone, Maiano and Amerini 2024: the settings of the reference runs.
    "paper": {
        "epochs": 250, "patience": 35, "batch_size": 64, "optimizer": "sgd", "lr": 0.005, "momentum": 0.1,
        "weight_decay": 0.0, "schedule": "cosine", "period": 10, "lr_min": 1e-5, "crop": 128, "flip": False,
    },
}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How every stage of a sequence is trained."""

    epochs: int = 30
    """Passes over the stage's training images, at most."""
    patience: int | None = None
    """Stop after so many epochs without a better validation accuracy; None: never."""
    batch_size: int = 64
    """Images a step."""
    optimizer: Literal["sgd", "adamw"] = "adamw"
    """SGD with momentum, or AdamW (Loshchilov and Hutter 2019)."""
    lr: float = 3e-4
    """Peak learning rate."""
    momentum: float = 0.9
    """SGD momentum, or AdamW's beta 1."""
    weight_decay: float = 0.01
    """Decay of all weights: added to the gradient by `sgd`, decoupled from it by `adamw`."""
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    """`one_cycle` warms up and anneals over the stage, by step; `cosine` goes down and up again, by epoch."""
    period: int = 10
    """Half period of `cosine`, epochs (T_max)."""
    lr_min: float = 1e-5
    """Lowest learning rate of `cosine`."""
    crop: int = 128
    """Side of the square crop that the network sees, pixels: random in training, the centre in evaluation."""
    flip: bool = True
    """Mirror half of the training crops."""
    select_on: Literal["seen", "current", "none"] = "seen"
    """Keep the epoch with the best mean validation accuracy over all tasks seen, over this stage's tasks only, or
    keep the last epoch without looking at validation."""
    validation_max: int | None = 1000
    """Validation images a task at most, drawn once by seed; None: all."""
    validation_share: float | None = 0.1
    """Most that validation may cost, as a share of training: an image costs one pass in validation and three in
    training. The images are divided equally among the tasks validated, so that the cost of a stage does not grow with
    the tasks seen; each task keeps 16 at least. None: no limit."""
    validation_every: int = 1
    """Epochs between validations; the last epoch is always validated."""

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "crop", "validation_every", "period"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} of at least 1")
        for key in ("patience", "validation_max"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ValueError(f"{key} of at least 1, or none")
        if self.validation_share is not None and not self.validation_share > 0:
            raise ValueError("validation_share above 0, or none")
        if not self.lr > 0:
            raise ValueError("lr above 0")
        if not (0 <= self.momentum < 1 and self.weight_decay >= 0 and self.lr_min >= 0):
            raise ValueError("momentum in [0, 1), weight_decay and lr_min of at least 0")


@dataclass(frozen=True, kw_only=True)
class Named:
    """A plugin's name and the settings given for it."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One sequence as it will be run."""

    sequence: str
    collection: str
    stages: tuple[Stage, ...]
    network: Named
    methods: tuple[Named, ...]
    training: TrainingConfig
    seeds: tuple[int, ...]
    listed: tuple[str, ...] = ()
    """The tasks in the order of the configuration."""
    similarity: SimilarityConfig = field(default_factory=SimilarityConfig)
    measures: Mapping[str, Named] = field(default_factory=dict)
    """The measures of similarity by the name that the configuration gives them."""
    grouping: GroupingConfig | None = None
    """How the stages are found; None: they are given. Without `stages`, they are not yet known."""
    against: tuple[str, ...] = ()
    """Sequences of the same tasks that this one is compared with."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks of the sequence, in the order in which they are learned, or as listed while that is not known."""
        return self.stages[-1].seen if self.stages else self.listed

    @property
    def similarity_identity(self) -> str:
        """The fingerprint of all settings that the distances between the tasks, and their groups, depend on."""
        measured = {"images": self.similarity.images, "seed": self.similarity.seed, "network": self.similarity.network}
        return fingerprint({"tasks": self.listed, "measures": dict(self.measures), "start": self.network,
                            "crop": self.training.crop, "grouping": self.grouping, **measured})

    def with_groups(self, groups: Iterable[Group]) -> Plan:
        """Return the plan that learns `groups` of its tasks in turn."""
        return replace(self, stages=make_stages(list(groups)))

    def stage(self, key: str) -> Stage:
        """Return the stage with the key `key`; UserError if the sequence has none."""
        for stage in self.stages:
            if stage.key == key:
                return stage
        raise unknown_name("stage", key, [stage.key for stage in self.stages], where=f"sequence {self.sequence}")

    def method(self, name: str) -> Named:
        """Return the method `name` of the sequence; UserError if it has none of that name."""
        for method in self.methods:
            if method.name == name:
                return method
        raise unknown_name("method", name, [method.name for method in self.methods], where=f"sequence {self.sequence}")

    def joins(self, method: str) -> bool:
        """Return whether `method` reads the training images of all tasks seen and begins with the start network.

        Its file says so by `SCOPE = "seen"`; the others read the stage's own tasks and go on from the stage before.
        """
        return plugin.constant("methods", self.method(method).name, "SCOPE", "stage") == "seen"

    def learned(self, method: str) -> tuple[Stage, ...]:
        """Return the stages at which `method` trains: all, or the last alone if it joins tasks.

        A method that joins tasks trains at every stage if its setting `every_stage` is true.
        """
        joins_last = self.joins(method) and not self.method(method).settings.get("every_stage", False)
        return self.stages[-1:] if joins_last else self.stages

    def parent(self, method: str, stage: Stage) -> Stage | None:
        """Return the stage whose checkpoint `stage` starts from; None: it begins with the start network."""
        return None if stage.index == 1 or self.joins(method) else self.stages[stage.index - 2]

    def trained_tasks(self, method: str, stage: Stage) -> tuple[str, ...]:
        """Return the tasks whose training images `stage` reads."""
        return stage.seen if self.joins(method) else stage.tasks

    def validated_tasks(self, method: str, stage: Stage) -> tuple[str, ...]:
        """Return the tasks whose validation images choose the epoch of `stage`."""
        return {"seen": stage.seen, "current": self.trained_tasks(method, stage), "none": ()}[self.training.select_on]

    def resolved(self) -> Plan:
        """Check every plugin's settings and fill in defaults; imports the plugins, hence torch."""
        where = f"sequences.{self.sequence}"
        network = resolve("networks", self.network.name, self.network.settings, where=f"{where}.network")
        methods = [(m.name, resolve("methods", m.name, m.settings, where=f"{where}.methods.{m.name}"))
                   for m in self.methods]
        return replace(self, network=Named(name=self.network.name, settings=vars(network)),
                       methods=tuple(Named(name=name, settings=vars(config)) for name, config in methods))


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{value!r} is not a mapping", where=where, expected="keys and values")
    return value


def _names(value: Any, where: str) -> tuple[str, ...]:
    if value is not None and not (isinstance(value, list) and all(isinstance(name, str) for name in value)):
        raise UserError(f"{value!r} is not a list of names", where=where, expected="a list such as [one, two]")
    return tuple(dict.fromkeys(value or ()))


def _similarity(parameters: Mapping[str, Any], given: Mapping[str, Any], grouping: GroupingConfig | None,
                where: str) -> tuple[SimilarityConfig, dict[str, Named]]:
    """Return what a sequence measures of the similarity of its tasks; what it groups by is among the measures."""
    config = configure(SimilarityConfig, _mapping(parameters.get("similarity"), "similarity"), where="similarity")
    listed = _names(given.get("measures", list(config.measures)), f"{where}.measures")
    wanted = dict.fromkeys(listed, f"{where}.measures")
    if grouping is not None:
        wanted.setdefault(grouping.measure, f"{where}.stages.measure")
    found = {check_name(name, kind="measure"): config.measure(name, where=place) for name, place in wanted.items()}
    return config, {name: Named(name=measure, settings=settings) for name, (measure, settings) in found.items()}


def make_plan(parameters: Mapping[str, Any], sequence: str) -> Plan:
    """Return the plan of `sequence` out of the project's parameters.

    Checks names and keys without importing any plugin. Raises UserError for an unknown sequence, method, network,
    collection, measure or key, a task name that cannot be used, a task named twice, an empty list of tasks or methods,
    and stages that cannot be made. Where groups are still to be found, the plan has no stages (see `with_groups`).
    """
    for key in parameters:
        if key not in PARAMETERS and not key.startswith("_"):
            raise unknown_name("key", key, PARAMETERS, where="the parameters, at the top")
    sequences = _mapping(parameters.get("sequences"), "sequences")
    if sequence not in sequences:
        raise unknown_name("sequence", sequence, sequences, where="parameters_sequences.yml")
    where = f"sequences.{sequence}"
    if "-" in check_name(sequence, kind="sequence"):
        raise UserError(f"The sequence name {sequence!r} cannot be used", where="parameters_sequences.yml",
                        expected="'_' instead of '-', which parts the sequence from the method in the catalog")
    given = dict(_mapping(sequences[sequence], where))
    known = ["collection", "tasks", "network", "training", "methods", "stages", "measures", "against", "n_seeds"]
    for key in given:
        if key not in known:
            raise unknown_name("key", key, known, where=where)
    collections = _mapping(parameters.get("collections"), "collections")
    collection = str(given.get("collection"))
    if collection not in collections:
        raise unknown_name("collection", collection, collections, where=f"{where}.collection")
    check_name(collection, kind="collection")
    if not isinstance(given.get("tasks"), list) or not given["tasks"]:
        raise UserError("The sequence has no tasks", where=f"{where}.tasks", expected="a list of at least one task")
    tasks = [check_name(task) for task in given["tasks"]]
    for task in tasks:
        if tasks.count(task) > 1:
            raise UserError(f"The task {task!r} stands twice", where=f"{where}.tasks", expected="each task once")
    network = dict(_mapping(given.get("network"), f"{where}.network"))
    network_name = network.pop("name", None)
    if network_name not in names("networks"):
        raise unknown_name("network", network_name, names("networks"), where=f"{where}.network.name")
    methods = _mapping(given.get("methods"), f"{where}.methods")
    for method in methods:
        if method not in names("methods"):
            raise unknown_name("method", method, names("methods"), where=f"{where}.methods")
    if not methods:
        raise UserError("The sequence has no methods", where=f"{where}.methods",
                        expected=f"some of {', '.join(names('methods'))}")
    seed, n_seeds = parameters.get("seed", 0), given.get("n_seeds", parameters.get("n_seeds", 1))
    for key, value, least in (("seed", seed, 0), ("n_seeds", n_seeds, 1)):
        if not isinstance(value, int) or value < least:
            raise UserError(f"{value!r} does not fit the key {key!r}", expected=f"an integer of at least {least}",
                            where=where if key in given else "parameters.yml")
    against = _names(given.get("against"), f"{where}.against")
    for other in against:
        if other not in sequences or other == sequence:
            raise unknown_name("sequence", other, {*sequences} - {sequence}, where=f"{where}.against")
    stages = read_stages(given.get("stages"), tasks, where=f"{where}.stages")
    grouping = stages if isinstance(stages, GroupingConfig) else None
    similarity, measures = _similarity(parameters, given, grouping, where)
    return Plan(
        sequence=sequence,
        collection=collection,
        listed=tuple(tasks),
        stages=() if isinstance(stages, GroupingConfig) else make_stages(list(stages)),
        grouping=grouping,
        similarity=similarity,
        measures=measures,
        against=against,
        network=Named(name=network_name, settings=network),
        methods=tuple(Named(name=name, settings=_mapping(value, f"{where}.methods.{name}"))
                      for name, value in methods.items()),
        training=configure(TrainingConfig, _mapping(given.get("training"), f"{where}.training"),
                           where=f"{where}.training", presets=TRAINING_PRESETS),
        seeds=tuple(range(seed, seed + n_seeds)),
    )


def check_comparable(plan: Plan, other: Plan) -> None:
    """Raise UserError unless both sequences learn the same tasks, with a method and a seed in common."""
    where = f"sequences.{plan.sequence}.against: {other.sequence}"
    mine, theirs = ({"collection": each.collection, "crop": each.training.crop, "tasks": sorted(each.tasks)}
                    for each in (plan, other))
    for key, value in mine.items():
        if theirs[key] != value:
            raise UserError(f"The sequences differ in {key}", where=where, expected=f"{value}, as {plan.sequence} has",
                            do="compare sequences that are tested on the same images")
    if not {method.name for method in plan.methods} & {method.name for method in other.methods}:
        raise UserError("The sequences have no method in common", where=where, expected="one at least")
    if not set(plan.seeds) & set(other.seeds):
        raise UserError("The sequences have no seed in common", where=where, expected="one at least")


def stage_fingerprint(*, network: Named, method: Named, training: TrainingConfig, seed: int, stage: Stage,
                      data: Mapping[str, Mapping[str, str]], parent: str | None) -> str:
    """Return the fingerprint of all that the checkpoint of `stage` depends on.

    `network` and `method` are resolved (defaults filled in). `data` gives, for each task that the stage reads, the
    content fingerprints of the splits that it reads; `parent` is the fingerprint of the checkpoint that it starts from.
    """
    return fingerprint({
        "network": network, "method": method, "training": training, "seed": seed, "stage": stage,
        "data": {task: dict(splits) for task, splits in data.items()}, "parent": parent,
    })


def scores_fingerprint(*, weights_sha256: str, training: TrainingConfig, data: Mapping[str, str]) -> str:
    """Return the fingerprint of all that a scores table depends on; `data` gives each task's test fingerprint."""
    return fingerprint({"weights": weights_sha256, "crop": training.crop, "data": dict(data)})
