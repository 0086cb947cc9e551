"""The plan of a run, read from the parameters: sequences, methods, networks, seeds, stages and their fingerprints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from typing import Any

from fakemedia.core import plugin
from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.hashing import fingerprint
from fakemedia.core.plugin import configure, names, resolve, with_preset
from fakemedia.core.stages import Group, GroupingConfig, SimilarityConfig, read_stages
from fakemedia.core.training import TRAINING_PRESETS, ByTask, TrainingConfig, read_by_task, training_at
from fakemedia.core.tune import read_tune
from fakemedia.core.types import Stage, check_name, make_stages

PARAMETERS = ("sequence", "seed", "n_seeds", "similarity", "collections", "robustness", "sequences", "runtime",
              "calibration", "registry", "serving", "tracking", "cluster", "monitoring", "gate", "storage",
              "update")
"""The top-level keys of the parameters; keys that begin with an underscore, for YAML anchors, are allowed too."""
SEQUENCE_KEYS = ("collection", "tasks", "network", "tune", "training", "methods", "stages", "measures", "against",
                 "n_seeds", "labels", "real")
RESERVED = ("monitoring", "promotion", "update")
"""Names of the pipelines of production, which no sequence or collection may have: `kedro update` creates one."""
SEPARATOR = "+"
"""Separates the names of sequences that run together, in the name of their pipeline."""
REAL_SOURCES = ("own", "stored")
MAX_SEEDS = 1000
LABEL_KEYS = ("method", "network", "tune", "training", "n_seeds")
"""The keys of a label, beside the settings of its method."""


@dataclass(frozen=True, kw_only=True)
class Plugin:
    """A plugin by its name, with its settings."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def weights_file(self) -> str | None:
        """The path under `pretrained` of a network's settings; None if it names no file.

        A network's plugin lists the values that are no files as `PRETRAINED`, by default imagenet and none; one that
        ends in a colon is a prefix.
        """
        value = self.settings.get("pretrained")
        accepted = plugin.constant("networks", self.name, "PRETRAINED", ("imagenet", "none"))
        prefixes = tuple(name for name in accepted if name.endswith(":"))
        return None if value is None or value in accepted or str(value).startswith(prefixes) else str(value)

    def rooted(self, root: Path) -> Plugin:
        """Return the network with a relative path under `pretrained` resolved against `root`."""
        if self.weights_file is None:
            return self
        return replace(self, settings={**self.settings, "pretrained": str(root / self.weights_file)})


@dataclass(frozen=True, kw_only=True)
class MethodPlan:
    """One configured method of a sequence; the sequence gives what its label does not."""

    label: str
    """Its name in the sequence: in paths, tags, tables and figures."""
    method: str
    """The plugin."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    network: Plugin
    tune: str = "all"
    """Which weights are trained; see `core.tune.read_tune`."""
    training: TrainingConfig
    by_task: ByTask = field(default_factory=dict)
    """The key `stages` of its training."""
    n_seeds: int | None = None
    """How many of the plan's seeds it runs with; None: all."""

    @property
    def plugin(self) -> Plugin:
        """The method's name and settings, without the label."""
        return Plugin(name=self.method, settings=self.settings)

    def at(self, stage: Stage) -> MethodPlan:
        """Return the method with the training of `stage`; UserError if its tasks are given two values of a key."""
        return replace(self, training=training_at(self.training, self.by_task, stage.tasks))

    @property
    def is_joint(self) -> bool:
        """Whether the method reads the training images of all tasks seen and begins with the start network.

        Its file declares this by `SCOPE = "seen"`; other methods read the stage's own tasks and continue from the stage
        before.
        """
        return plugin.constant("methods", self.method, "SCOPE", "stage") == "seen"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One sequence as it will be run."""

    sequence: str
    collection: str
    stages: tuple[Stage, ...]
    network: Plugin
    """The network of labels without their own; `training` likewise."""
    methods: tuple[MethodPlan, ...]
    training: TrainingConfig
    seeds: tuple[int, ...]
    listed: tuple[str, ...] = ()
    """The tasks in the order of the configuration."""
    similarity: SimilarityConfig = field(default_factory=SimilarityConfig)
    measures: Mapping[str, Plugin] = field(default_factory=dict)
    """The measures of similarity by the name that the configuration gives them."""
    grouping: GroupingConfig | None = None
    """How the stages are computed; None: they are configured. While `stages` is empty, they are not computed yet."""
    against: tuple[str, ...] = ()
    """Sequences of the same tasks that this one is compared with."""
    real: str = "own"
    """`own`: every task has real pictures; `stored`: those that have none take the real pictures of earlier tasks."""

    @property
    def tasks(self) -> tuple[str, ...]:
        """All tasks of the sequence, in the order in which they are learned, or as listed until that is known."""
        return self.stages[-1].seen if self.stages else self.listed

    def seeds_of(self, label: str) -> tuple[int, ...]:
        """Return the seeds that `label` runs with: the first `n_seeds` of `seeds`, or all."""
        return self.seeds[:self.method(label).n_seeds]

    @property
    def similarity_identity(self) -> str:
        """The fingerprint of all settings that the distances between the tasks, and their groups, depend on."""
        settings = {"images": self.similarity.images, "seed": self.similarity.seed, "network": self.similarity.network}
        return fingerprint({"tasks": self.listed, "measures": dict(self.measures), "start": self.network,
                            "crop": self.training.crop, "grouping": self.grouping, **settings})

    def with_groups(self, groups: Iterable[Group]) -> Plan:
        """Return the plan whose stages learn `groups` of its tasks, one after another."""
        return replace(self, stages=make_stages(list(groups)))

    def stage(self, key: str) -> Stage:
        """Return the stage with the key `key`; UserError if the sequence has none."""
        for stage in self.stages:
            if stage.key == key:
                return stage
        raise unknown_name("stage", key, [stage.key for stage in self.stages], where=f"sequence {self.sequence}")

    def method(self, label: str) -> MethodPlan:
        """Return the method with the label `label`; UserError if the sequence has none."""
        for method in self.methods:
            if method.label == label:
                return method
        raise unknown_name("method", label, [method.label for method in self.methods],
                           where=f"sequence {self.sequence}")

    def learned(self, label: str) -> tuple[Stage, ...]:
        """Return the stages at which `label` trains: all, or only the last if its method joins tasks.

        A method that joins tasks trains at every stage if its setting `every_stage` is true.
        """
        method = self.method(label)
        return self.stages[-1:] if method.is_joint and not method.settings.get("every_stage", False) else self.stages

    def parent(self, label: str, stage: Stage) -> Stage | None:
        """Return the stage whose checkpoint `stage` starts from; None: it begins with the start network."""
        return None if stage.index == 1 or self.method(label).is_joint else self.stages[stage.index - 2]

    def trained_tasks(self, label: str, stage: Stage) -> tuple[str, ...]:
        """Return the tasks whose training images `stage` reads."""
        return stage.seen if self.method(label).is_joint else stage.tasks

    def validated_tasks(self, label: str, stage: Stage) -> tuple[str, ...]:
        """Return the tasks whose validation images choose the epoch of `stage`."""
        return {"seen": stage.seen, "current": self.trained_tasks(label, stage),
                "none": ()}[self.method(label).at(stage).training.select_on]

    def validation_tasks(self, label: str, stage: Stage) -> tuple[str, ...]:
        """Return the tasks whose validation images `stage` reads, to choose the epoch or to correct the log-odds."""
        has_correction = self.method(label).at(stage).training.correction != "none"
        return stage.seen if has_correction else self.validated_tasks(label, stage)

    def rooted(self, root: Path) -> Plan:
        """Return the plan with relative paths of weights files resolved against `root`, the project's folder."""
        return replace(self, network=self.network.rooted(root),
                       methods=tuple(replace(method, network=method.network.rooted(root)) for method in self.methods))

    def check(self, root: Path) -> None:
        """Raise UserError for weights under `pretrained` that are neither a file nor a name that the network accepts.

        Relative paths count from `root`. Nothing is imported.
        """
        networks = {f"sequences.{self.sequence}.network": self.network}
        networks |= {f"sequences.{self.sequence}.methods.{method.label}.network": method.network
                     for method in self.methods}
        for where, network in networks.items():
            file = network.weights_file
            if file is not None and not (root / file).exists():
                accepted = plugin.constant("networks", network.name, "PRETRAINED", ("imagenet", "none"))
                raise UserError(f"The weights {file!r} of the network {network.name} do not exist",
                                where=f"{where}.pretrained", expected=f"{', '.join(accepted)}, or the path of a "
                                f"weights file or checkpoint folder; a relative one counts from {root}")

    def resolved(self) -> Plan:
        """Check every plugin's settings and fill in defaults; imports the plugins, hence torch."""
        where = f"sequences.{self.sequence}"
        return replace(self, network=_resolved("networks", self.network, f"{where}.network"), methods=tuple(
            replace(method, network=_resolved("networks", method.network, f"{where}.methods.{method.label}.network"),
                    settings=_resolved("methods", method.plugin, f"{where}.methods.{method.label}").settings)
            for method in self.methods))


def _resolved(kind: str, plugin: Plugin, where: str) -> Plugin:
    return replace(plugin, settings=vars(resolve(kind, plugin.name, plugin.settings, where=where)))


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


def _similarity(parameters: Mapping[str, Any], entry: Mapping[str, Any], grouping: GroupingConfig | None,
                where: str) -> tuple[SimilarityConfig, dict[str, Plugin]]:
    """Return the similarity settings of a sequence and its measures, the one that it groups by included."""
    config = configure(SimilarityConfig, _mapping(parameters.get("similarity"), "similarity"), where="similarity")
    # Similarity is measured between real and fake pictures of each task.
    default = [] if entry.get("real") == "stored" else list(config.measures)
    measures = _names(entry.get("measures", default), f"{where}.measures")
    origins = dict.fromkeys(measures, f"{where}.measures")
    if grouping is not None:
        origins.setdefault(grouping.measure, f"{where}.stages.measure")
    resolved = {check_name(name, kind="measure"): config.measure(name, where=origin)
                for name, origin in origins.items()}
    return config, {name: Plugin(name=measure, settings=settings) for name, (measure, settings) in resolved.items()}


def _network(value: Any, base: Plugin | None, where: str) -> Plugin:
    """Return the network that `value` configures: another one if it has a name, else `base` with other settings."""
    settings = dict(_mapping(value, where))
    if base is not None and "name" not in settings:
        return replace(base, settings={**base.settings, **settings})
    name = settings.pop("name", None)
    if name not in names("networks"):
        raise unknown_name("network", name, names("networks"), where=f"{where}.name")
    return Plugin(name=name, settings=settings)


def _tune(value: Any, where: str) -> str:
    read_tune(value, where=where)
    return value


def _training(value: Any, base: TrainingConfig | None, by_task: ByTask, tasks: tuple[str, ...],
              where: str) -> tuple[TrainingConfig, ByTask]:
    """Return the training that `value` configures, and its keys that differ by task; `base` and `by_task` are defaults.
    """
    settings = with_preset(_mapping(value, where), TRAINING_PRESETS, where=where)
    stage_settings = settings.pop("stages", None)
    training = configure(TrainingConfig, {**(vars(base) if base else {}), **settings}, where=where)
    changes = read_by_task(stage_settings, tasks, training, where=f"{where}.stages")
    return training, {task: {**by_task.get(task, {}), **changes.get(task, {})} for task in {**by_task, **changes}}


def _method(label: Any, value: Any, base: MethodPlan, tasks: tuple[str, ...], where: str) -> MethodPlan:
    """Return the method that the label `label` configures; `base` has the defaults, and the minimum number of seeds."""
    settings = dict(_mapping(value, where))
    keys = {key: settings.pop(key) for key in LABEL_KEYS if key in settings}
    method = keys.get("method", label)
    if method not in names("methods"):
        raise unknown_name("method", method, names("methods"), where=f"{where}.method" if "method" in keys else where)
    if "-" in check_name(label, kind="label"):
        raise UserError(f"The label {label!r} cannot be used", where=where, expected="'_' instead of '-'")
    training, by_task = _training(keys.get("training"), base.training, base.by_task, tasks, f"{where}.training")
    return MethodPlan(
        label=label, method=method, settings=settings,
        network=_network(keys["network"], base.network, f"{where}.network") if "network" in keys else base.network,
        tune=_tune(keys["tune"], f"{where}.tune") if "tune" in keys else base.tune,
        training=training, by_task=by_task,
        n_seeds=max(base.n_seeds or 1, _integer(keys.get("n_seeds", 1), "n_seeds", 1, where, MAX_SEEDS)),
    )


def _methods(entry: Mapping[str, Any], network: Plugin, training: TrainingConfig, by_task: ByTask,
             tasks: tuple[str, ...], n_seeds: int, where: str) -> tuple[MethodPlan, ...]:
    base = MethodPlan(label="", method="", network=network, training=training, by_task=by_task, n_seeds=n_seeds,
                      tune=_tune(entry.get("tune", "all"), f"{where}.tune"))
    methods = _mapping(entry.get("methods"), f"{where}.methods")
    if not methods:
        raise UserError("The sequence has no methods", where=f"{where}.methods",
                        expected=f"some of {', '.join(names('methods'))}")
    labels = _names(entry.get("labels"), f"{where}.labels") or tuple(methods)
    for label in labels:
        if label not in methods:
            raise unknown_name("label", label, methods, where=f"{where}.labels")
    return tuple(_method(label, value, base, tasks, f"{where}.methods.{label}") for label, value in methods.items()
                 if label in labels)


def _real(value: Any, where: str) -> str:
    if value not in REAL_SOURCES:
        raise unknown_name("source of real pictures", value, REAL_SOURCES, where=where)
    return value


def _tasks(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not value:
        raise UserError("The sequence has no tasks", where=where, expected="a list of at least one task")
    tasks = tuple(check_name(task) for task in value)
    for task in tasks:
        if tasks.count(task) > 1:
            raise UserError(f"The task {task!r} is listed twice", where=where, expected="each task once")
    return tasks


def _integer(value: Any, key: str, minimum: int, where: str, maximum: float = inf) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not minimum <= value <= maximum:
        limit = "" if maximum == inf else f" and at most {maximum}"
        raise UserError(f"{value!r} does not fit the key {key!r}", expected=f"an integer of at least {minimum}{limit}",
                        where=where)
    return value


def _with_seeds(plan: Plan, seed: int) -> Plan:
    """Return the plan with the seeds from `seed` on: as many as the label with most of them runs with."""
    n_seeds = max(method.n_seeds or 1 for method in plan.methods)
    return replace(plan, seeds=tuple(range(seed, seed + n_seeds)), methods=tuple(
        replace(method, n_seeds=None if method.n_seeds == n_seeds else method.n_seeds) for method in plan.methods))


def _sequence_parameters(parameters: Mapping[str, Any], sequence: str) -> Mapping[str, Any]:
    """Return the parameters of `sequence`; UserError if there is none, or for an unknown key."""
    for key in parameters:
        if key not in PARAMETERS and not str(key).startswith("_"):
            raise unknown_name("key", key, PARAMETERS, where="the top level of the parameters")
    sequences = _mapping(parameters.get("sequences"), "sequences")
    if not isinstance(sequence, str) or sequence not in sequences:
        raise unknown_name("sequence", sequence, sequences, where="sequences")
    check_not_reserved(sequence, "sequence")
    if "-" in check_name(sequence, kind="sequence"):
        raise UserError(f"The sequence name {sequence!r} cannot be used", where=f"sequences.{sequence}",
                        expected="'_' instead of '-', which separates sequence and label in the catalog")
    entry = _mapping(sequences[sequence], f"sequences.{sequence}")
    for key in entry:
        if key not in SEQUENCE_KEYS:
            raise unknown_name("key", key, SEQUENCE_KEYS, where=f"sequences.{sequence}")
    for other in (against := _names(entry.get("against"), f"sequences.{sequence}.against")):
        if other not in sequences or other == sequence:
            raise unknown_name("sequence", other, {*sequences} - {sequence}, where=f"sequences.{sequence}.against")
    return {**entry, "against": against}


def check_not_reserved(name: str, kind: str) -> None:
    """Raise UserError for the name of a sequence or collection that the project itself uses."""
    if name in RESERVED:
        raise UserError(f"The {kind} name {name!r} cannot be used: a pipeline of production has it",
                        where=f"{kind}s.{name}", expected=f"another name than {', '.join(RESERVED)}",
                        do=f"rename the {kind}")


def make_plan(parameters: Mapping[str, Any], sequence: str) -> Plan:
    """Return the plan of `sequence` from the project's parameters.

    Checks names and keys without importing any plugin. Raises UserError for an unknown sequence, method, network,
    collection, measure or key, a task or label name that cannot be used, a task named twice, an empty list of tasks or
    methods, and invalid stages. Where groups are still to be computed, the plan has no stages (see
    `with_groups`).
    """
    entry, where = _sequence_parameters(parameters, sequence), f"sequences.{sequence}"
    collections = _mapping(parameters.get("collections"), "collections")
    collection = str(entry.get("collection"))
    if collection not in collections:
        raise unknown_name("collection", collection, collections, where=f"{where}.collection")
    check_not_reserved(check_name(collection, kind="collection"), "collection")
    tasks = _tasks(entry.get("tasks"), f"{where}.tasks")
    network = _network(entry.get("network"), None, f"{where}.network")
    training, by_task = _training(entry.get("training"), None, {}, tasks, f"{where}.training")
    stages = read_stages(entry.get("stages"), tasks, where=f"{where}.stages")
    grouping = stages if isinstance(stages, GroupingConfig) else None
    similarity, measures = _similarity(parameters, entry, grouping, where)
    seed = _integer(parameters.get("seed", 0), "seed", 0, "parameters.yml")
    n_seeds = _integer(entry.get("n_seeds", parameters.get("n_seeds", 1)), "n_seeds", 1,
                       where if "n_seeds" in entry else "parameters.yml", MAX_SEEDS)
    plan = Plan(
        sequence=sequence, collection=collection, listed=tasks, network=network, training=training,
        stages=() if isinstance(stages, GroupingConfig) else make_stages(list(stages)), grouping=grouping,
        similarity=similarity, measures=measures, against=entry["against"],
        real=_real(entry.get("real", "own"), f"{where}.real"),
        methods=_methods(entry, network, training, by_task, tasks, n_seeds, where), seeds=(),
    )
    return _with_seeds(plan, seed)
