"""What checkpoints and scores are made from."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from fakemedia.core import plugin
from fakemedia.core.plan import MethodPlan, Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.evaluation.perturbations.perturbation import RobustnessConfig
from fakemedia.learning import recipes
from fakemedia.learning.recipes import robustness_recipe, scores_recipe, stage_recipe

METHOD = MethodPlan(label="kd", method="kd", network=Plugin(name="convnet"), training=TrainingConfig())
CAUSES: dict[str, Any] = {"method": METHOD, "seed": 0, "stage": make_stages([("a",)])[0],
                          "data": {"a": {"train": "x", "val": "y"}}, "parent": None}


def made(**changes: Any) -> str:
    return stage_recipe(**{**CAUSES, **changes}).fingerprint


def test_a_stage_depends_on_every_cause_but_not_on_the_label() -> None:
    changes = [
        {"method": replace(METHOD, network=Plugin(name="convnet", settings={"width": 8}))},
        {"method": replace(METHOD, method="ewc")}, {"method": replace(METHOD, settings={"weight": 2.0})},
        {"method": replace(METHOD, training=TrainingConfig(epochs=31))}, {"method": replace(METHOD, tune="head")},
        {"seed": 1}, {"stage": make_stages([("b",)])[0]}, {"data": {"a": {"train": "z", "val": "y"}}},
        {"data": {"a": {"train": "x", "val": "z"}}}, {"parent": "p"},
    ]
    assert len({made(), *(made(**change) for change in changes)}) == len(changes) + 1
    assert made(method=replace(METHOD, label="other")) == made()


OTHER: dict[str, Any] = {
    "epochs": 7, "patience": 3, "batch_size": 32, "optimizer": "sgd", "lr": 0.1, "momentum": 0.5, "weight_decay": 0.2,
    "schedule": "cosine", "period": 5, "lr_min": 0.1, "crop": 64, "flip": False, "augment": "blur_jpeg",
    "views": ("corners",), "norm_statistics": "reestimated", "select_on": "none", "correction": "affine",
    "validation_max": 5, "validation_share": 0.5, "validation_every": 2}


@pytest.mark.parametrize("key", [each.name for each in fields(TrainingConfig)])
def test_every_setting_of_the_training_is_a_cause(key: str) -> None:
    assert made(method=replace(METHOD, training=TrainingConfig(**{key: OTHER[key]}))) != made()
    assert made(method=replace(METHOD, by_task={"a": {key: OTHER[key]}})) != made()


@pytest.mark.parametrize("kind", ["methods", "networks"])
def test_every_setting_of_methods_and_networks_is_a_cause(kind: str) -> None:
    for name in {file for file, _ in (plugin.alias(kind, each) or (each, {}) for each in plugin.names(kind))}:
        defaults = vars(plugin.resolve(kind, name, {}, where="test"))

        def recipe(settings: dict[str, Any], name: str = name) -> str:
            named = Plugin(name=name, settings=settings)
            return made(method=replace(METHOD, network=named) if kind == "networks" else
                        replace(METHOD, method=name, settings=settings))

        for key in defaults:
            assert recipe({**defaults, key: "another value"}) != recipe(defaults), f"{name}: {key}"


def test_the_training_of_another_stage_is_no_cause() -> None:
    one, two = make_stages([("a",), ("b",)])
    longer = replace(METHOD, by_task={"b": {"epochs": 31}})
    assert made(method=longer, stage=one) == made(stage=one)
    assert made(method=longer, stage=two) != made(stage=two)
    assert made(method=longer, stage=two) == made(method=replace(METHOD, training=TrainingConfig(epochs=31)), stage=two)


@pytest.mark.parametrize(("kind", "name"), [("methods", "kd"), ("networks", "convnet")])
def test_a_raised_version_of_a_plugin_is_another_recipe(monkeypatch: pytest.MonkeyPatch, kind: str, name: str) -> None:
    before, constant = made(), plugin.constant
    monkeypatch.setattr(plugin, "constant", lambda *given: 99 if given[:3] == (kind, name, "VERSION")
                        else constant(*given))
    assert made() != before


def test_a_raised_version_of_the_training_is_another_recipe(monkeypatch: pytest.MonkeyPatch) -> None:
    before = made()
    monkeypatch.setattr(recipes, "VERSION", recipes.VERSION + 1)
    assert made() != before


def test_a_raised_version_of_the_features_is_another_recipe_where_the_head_alone_is_trained(
        monkeypatch: pytest.MonkeyPatch) -> None:
    before, of_head = made(), made(method=replace(METHOD, tune="head"))
    monkeypatch.setattr("fakemedia.networks.features.VERSION", 99)
    assert made() == before
    assert made(method=replace(METHOD, tune="head")) != of_head


def test_a_raised_version_of_an_augmentation_is_another_recipe_where_it_is_used(
        monkeypatch: pytest.MonkeyPatch) -> None:
    used = replace(METHOD, training=TrainingConfig(augment="blur_jpeg"))
    before, with_it = made(), made(method=used)
    monkeypatch.setattr(recipes, "augment_version", lambda name: 99)
    assert made() == before
    assert len({before, with_it, made(method=used)}) == 3


def test_a_weights_file_counts_by_its_content_and_not_by_its_place(tmp_path: Path) -> None:
    def of(name: str, content: bytes) -> str:
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        given = path.parent if name.endswith("weights.safetensors") else path
        return made(method=replace(METHOD, network=Plugin(name="convnet", settings={"pretrained": str(given)})))

    one = of("x.pt", b"1")
    assert one == of("y.pt", b"1") == of("moved/weights.safetensors", b"1")
    assert one != of("z.pt", b"2")
    assert of("x.pt", b"2") == of("z.pt", b"2")


def test_scores_depend_on_the_checkpoint_the_crop_and_the_pictures() -> None:
    def scores(checkpoint: str = "w", crop: int = 64, **data: str) -> str:
        return scores_recipe(checkpoint=checkpoint, crop=crop, data=data).fingerprint

    assert len({scores(a="1"), scores(a="2"), scores("v", a="1"), scores(a="1", crop=8),
                scores(a="1", b="2")}) == 5


def test_robustness_depends_on_what_is_measured_and_not_on_for_whom() -> None:
    def scores(**config: Any) -> str:
        measured = RobustnessConfig(**config)
        return robustness_recipe(checkpoint="w", crop=64, data={"a": "1"}, config=measured).fingerprint

    jpeg = {"perturbations": {"jpeg": (50.0,)}}
    assert scores(**jpeg) == scores(**jpeg, sequences=("x", "y"))
    assert len({scores(**jpeg), scores(perturbations={"jpeg": (60.0,)}), scores(**jpeg, per_task_max=9)}) == 3
