"""What makes distances and groups stale."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from fakemedia.core import plugin
from fakemedia.core.plan import Plugin
from fakemedia.core.stages import GroupingConfig, SimilarityConfig
from fakemedia.evaluation.perturbations.perturbation import RobustnessConfig
from fakemedia.similarity.distance_recipes import distances_recipe, groups_recipe, reads

SIMILARITY = SimilarityConfig()
DATA = {"gan": "hash of gan", "swap": "hash of swap"}
GROUPING = GroupingConfig()
NETWORK = Plugin(name="convnet", settings={"pretrained": "hash of weights"})
OTHER_WEIGHTS = Plugin(name="convnet", settings={"pretrained": "hash of other weights"})


def distances(measure: str, *, settings=None, similarity=SIMILARITY, crop=64, data=DATA, network=NETWORK) -> str:
    return distances_recipe(Plugin(name=measure, settings=settings or {}), similarity=similarity, crop=crop, data=data,
                            network=network).fingerprint


def groups(grouping=GROUPING, *, made="hash", similarity=SIMILARITY, crop=64, data=DATA) -> str:
    return groups_recipe(grouping, distances=made, similarity=similarity, crop=crop, data=data).fingerprint


def test_other_weights_behind_the_same_path_change_what_reads_features() -> None:
    assert distances("frechet") != distances("frechet", network=OTHER_WEIGHTS)
    assert distances("fingerprint") == distances("fingerprint", network=OTHER_WEIGHTS)


def test_other_families_change_the_measure_that_uses_them() -> None:
    families = {"gan": "upsampling", "swap": "blending"}
    given = distances("family", settings={"families": families})
    assert given != distances("family", settings={"families": {**families, "swap": "upsampling"}})
    assert given == distances("family", settings={"families": families}, data={"gan": "new", "swap": "new"})


@pytest.mark.parametrize("changed", [
    {"settings": {"features": "network"}}, {"similarity": replace(SIMILARITY, images=9)}, {"crop": 32},
    {"similarity": replace(SIMILARITY, seed=1)}, {"data": {"gan": "new", "swap": "hash of swap"}},
    {"data": dict(reversed(DATA.items()))}])
def test_what_distances_depend_on(changed: dict) -> None:
    assert distances("transfer") == distances("transfer", similarity=replace(SIMILARITY, measures=("mmd",)))
    assert distances("transfer") != distances("transfer", **changed)


def test_what_groups_depend_on() -> None:
    assert groups() != groups(GroupingConfig(order="random"))
    assert groups() != groups(made="other hash")
    assert groups() == groups(data={"gan": "new", "swap": "new"}, crop=32)
    hardest = GroupingConfig(order="hardest_first")
    assert groups(hardest) != groups(hardest, data={"gan": "new", "swap": "hash of swap"})
    assert groups(hardest) != groups(hardest, crop=32)


def test_a_changed_plugin_or_producer_changes_what_it_makes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def write(folder: str, version: int) -> None:
        place = tmp_path / folder
        place.mkdir(parents=True, exist_ok=True)
        (place / "mine.py").write_text(f"VERSION = {version}\nclass Config: ...\ndef build(config): ...\n")
        plugin.add_folder(tmp_path)

    monkeypatch.setattr(plugin, "_roots", [*plugin._roots])
    config = RobustnessConfig(perturbations={"mine": (1.0,)})
    write("similarity", 1)
    write("evaluation/perturbations", 1)
    before = distances("mine"), config.versions
    write("similarity", 2)
    assert distances("mine") != before[0]
    write("evaluation/perturbations", 2)
    assert config.versions != before[1]
    assert config.versions == {"mine": 2}

    named, grouped = distances("fingerprint"), groups()
    monkeypatch.setattr("fakemedia.similarity.distance_recipes.SAMPLES_VERSION", 2)
    monkeypatch.setattr("fakemedia.similarity.distance_recipes.GROUPS_VERSION", 2)
    assert distances("fingerprint") != named
    assert groups() != grouped


@pytest.mark.parametrize("name", plugin.names("similarity"))
def test_a_measure_reads_what_its_file_says(name: str) -> None:
    assert reads(name) in (plugin.create("similarity", name, {}).reads, "features")
