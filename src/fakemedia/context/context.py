"""The context of the running command: one immutable object that pipelines, nodes and datasets receive."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fakemedia.artefacts.addresses import is_address
from fakemedia.core import plugin
from fakemedia.core.comparable import check_comparable
from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.plan import Plan, Plugin, make_plan

if TYPE_CHECKING:
    from fakemedia.artefacts.storage import Storage
    from fakemedia.evaluation.calibration import CalibrationConfig
    from fakemedia.evaluation.perturbations.perturbation import RobustnessConfig
    from fakemedia.forge import ForgeConfig
    from fakemedia.ingest.collection import CollectionConfig
    from fakemedia.monitoring.monitoring_config import MonitoringConfig
    from fakemedia.registry.client import Registry
    from fakemedia.registry.gate_config import GateConfig
    from fakemedia.registry.registry_config import RegistryConfig, TrackingConfig
    from fakemedia.registry.update_config import UpdateConfig
    from fakemedia.runtime.cluster import ClusterConfig
    from fakemedia.runtime.device import Runtime
    from fakemedia.similarity.measure import Measure
    from fakemedia.sources.source import Source

GROUPS = "{sequence}-similarity.groups"
INDEX = "{collection}-data.{task}__index"
FEATURES = "{collection}__{task}__features"


@dataclass(frozen=True)
class Context:
    """Parameters, paths and plans of one command; made once, after the configuration was read."""

    root: Path
    """The project's folder, which relative paths in the parameters count from."""
    parameters: Mapping[str, Any]
    catalog: Mapping[str, Mapping[str, Any]]
    """The entries of the catalog, as configured."""

    def path(self, entry: str, **placeholders: object) -> Path:
        """Return the absolute path of the catalog entry (or pattern) `entry`, its `placeholders` filled."""
        return self.root / self.catalog[entry]["filepath"].format(**placeholders)

    @property
    def sequences(self) -> tuple[str, ...]:
        """The names of the configured sequences, in order."""
        sequences = self.parameters.get("sequences") or {}
        if not isinstance(sequences, Mapping):
            raise UserError(f"{sequences!r} is not a mapping", where="sequences", expected="sequences by name")
        return tuple(sequences)

    @property
    def default_sequence(self) -> str:
        """The sequence that a plain `kedro run` runs; UserError if it does not exist."""
        sequence = self.parameters.get("sequence")
        if sequence not in self.sequences:
            raise unknown_name("sequence", sequence, self.sequences, where="parameters.yml, key 'sequence'")
        return str(sequence)

    def plan(self, sequence: str) -> Plan:
        """Return the plan of `sequence`; plugins are named but not imported.

        If its stages are groups of tasks, they are those found last with the current settings; before groups are found,
        the plan has no stages.
        """
        plan = make_plan(self.parameters, sequence)
        if plan.grouping is None:
            return plan
        groups = self.recorded_groups(sequence)
        is_current = groups.get("settings_fingerprint") == plan.similarity_identity
        return plan.with_groups(map(tuple, groups["groups"])) if is_current else plan

    def recorded_groups(self, sequence: str) -> dict[str, Any]:
        """Return the last record of `sequence` by `similarity.grouping.record`; empty if there is none."""
        path = self.path(GROUPS, sequence=sequence)
        if not path.exists() and self.storage is not None:
            self.storage.fetch(path, folder=False)
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return record if isinstance(record, dict) else {}

    def compared(self, sequence: str) -> tuple[Plan, ...]:
        """Return the plans of `sequence` and of those that it is compared with, itself first.

        UserError for one that learns other tasks, or has no method or seed in common with it.
        """
        plan = self.plan(sequence)
        others = tuple(self.plan(name) for name in plan.against)
        for other in others:
            check_comparable(plan, other)
        return plan, *others

    def __reduce__(self) -> tuple[type[Context], tuple[Any, ...]]:
        """Pickle without cached values: a copy on another machine recomputes those that depend on the machine."""
        return Context, (self.root, self.parameters, self.catalog)

    @cached_property
    def runtime(self) -> Runtime:
        """Device and precision, from the parameters (imports torch)."""
        from fakemedia.runtime.device import Runtime

        return plugin.configure(Runtime, self.parameters.get("runtime") or {}, where="runtime")

    @cached_property
    def cluster(self) -> ClusterConfig:
        """Where nodes are computed."""
        from fakemedia.runtime.cluster import ClusterConfig

        return plugin.configure(ClusterConfig, self.parameters.get("cluster") or {}, where="cluster")

    @cached_property
    def storage(self) -> Storage | None:
        """The storage that keeps results beside the project's folder; None: there is none."""
        from fakemedia.artefacts.storage import NONE, Storage, StorageConfig

        config = plugin.configure(StorageConfig, self.parameters.get("storage") or {}, where="storage")
        return None if config.address == NONE else Storage(config, self.root)

    @cached_property
    def calibration(self) -> CalibrationConfig:
        """How checkpoints are calibrated (imports scikit-learn)."""
        from fakemedia.evaluation.calibration import CalibrationConfig

        return plugin.configure(CalibrationConfig, self.parameters.get("calibration") or {}, where="calibration")

    @cached_property
    def registry(self) -> RegistryConfig:
        """Where the registry of detectors is."""
        from fakemedia.registry.registry_config import RegistryConfig

        return plugin.configure(RegistryConfig, self.parameters.get("registry") or {}, where="registry")

    def open_registry(self, uri: str | None = None) -> Registry:
        """Return the registry of detectors, or that at `uri` (imports MLflow).

        UserError if it cannot be read or written.
        """
        from fakemedia.registry.client import open_registry

        return open_registry(uri or self.registry.uri, self.root / self.registry.folder)

    @cached_property
    def gate(self) -> GateConfig:
        """The requirements of the gate for a candidate."""
        from fakemedia.registry.gate_config import GateConfig

        return plugin.configure(GateConfig, self.parameters.get("gate") or {}, where="gate")

    @cached_property
    def update(self) -> UpdateConfig:
        """The new task that the pipeline `update` learns."""
        from fakemedia.registry.update_config import UpdateConfig

        return plugin.configure(UpdateConfig, self.parameters.get("update") or {}, where="update")

    @cached_property
    def tracking(self) -> TrackingConfig:
        """Whether finished runs are logged to MLflow, and where."""
        from fakemedia.registry.registry_config import TrackingConfig

        return plugin.configure(TrackingConfig, self.parameters.get("tracking") or {}, where="tracking")

    @cached_property
    def monitoring(self) -> MonitoringConfig:
        """How the log of scored pictures is watched."""
        from fakemedia.monitoring.monitoring_config import MonitoringConfig

        return plugin.configure(MonitoringConfig, self.parameters.get("monitoring") or {}, where="monitoring")

    @property
    def score_log(self) -> Path:
        """The log of scored pictures, as the parameter serving.log names it; the project's folder, if it names none."""
        from fakemedia.serving.serving_config import ServingConfig

        return self.root / plugin.configure(ServingConfig, self.parameters.get("serving") or {}, where="serving").log

    def robustness(self, sequence: str) -> RobustnessConfig | None:
        """Return the settings of the robustness test of `sequence`; None if there is none."""
        from fakemedia.evaluation.perturbations.perturbation import RobustnessConfig

        config = plugin.configure(RobustnessConfig, self.parameters.get("robustness") or {}, where="robustness")
        for name in config.sequence_names:
            if name not in self.sequences:
                raise unknown_name("sequence", name, self.sequences, where="robustness.sequences")
        return config if sequence in config.sequence_names else None

    def measures(self, sequence: str) -> dict[str, Measure]:
        """Return the measures of similarity of `sequence` by name, their settings checked (imports torch).

        UserError also for a task without a family, if a measure needs it, and for a missing weights file.
        """
        from fakemedia.similarity.measure import check_names

        plan = self.plan(sequence)
        measures: dict[str, Measure] = {}
        for name, entry in plan.measures.items():
            measures[name] = plugin.create("similarity", entry.name, entry.settings,
                                           where=f"similarity.settings.{name}")
            check_names(measures[name], plan.tasks)
        source = plan.similarity.network
        reads_features = any(measure.reads == "features" for measure in measures.values())
        if reads_features and source != "start" and not (self.root / source).exists():
            raise UserError("The weights of the network whose features are compared do not exist",
                            where=self.root / source, do="correct similarity.network",
                            expected="`start`, a weights file or a checkpoint folder")
        return measures

    def feature_network(self, plan: Plan) -> Plugin:
        """Return the network whose features the measures of `plan` read, with an absolute path of its weights."""
        source = plan.similarity.network
        network = plan.network.rooted(self.root)
        if source == "start":
            return network
        return replace(network, settings={**network.settings, "pretrained": str(self.root / source)})

    def features_folder(self, collection: str, task: str) -> Path:
        """Return where spectra and features of a task's images are stored."""
        return self.path(FEATURES, collection=collection, task=task)

    def collection_parameters(self, name: str) -> dict[str, Any]:
        """Return the parameters of the collection `name`, a relative path `root` of its source made absolute."""
        collections = self.parameters.get("collections")
        entry = collections.get(name) if isinstance(collections, dict) else None
        if not isinstance(entry, dict) or not isinstance(entry.get("source"), dict) or "name" not in entry["source"]:
            raise UserError("The collection names no source", where=f"collections.{name}.source",
                            expected="a mapping with a name, such as {name: folder, root: data/01_raw/mine}")
        source = dict(entry["source"])
        if isinstance(source.get("root"), str) and not is_address(source["root"]):
            source["root"] = str(self.root / source["root"])
        return {**entry, "source": source}

    def collection(self, name: str) -> CollectionConfig:
        """Return the checked settings of the collection `name`."""
        from fakemedia.ingest.collection import collection_config

        return collection_config(self.collection_parameters(name), where=f"collections.{name}")

    def open_source(self, name: str) -> Source:
        """Return the source of the collection `name`, with the pictures that it asks for."""
        from fakemedia.ingest.derived import derived

        source = self.collection_parameters(name)["source"]
        settings = {key: value for key, value in source.items() if key != "name"}
        reader = plugin.create("sources", source["name"], settings, where=f"collections.{name}.source")
        cache = self.path(INDEX, collection=name, task="_").parent.with_name(".sheets")
        return derived(reader, self.collection(name), cache=cache)

    def forge_config(self, name: str) -> ForgeConfig | None:
        """Return the forge's settings of the collection `name`; None if its pictures come from elsewhere."""
        from fakemedia.forge import PACKAGED, ForgeConfig

        settings = self.collection_parameters(name).get("forge")
        if settings is None:
            return None
        config = plugin.configure(ForgeConfig, settings, where=f"collections.{name}.forge")
        if is_address(root := self.collection_parameters(name)["source"].get("root")):
            raise UserError("The forge writes pictures into a folder, not to an address",
                            where=f"collections.{name}.source", expected=f"a folder as root, found {root}")
        if config.photographs == PACKAGED:
            return config
        return replace(config, photographs=str(self.root / config.photographs))

    def families(self, name: str) -> dict[str, str]:
        """Return the family of each task of the collection `name`, as the forge or its key `families` declares them."""
        from fakemedia import forge

        config, declared = self.forge_config(name), dict(self.collection(name).families)
        return declared if config is None else {**forge.families(config), **declared}
