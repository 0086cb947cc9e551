"""Small stages: a batch of what there is, training of their own, and a line that names them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from fakemedia.core.plan import Plan, Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.sequence import learn_stage
from fakemedia.learning.steps import steps, warn_of_few_steps
from fakemedia.runtime.device import Runtime
from tests.plans import make_plan

CPU = Runtime(accelerator="cpu", precision="float32")
STAGES = make_stages([("a",), ("b",)])
CONFIG = TrainingConfig(epochs=2, batch_size=8, crop=8, lr=0.01)


def plan(**by_task: dict) -> Plan:
    made = make_plan(["finetune"], stages=STAGES, network=Plugin(name="convnet", settings={"width": 8, "depth": 2}),
                     training=CONFIG).resolved()
    return replace(made, methods=tuple(replace(each, by_task=by_task) for each in made.methods))


@pytest.fixture(scope="module")
def stores(noise_store):
    return {"a": noise_store(), "b": noise_store(images=6)}


@pytest.mark.parametrize(("images", "expected"), [(0, 0), (6, 1), (8, 1), (17, 2)])
def test_steps(images: int, expected: int) -> None:
    assert steps(CONFIG, images) == expected


def test_a_task_smaller_than_the_batch_is_learned_and_named(stores, caplog: pytest.LogCaptureFixture) -> None:
    first, second = (learn_stage(plan=plan(), method="finetune", seed=0, stage=stage, parent=None, train=stores,
                                 validation=stores, folder=None, runtime=CPU) for stage in STAGES)
    assert len(second.meta["history"]) == 2
    assert any(not torch.equal(tensor, first.weights[name]) for name, tensor in second.weights.items())
    assert [record.message for record in caplog.records if record.levelname == "WARNING"] == [
        "finetune, stage 02_b: a batch has 6 pictures instead of 8, since the stage has no more."]


def test_a_stage_with_a_twentieth_of_the_steps_is_named(stores, caplog: pytest.LogCaptureFixture) -> None:
    for epochs, lines in ((10, 0), (14, 1)):
        caplog.clear()
        for stage in STAGES:
            warn_of_few_steps(plan(a={"epochs": epochs}, b={"batch_size": 6}), "finetune", stage, stores)
        assert len(caplog.records) == lines
    assert "stage 02_b: 2 steps, while stage 01_a takes 42" in caplog.text
    caplog.clear()
    warn_of_few_steps(plan(a={"epochs": 14}, b={"batch_size": 6}), "finetune", STAGES[1], {"b": stores["b"]})
    assert not caplog.records


def test_changing_a_later_stage_keeps_the_earlier_one(stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def learn(made: Plan, index: int, parent=None):
        stage = STAGES[index - 1]
        return learn_stage(plan=made, method="finetune", seed=0, stage=stage, parent=parent, train=stores,
                           validation=stores, folder=tmp_path / stage.key, runtime=CPU)

    second = learn(plan(), 2, learn(plan(), 1))
    assert len(second.meta["history"]) == 2
    longer = plan(b={"epochs": 3})
    with monkeypatch.context() as patch:
        patch.setattr("fakemedia.learning.sequence.StageTrainer", lambda **_: pytest.fail("trained again"))
        first = learn(longer, 1)
    changed = learn(longer, 2, first)
    assert len(changed.meta["history"]) == 3
    assert changed.meta["training"]["epochs"] == 3
