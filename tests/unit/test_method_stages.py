"""Methods that own their stage: closed form, changed weights, modules of their own, and their checkpoints."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from textwrap import dedent
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from fakemedia import methods
from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.one_step import _plan
from fakemedia.learning.sequence import learn_stage, restore_network, score_checkpoint
from fakemedia.methods.method import Facts, facts
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.runtime.device import Runtime
from tests.plans import make_plan

CPU = Runtime(accelerator="cpu", precision="float32")
STAGES = make_stages([("a",), ("b",)])
HEAD = """
from dataclasses import dataclass
import torch
from torch import nn
from fakemedia.methods.method import GradientMethod, Method

@dataclass(frozen=True, kw_only=True)
class Config:
    pass

def build(config, seed):
    return Mine()
"""


@pytest.fixture
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that makes a method `mine` of the given source; afterwards it is forgotten."""
    monkeypatch.setattr(plugin, "_roots", list(plugin._roots))
    monkeypatch.setattr(methods, "__path__", list(methods.__path__))
    folder = tmp_path / "plugins" / "methods"
    folder.mkdir(parents=True)

    def write(source: str) -> None:
        (folder / "mine.py").write_text(HEAD + dedent(source))
        plugin.add_folder(tmp_path / "plugins")

    yield write
    sys.modules.pop("fakemedia.methods.mine", None)
    for cached in (plugin.names, plugin._parsed):
        cached.cache_clear()


@pytest.fixture
def learn(noise_store) -> Callable[..., Checkpoint]:
    stores = {task: noise_store(seed=seed) for seed, task in enumerate("ab")}

    def run(index: int = 1, method: str = "mine", parent: Checkpoint | None = None,
            folder: Path | None = None, **training: Any) -> Checkpoint:
        plan = make_plan([method], stages=STAGES, network=Plugin(name="convnet", settings={"width": 8, "depth": 2}),
                         training=TrainingConfig(epochs=2, batch_size=8, crop=8, lr=0.01, **training)).resolved()
        return learn_stage(plan=plan, method=method, seed=0, stage=STAGES[index - 1], parent=parent, train=stores,
                           validation=stores, folder=folder, runtime=CPU)

    run.stores = stores  # type: ignore[attr-defined]
    return run


AVERAGE = """
class Mine(GradientMethod):
    def {hook}(self, *args):
        {before}
        with torch.no_grad():
            args[1].head.weight.mul_(0.5)
"""


def test_weights_that_a_method_changes_silently_are_refused(outside, learn) -> None:
    outside(AVERAGE.format(hook="after_stage", before=""))
    with pytest.raises(UserError, match=r"changed the weights that validation selected[\s\S]*CHANGES_SELECTED"):
        learn()


@pytest.mark.parametrize("select_on", ["seen", "none"])
def test_a_change_that_is_declared_is_part_of_the_checkpoint_and_validated(outside, learn, select_on: str) -> None:
    plain = learn(method="finetune", select_on=select_on)
    outside("CHANGES_SELECTED = True" + AVERAGE.format(hook="fit", before="super().fit(*args)"))
    changed = learn(select_on=select_on)
    assert torch.equal(changed.weights["head.weight"], 0.5 * plain.weights["head.weight"])
    assert changed.meta["history"] == plain.meta["history"]
    assert set(changed.meta["validation"]) == ({"a"} if select_on == "seen" else set())


def test_the_checkpoint_holds_the_epoch_that_was_selected(learn) -> None:
    made = learn(method="kd")
    best = made.meta["history"][made.meta["best_epoch"] - 1]
    assert made.meta["validation"] == best["validation"]
    scores = score_checkpoint(made, {"a": learn.stores["a"]}, runtime=CPU)
    right = 100.0 * float(((scores["logit"] > 0) == scores["label"]).mean())
    assert right == pytest.approx(made.meta["validation"]["a"])


CLOSED = """
    TRAINS_BODY = False
    FIRST_STAGE_IS_FINETUNE = False

    class Mine(Method):
        def __init__(self):
            self.sums, self.counts = torch.zeros(2, 16), torch.zeros(2)

        @torch.no_grad()
        def take(self, stage, detector, trainer):
            detector.eval()
            for batch in trainer.examples(stage.train, detector):
                features = detector.features(batch.inputs)
                self.sums.index_add_(0, batch.labels, features)
                self.counts += torch.bincount(batch.labels, minlength=2)

        def fit(self, stage, detector, trainer):
            self.take(stage, detector, trainer)
            means = self.sums / self.counts[:, None]
            detector.head.weight.data = means
            detector.head.bias.data = -0.5 * means.square().sum(1)

        def review(self, earlier, detector, trainer):
            self.take(earlier, detector, trainer)

        def state_dict(self):
            return {"sums": self.sums, "counts": self.counts}

        def load_state_dict(self, state):
            self.sums, self.counts = state["sums"], state["counts"]
"""


def test_a_closed_form_method_in_one_pass(outside, learn, tmp_path: Path) -> None:
    outside(CLOSED.replace("16", "8"))
    first = learn(folder=tmp_path / "01_a")
    second = learn(2, parent=first)
    assert second.method_state["counts"].tolist() == [24, 24]
    assert (second.meta["history"], second.meta["best_epoch"]) == ([], 0)
    assert set(second.meta["validation"]) == {"a", "b"}
    assert second.meta["validation"]["b"] > 90
    body = {name: value for name, value in second.weights.items() if name.startswith("body.")}
    assert all(torch.equal(value, first.weights[name]) for name, value in body.items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["01_a", "plugins"]


def test_it_takes_up_what_another_method_learned(outside, learn) -> None:
    outside(CLOSED.replace("16", "8"))
    reviewed = learn(2, parent=learn(method="finetune"))
    assert reviewed.method_state["counts"].tolist() == [24, 24]


def test_modules_of_a_method_are_restored_with_its_checkpoint(outside, learn) -> None:
    outside("""
    class Mine(GradientMethod):
        def before_stage(self, stage, detector):
            if stage.index == 1:
                detector.head = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))

        def shape(self, detector, weights):
            detector.head = nn.Sequential(nn.Linear(8, 4), nn.ReLU(), nn.Linear(4, 2))
    """)
    first = learn()
    network = restore_network(first)
    assert all(torch.equal(value, first.weights[name]) for name, value in network.state_dict().items())
    assert learn(2, parent=first).weights.keys() == first.weights.keys()


def test_a_stage_is_trained_once(outside, learn) -> None:
    outside("""
    class Mine(GradientMethod):
        def fit(self, stage, detector, trainer):
            trainer.train(self, stage, detector)
            trainer.train(self, stage, detector)
    """)
    with pytest.raises(RuntimeError, match="once a stage"):
        learn()


def test_what_a_file_does_not_declare_is_the_default(outside) -> None:
    outside("SCOPE = 'seen'\nVERSION = 3\nclass Mine(Method): pass")
    assert facts("mine") == Facts(scope="seen", version=3)
    assert facts("finetune") == Facts()


def test_the_steps_that_hooks_are_given_count_over_the_stage(outside, learn) -> None:
    outside("""
    class Mine(GradientMethod):
        def __init__(self):
            self.steps, self.moved, self.before = [], [], None

        def mix(self, batch, step):
            self.steps.append(float(step))
            return batch

        def after_backward(self, detector):
            self.before = detector.head.weight.detach().clone()

        def after_step(self, detector):
            assert detector.head.weight.grad is not None
            self.moved.append(float(not torch.equal(self.before, detector.head.weight)))

        def state_dict(self):
            return {"steps": torch.tensor(self.steps), "moved": torch.tensor(self.moved)}

        def load_state_dict(self, state):
            pass
    """)
    state = learn().method_state
    assert state["steps"].tolist() == [0, 1, 2, 3, 4, 5]
    assert state["moved"].tolist() == [1.0] * 6


def test_the_peak_of_gpu_memory_is_that_of_the_stage(learn, monkeypatch: pytest.MonkeyPatch) -> None:
    """The counter of the device is reset at every stage; without, a small method would show the peak of the largest."""
    peaks: list[str] = []
    cuda = SimpleNamespace(type="cuda")
    monkeypatch.setattr(torch.cuda, "reset_peak_memory_stats", lambda device: peaks.append(device.type))
    monkeypatch.setattr(Runtime, "device", property(lambda _: cuda))
    Runtime().reset_memory()
    assert peaks == ["cuda"]
    monkeypatch.undo()
    resets: list[int] = []
    monkeypatch.setattr(Runtime, "reset_memory", lambda _: resets.append(1))
    learn(method="finetune")
    learn(method="kd")
    assert len(resets) == 2


def test_a_step_by_hand_goes_on_with_the_settings_of_its_input_model() -> None:
    settings = {"width": 8, "taps": "both"}
    parent = Checkpoint(weights={}, method_state={}, meta={
        "tune": "head", "network": {"name": "convnet", "settings": settings},
        "method": {"name": "ridge", "settings": {"strength": None, "projection": 30}}})
    found, other = (_plan("convnet", parent, method, None, None, {}, 0, ["a"], "b").methods[0]
                    for method in ("ridge", "slda"))
    assert (found.tune, other.tune) == ("head", "head")
    assert found.settings["projection"] == 30
    assert other.settings == {"shrinkage": 0.1}
    assert found.network.settings["taps"] == "both"
