"""What is to be run, read from the parameters: sequences, methods, networks, seeds, stages and their fingerprints."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from fakemedia.core import plugin
from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.fingerprint import fingerprint
from fakemedia.core.plugin import configure, names, resolve
from fakemedia.core.types import Stage, check_name, make_stages

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

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks of the sequence, in order."""
        return self.stages[-1].seen

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
        return plugin.constant("strategies", self.method(method).name, "SCOPE", "stage") == "seen"

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
        methods = [(m.name, resolve("strategies", m.name, m.settings, where=f"{where}.methods.{m.name}"))
                   for m in self.methods]
        return Plan(
            sequence=self.sequence, collection=self.collection, stages=self.stages, training=self.training,
            seeds=self.seeds, network=Named(name=self.network.name, settings=vars(network)),
            methods=tuple(Named(name=name, settings=vars(config)) for name, config in methods),
        )


def _mapping(value: Any, where: str) -> Mapping[str, Any]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{value!r} is not a mapping", where=where, expected="keys and values")
    return value


def make_plan(parameters: Mapping[str, Any], sequence: str) -> Plan:
    """Return the plan of `sequence` out of the project's parameters.

    Checks names and keys without importing any plugin. Raises UserError for an unknown sequence, method, network,
    collection or key, a task name that cannot be used, a task named twice, and an empty list of tasks or methods.
    """
    sequences = _mapping(parameters.get("sequences"), "sequences")
    if sequence not in sequences:
        raise unknown_name("sequence", sequence, sequences, where="parameters_sequences.yml")
    where = f"sequences.{sequence}"
    if "-" in check_name(sequence, kind="sequence"):
        raise UserError(f"The sequence name {sequence!r} cannot be used", where="parameters_sequences.yml",
                        expected="'_' instead of '-', which parts the sequence from the method in the catalog")
    given = dict(_mapping(sequences[sequence], where))
    known = ["collection", "tasks", "network", "training", "methods"]
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
        if method not in names("strategies"):
            raise unknown_name("method", method, names("strategies"), where=f"{where}.methods")
    if not methods:
        raise UserError("The sequence has no methods", where=f"{where}.methods",
                        expected=f"some of {', '.join(names('strategies'))}")
    seed, n_seeds = parameters.get("seed", 0), parameters.get("n_seeds", 1)
    for key, value, least in (("seed", seed, 0), ("n_seeds", n_seeds, 1)):
        if not isinstance(value, int) or value < least:
            raise UserError(f"{value!r} does not fit the key {key!r}", where="parameters.yml",
                            expected=f"an integer of at least {least}")
    return Plan(
        sequence=sequence,
        collection=collection,
        stages=make_stages([(task,) for task in tasks]),
        network=Named(name=network_name, settings=network),
        methods=tuple(Named(name=name, settings=_mapping(value, f"{where}.methods.{name}"))
                      for name, value in methods.items()),
        training=configure(TrainingConfig, _mapping(given.get("training"), f"{where}.training"),
                           where=f"{where}.training", presets=TRAINING_PRESETS),
        seeds=tuple(range(seed, seed + n_seeds)),
    )


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
