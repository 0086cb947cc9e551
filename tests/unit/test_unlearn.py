"""Unlearning a task against never having learned it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.evaluation.predict import predict
from fakemedia.learning.sequence import learn_stage, restore_network
from fakemedia.learning.unlearn import unlearn
from fakemedia.methods.method import facts
from fakemedia.networks.checkpoint import FILES, Checkpoint, load
from fakemedia.runtime.device import Runtime
from tests.plans import make_plan
from tests.unit.conftest import noise

CPU = Runtime(accelerator="cpu", precision="float32")
CASES = [("ridge", {}), ("ridge", {"projection": 30}), ("slda", {}), ("experts", {"centres": 2})]
Learn = Callable[..., Checkpoint]


@pytest.fixture(scope="module")
def stores(make_store):
    return {name: make_store(name, noise(24, 12, 20.0 + 15 * seed, seed)) for seed, name in enumerate("abc")}


@pytest.fixture(scope="module")
def learn(stores) -> Learn:
    def run(method: str, order: str = "abc", tune: str = "head", parent: Checkpoint | None = None,
            training: dict[str, Any] | None = None, **settings: Any) -> Checkpoint:
        stages = make_stages([(name,) for name in order])
        plan = make_plan({method: settings}, stages=stages,
                         training=TrainingConfig(**{"batch_size": 8, "crop": 8, "epochs": 1, **(training or {})}),
                         network=Plugin(name="convnet", settings={"width": 8, "depth": 2, "taps": "both"})).resolved()
        plan = replace(plan, methods=tuple(replace(each, tune=tune) for each in plan.methods))
        for stage in stages:
            if parent is None or stage.index > len(parent.meta["stage"]["seen"]):
                parent = learn_stage(plan=plan, method=method, seed=0, stage=stage, parent=parent, train=stores,
                                     validation=stores, folder=None, runtime=CPU)
        assert parent is not None
        return parent

    return run


def assert_equal(one: Checkpoint, other: Checkpoint) -> None:
    assert one.method_state.keys() == other.method_state.keys()
    for name, tensor in other.method_state.items():
        torch.testing.assert_close(one.method_state[name], tensor, rtol=1e-8, atol=1e-8, equal_nan=True)
    assert one.weights.keys() == other.weights.keys()
    for name, tensor in other.weights.items():
        torch.testing.assert_close(one.weights[name], tensor, rtol=1e-6, atol=1e-7)  # float32


@pytest.mark.parametrize("task", ["a", "b", "c"])
@pytest.mark.parametrize(("method", "settings"), CASES)
def test_it_equals_never_having_learned_the_task(learn: Learn, stores, method: str, settings: dict, task: str) -> None:
    left = "abc".replace(task, "")
    found = unlearn(learn(method, **settings), task, train=stores[task], runtime=CPU,
                    validation={name: stores[name] for name in left})
    never = learn(method, left, **settings)
    assert_equal(found, never)
    network = restore_network(found)
    assert found.meta["validation"] == {name: pytest.approx(100 * np.mean(
        (predict(network, stores[name], batch_size=8, crop=8) > 0) == stores[name].labels)) for name in left}
    assert found.meta["stage"]["seen"] == [*left]
    assert found.meta["unlearned"] == [task]


@pytest.mark.parametrize("select_on", ["seen", "none"])
def test_the_correction_is_that_of_the_tasks_that_remain(learn: Learn, stores, select_on: str) -> None:
    training = {"correction": "affine", "select_on": select_on}
    found = unlearn(learn("ridge", training=training), "b", train=stores["b"], runtime=CPU,
                    validation={name: stores[name] for name in "ac"})
    never = learn("ridge", "ac", training=training)
    torch.testing.assert_close(found.weights["correction"], never.weights["correction"], rtol=1e-4, atol=1e-4)
    assert_equal(found, never)


@pytest.mark.parametrize("method", ["ridge", "experts"])
def test_another_task_can_be_learned_afterwards(learn: Learn, stores, method: str, tmp_path: Path) -> None:
    both = learn(method, "ab")
    unlearn(both, "a", train=stores["a"], validation={"b": stores["b"]}, runtime=CPU, folder=tmp_path / "without")
    assert {path.name for path in (tmp_path / "without").iterdir()} == {*FILES}
    assert {path.name for path in tmp_path.iterdir()} == {"without"}
    saved = load(tmp_path / "without")
    assert_equal(learn(method, "bc", parent=saved), learn(method, "bc"))
    network = restore_network(saved)
    right = (predict(network, stores["b"], batch_size=8, crop=8) > 0) == stores["b"].labels
    assert right.mean() > 0.8


def test_the_whole_network_gives_the_same_as_stored_features(learn: Learn, stores) -> None:
    found = unlearn(learn("ridge", tune="all"), "b", train=stores["b"], runtime=CPU,
                    validation={name: stores[name] for name in "ac"})
    never = learn("ridge", "ac", tune="all")
    torch.testing.assert_close(found.method_state["scatter"], never.method_state["scatter"], rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("method", [name for name in plugin.names("methods") if not facts(name).unlearns])
def test_methods_that_learn_by_steps_refuse(stores, method: str) -> None:
    given = Checkpoint(weights={}, method_state={}, meta={
        "fingerprint": "f", "method": {"name": method, "settings": {}}, "stage": {"seen": ["a", "b"]}, "seed": 0})
    with pytest.raises(UserError, match="cannot unlearn") as caught:
        unlearn(given, "a", train=stores["a"], validation={"b": stores["b"]}, runtime=CPU)
    assert "experts, ridge, slda" in str(caught.value)


def test_what_cannot_be_unlearned_is_refused_and_nothing_is_written(learn: Learn, stores, make_store,
                                                                     tmp_path: Path) -> None:
    folder, both = tmp_path / "out", learn("ridge", "ab")

    def refused(checkpoint: Checkpoint, task: str, train: Any, message: str, **known: Any) -> None:
        with pytest.raises(UserError, match=message):
            unlearn(checkpoint, task, train=train, validation=known, runtime=CPU, folder=folder)
        assert not folder.exists()

    refused(both, "c", stores["c"], "Unknown task 'c'", a=stores["a"], b=stores["b"])
    refused(learn("ridge", "a"), "a", stores["a"], "the only task")
    refused(both, "a", None, "training pictures of 'a' are missing", b=stores["b"])
    changed = make_store("a", list(noise(24, 12, 20.0, 0))[:-2])
    refused(both, "a", changed, "not those that were learned", b=stores["b"])


def test_experts_need_no_pictures(learn: Learn, stores) -> None:
    found = unlearn(learn("experts", "ab"), "a", train=None, validation={"b": stores["b"]}, runtime=CPU)
    assert np.array_equal(found.weights["head.weight"], learn("experts", "b").weights["head.weight"])
