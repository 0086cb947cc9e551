"""The project as the running command sees it: its parameters, its plans, and the paths that its catalog gives."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from kedro.config import MissingConfigException, OmegaConfigLoader
from kedro.framework.project import settings
from kedro.utils import find_kedro_project
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from fakemedia.core import plugin
from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.plan import Plan, check_comparable, make_plan

if TYPE_CHECKING:
    from fakemedia.evaluation.calibration import CalibrationConfig
    from fakemedia.evaluation.perturbations.perturbation import RobustnessConfig
    from fakemedia.forge import ForgeConfig
    from fakemedia.runtime.device import Runtime
    from fakemedia.similarity.measure import Measure
    from fakemedia.sources.source import Source

T = TypeVar("T")
GROUPS = "{sequence}-similarity.groups"
_current: ProjectConfigLoader | None = None
_remembered: list[Any] = []


def remembered(function: Callable[..., T]) -> Callable[..., T]:
    """Return `function` with its answers kept until the configuration is loaded anew, or `forget` is called."""
    kept = cache(function)
    _remembered.append(kept)
    return kept


def forget() -> None:
    """Drop all remembered answers: something was saved, or the configuration has changed."""
    for function in _remembered:
        function.cache_clear()


class ProjectConfigLoader(OmegaConfigLoader):
    """The usual configuration loader, which remembers its last instance.

    The pipelines are made from the parameters, and Kedro hands none to `register_pipelines`; through this class they
    see what `--env` and `--params` say, in `kedro run` as in the viewer.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        global _current
        _current = self
        forget()

    def __getitem__(self, key: str) -> dict[str, Any]:
        """Return what the files say of `key`; UserError for files that cannot be read."""
        try:
            return super().__getitem__(key)
        except (YAMLError, OmegaConfBaseException, ValueError) as error:  # ValueError: a key in two files of a folder
            raise UserError(f"The configuration cannot be read: {error}", where=self.conf_source,
                            expected="YAML files, a key in one of them", do="mend the file") from error


def configure(*, env: str | None = None, conf_source: str | None = None,
              params: Mapping[str, Any] | None = None) -> None:
    """Load the configuration as `kedro run` does with these options."""
    folder = find_kedro_project(Path.cwd()) or Path.cwd()
    ProjectConfigLoader(conf_source=conf_source or str(Path(folder) / "conf"), env=env or os.getenv("KEDRO_ENV"),
                        runtime_params=dict(params or {}), **settings.CONFIG_LOADER_ARGS)


def _loader() -> ProjectConfigLoader:
    if _current is None:
        configure()
    assert _current is not None
    return _current


@remembered
def _config(kind: str) -> dict[str, Any]:
    try:
        return _loader()[kind]
    except MissingConfigException as error:
        raise UserError(f"There is no configuration: {error}", where=_loader().conf_source,
                        expected="a folder of YAML files", do="name another --env") from error


def parameters() -> dict[str, Any]:
    """Return the parameters of the running session, or of KEDRO_ENV where there is none."""
    return _config("parameters")


def is_here() -> bool:
    """Say whether the command runs inside a project."""
    return _current is not None or find_kedro_project(Path.cwd()) is not None


def root() -> Path:
    """Return the project's folder, against which relative paths of the parameters count."""
    return Path(_loader().conf_source).resolve().parent


def path(entry: str, **words: object) -> Path:
    """Return the absolute path of the catalog entry (or pattern) `entry`, its placeholders filled with `words`."""
    return root() / _config("catalog")[entry]["filepath"].format(**words)


def sequences() -> tuple[str, ...]:
    """Return the names of the configured sequences, in order."""
    return tuple(parameters().get("sequences") or ())


def default_sequence() -> str:
    """Return the sequence that a plain `kedro run` runs."""
    sequence = parameters().get("sequence")
    if sequence not in sequences():
        make_plan(parameters(), str(sequence))
    return str(sequence)


@remembered
def plan(sequence: str) -> Plan:
    """Return the plan of `sequence`; plugins are named but not imported.

    If its stages are groups of tasks, they are those that were found last under today's settings; as long as there are
    none, the plan has no stages.
    """
    made = make_plan(parameters(), sequence)
    if made.grouping is None:
        return made
    found = recorded_groups(sequence)
    known = found.get("settings_fingerprint") == made.similarity_identity
    return made.with_groups(map(tuple, found["groups"])) if known else made


def recorded_groups(sequence: str) -> dict[str, Any]:
    """Return what the last grouping of `sequence` found (see `similarity.grouping.record`); empty if there is none."""
    try:
        found = json.loads(path(GROUPS, sequence=sequence).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def compared(sequence: str) -> tuple[Plan, ...]:
    """Return the plans of `sequence` and of those that it is compared with, itself first.

    UserError for one that learns other tasks, or has no method or seed in common with it.
    """
    own = plan(sequence)
    others = tuple(plan(name) for name in own.against)
    for other in others:
        check_comparable(own, other)
    return own, *others


@remembered
def runtime() -> Runtime:
    """Return the device and the arithmetic that the parameters ask for, if there is a project (imports torch)."""
    from fakemedia.runtime.device import Runtime

    return plugin.configure(Runtime, parameters().get("runtime") or {}, where="runtime") if is_here() else Runtime()


@remembered
def calibration_config() -> CalibrationConfig:
    """Return how checkpoints are calibrated, as the parameters say if there is a project (imports scikit-learn)."""
    from fakemedia.evaluation.calibration import CalibrationConfig

    given = parameters().get("calibration") if is_here() else None
    return plugin.configure(CalibrationConfig, given or {}, where="calibration")


@remembered
def robustness(sequence: str) -> RobustnessConfig | None:
    """Return how robustness is measured for `sequence`; None if it is not."""
    from fakemedia.evaluation.perturbations.perturbation import RobustnessConfig

    config = plugin.configure(RobustnessConfig, parameters().get("robustness") or {}, where="robustness")
    for name in config.named:
        if name not in sequences():
            raise unknown_name("sequence", name, sequences(), where="robustness.sequences")
    return config if sequence in config.named else None


@remembered
def resolved_plan(sequence: str) -> Plan:
    """Return the plan of `sequence` with every plugin's settings checked and filled in (imports torch)."""
    return plan(sequence).resolved()


@remembered
def measures(sequence: str) -> dict[str, Measure]:
    """Return the measures of similarity of `sequence` by name, their settings checked (imports torch).

    UserError, too, for a task that a measure which goes by names does not know, and for a missing file of weights.
    """
    from fakemedia.similarity.measure import check_names

    asked = plan(sequence)
    made: dict[str, Measure] = {}
    for name, named in asked.measures.items():
        made[name] = plugin.create("similarity", named.name, named.settings, where=f"similarity.settings.{name}")
        check_names(made[name], asked.tasks)
    source = asked.similarity.network
    reads_features = any(measure.reads == "features" for measure in made.values())
    if reads_features and source != "start" and not (root() / source).exists():
        raise UserError("There are no weights of the network whose features are compared", where=root() / source,
                        expected="`start`, a file of weights or a checkpoint folder", do="mend similarity.network")
    return made


def features_folder(collection: str, task: str) -> Path:
    """Return where spectra and features of a task's images are kept."""
    return root() / "data" / "04_feature" / collection / task


def collection(name: str) -> dict[str, Any]:
    """Return the settings of the data collection `name`; a relative `root` of its source is made absolute."""
    given = (parameters().get("collections") or {}).get(name)
    if not isinstance(given, dict) or "name" not in (given.get("source") or {}):
        raise UserError("The collection says no source", where=f"collections.{name}.source",
                        expected="a mapping with a name, such as {name: folder, root: data/01_raw/mine}")
    source = dict(given["source"])
    if "root" in source:
        source["root"] = str(root() / source["root"])
    return {**given, "source": source}


def open_source(name: str) -> Source:
    """Return the source of the collection `name`."""
    source = collection(name)["source"]
    settings = {key: value for key, value in source.items() if key != "name"}
    return plugin.create("sources", source["name"], settings, where=f"collections.{name}.source")


def forge_config(name: str) -> ForgeConfig | None:
    """Return how the forge makes the collection `name`; None if its pictures come from elsewhere."""
    from fakemedia.forge import PACKAGED, ForgeConfig

    given = collection(name).get("forge")
    if given is None:
        return None
    config = plugin.configure(ForgeConfig, given, where=f"collections.{name}.forge")
    if config.photographs == PACKAGED:
        return config
    return replace(config, photographs=str(root() / config.photographs))


def families(name: str) -> dict[str, str]:
    """Return the family of each task of the collection `name`, as the forge or its key `families` declares them."""
    from fakemedia import forge
    from fakemedia.ingest.collection import collection_config

    config = forge_config(name)
    declared = dict(collection_config(collection(name), where=f"collections.{name}").families)
    return declared if config is None else {**forge.families(config), **declared}
