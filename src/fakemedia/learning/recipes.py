"""What checkpoints and scores are made from: recipes from settings and content hashes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from fakemedia.artefacts.manifest import Recipe, file_sha256
from fakemedia.core import plugin
from fakemedia.core.plan import MethodPlan, Plugin
from fakemedia.core.types import Stage
from fakemedia.store.augmentations.augmentation import NONE, augment_version

if TYPE_CHECKING:
    from fakemedia.evaluation.perturbations.perturbation import RobustnessConfig

VERSION = 2
"""Version of the training of a stage: raised when the same settings and data give other weights. 2: norms and biases
are not decayed."""
HEAD_VERSION = 3
"""Version of the training of the head alone. 2: all validation images choose the epoch. 3: the features of a memory are
those that are stored of the training pictures."""
SCORES_VERSION = 2
"""Version of the scores of a checkpoint: raised when the same weights and pictures give others. 2: with novelty."""
WEIGHTS_FILE = "weights.safetensors"


def stage_recipe(*, method: MethodPlan, seed: int, stage: Stage, data: Mapping[str, Mapping[str, str]],
                 parent: str | None) -> Recipe:
    """Return the recipe of the checkpoint of `stage`; the label of `method` is not part of it.

    `method` is resolved (defaults filled in, paths absolute). `data` gives, for each task that the stage reads, the
    content hashes of the splits that it reads; `parent` is the content hash of the checkpoint that it starts from.
    """
    inputs = {f"{task} {split}": content for task, splits in data.items() for split, content in splits.items()}
    method = method.at(stage)
    augment = method.training.augment
    return Recipe(
        producer="stage", version=VERSION,
        settings={"network": identified(method.network), "tune": method.tune, "method": method.plugin,
                  "training": method.training, "seed": seed, "stage": stage,
                  "versions": {"method": plugin.constant("methods", method.method, "VERSION", 1),
                               "network": plugin.constant("networks", method.network.name, "VERSION", 1),
                               **(_head_versions() if method.tune == "head" else {}),
                               **({"augmentation": augment_version(augment)} if augment != NONE else {})}},
        inputs=inputs if parent is None else {**inputs, "parent": parent},
    )


def scores_recipe(*, checkpoint: str, crop: int, data: Mapping[str, str], novelty: str | None = None) -> Recipe:
    """Return the recipe of the scores of a checkpoint on one split of several tasks.

    `checkpoint`, `novelty` (None: of the training pictures of these tasks) and `data` (by task) are content hashes;
    `crop` is the side of the crop that the network sees, pixels.
    """
    inputs = {"checkpoint": checkpoint, **data}
    return Recipe(producer="scores", version=SCORES_VERSION, settings={"crop": crop, "tasks": list(data)},
                  inputs=inputs if novelty is None else {**inputs, "novelty": novelty})


def robustness_recipe(*, checkpoint: str, crop: int, data: Mapping[str, str], config: RobustnessConfig) -> Recipe:
    """Return the recipe of the scores of a checkpoint on perturbed images; see `scores_recipe`."""
    return Recipe(producer="robustness", version=SCORES_VERSION,
                  settings={"crop": crop, "tasks": list(data), "per_task_max": config.per_task_max,
                            "perturbations": dict(config.perturbations), "versions": config.versions},
                  inputs={"checkpoint": checkpoint, **data})


def _head_versions() -> dict[str, int]:
    from fakemedia.networks import features

    return {"features": features.VERSION, "head": HEAD_VERSION}


def identified(network: Plugin) -> Plugin:
    """Return `network` with the path of a weights file replaced by the hash of its content."""
    path = Path(str(network.settings.get("pretrained")))
    path = path / WEIGHTS_FILE if path.is_dir() else path
    if not path.is_file():
        return network
    return replace(network, settings={**network.settings, "pretrained": _file_hash(path, path.stat().st_mtime_ns)})


@cache
def _file_hash(path: Path, mtime_ns: int) -> str:
    return file_sha256(path)
