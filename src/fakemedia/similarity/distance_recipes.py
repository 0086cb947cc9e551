"""Recipes of distances between tasks and of groups of tasks, from settings and content hashes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fakemedia.artefacts.manifest import Recipe
from fakemedia.core import plugin
from fakemedia.core.plan import Plugin
from fakemedia.core.stages import GroupingConfig, SimilarityConfig

SAMPLES_VERSION = 1
"""Version of the samples of the tasks, their spectra and features: raised when these change."""
GROUPS_VERSION = 1
"""Version of `grouping.group_tasks`: raised when its groups change."""


def distances_recipe(measure: Plugin, *, similarity: SimilarityConfig, crop: int, data: Mapping[str, str],
                     network: Plugin | None) -> Recipe:
    """Return the recipe of the distances between tasks by one measure.

    `measure` is the plugin's name with the settings that it uses, such as the declared `families`. `crop` is the side
    of the crops, pixels. `data` gives the content hash of each task's training images, in order. `network` is the one
    whose features are read, a path of weights in it replaced by the hash of the file; a measure that reads no features
    (see `reads`) does not depend on it.
    """
    sample_part = reads(measure.name)
    settings: dict[str, Any] = {"measure": measure, "tasks": list(data),
                                "versions": {"measure": plugin.constant("similarity", measure.name, "VERSION", 1)}}
    if sample_part == "name":
        return Recipe(producer="distances", version=SAMPLES_VERSION, settings=settings)
    settings |= sample_settings(similarity, crop)
    if sample_part == "features":
        settings["network"] = network
        if network is not None:
            settings["versions"]["network"] = plugin.constant("networks", network.name, "VERSION", 1)
    return Recipe(producer="distances", version=SAMPLES_VERSION, settings=settings, inputs=data)


def groups_recipe(grouping: GroupingConfig, *, distances: str, similarity: SimilarityConfig, crop: int,
                  data: Mapping[str, str]) -> Recipe:
    """Return the recipe of the groups of tasks; `distances` is the content hash of the distances they are made by.

    `similarity`, `crop` and `data` are as for `distances_recipe`; the order `hardest_first` reads the samples too.
    """
    settings: dict[str, Any] = {"grouping": grouping, "tasks": list(data)}
    inputs = {"distances": distances}
    if grouping.order == "hardest_first":
        settings |= {**sample_settings(similarity, crop), "samples_version": SAMPLES_VERSION}
        inputs |= data
    return Recipe(producer="groups", version=GROUPS_VERSION, settings=settings, inputs=inputs)


def sample_settings(similarity: SimilarityConfig, crop: int) -> dict[str, Any]:
    """Return the settings that the samples of the tasks depend on."""
    return {"images": similarity.images, "seed": similarity.seed, "crop": crop}


def reads(measure: str) -> str:
    """Return the input of a measure without importing it: its file's `READS`, or `features` if settings decide."""
    return plugin.constant("similarity", measure, "READS", "features")
