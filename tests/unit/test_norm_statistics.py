"""Statistics of batch normalisation between stages: running, kept after the first, or measured again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakemedia.core.plan import Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.sequence import learn_stage
from fakemedia.networks import convnet
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.networks.norm_statistics import measure_statistics
from fakemedia.runtime.device import Runtime
from fakemedia.store.pixels import PixelStore
from tests.plans import make_plan

CPU = Runtime(accelerator="cpu", precision="float32")
STAGES = make_stages([("a",), ("b",), ("c",)])
CONFIG = TrainingConfig(epochs=2, batch_size=12, crop=8, lr=0.01)
NETWORK = Plugin(name="convnet", settings={"width": 8, "depth": 2})


@pytest.fixture(scope="module")
def stores(make_store) -> dict[str, PixelStore]:
    """Return a smooth task, a noisy one, and a smooth one again: their statistics are far from each other."""
    rng = np.random.default_rng(0)
    return {task: make_store(task, (rng.normal(128, level, (12, 12, 3)).clip(0, 255).astype(np.uint8)
                                    for _ in range(24))) for task, level in (("a", 4), ("b", 20), ("c", 4))}


@pytest.fixture
def learn(stores):
    def run(how: str, index: int, method: str = "finetune", parent: Checkpoint | None = None,
            **given: Any) -> Checkpoint:
        plan = make_plan([method], stages=STAGES, network=NETWORK, training=replace(CONFIG, norm_statistics=how))
        return learn_stage(plan=plan.resolved(), method=method, seed=0, stage=STAGES[index - 1], parent=parent,
                           train=stores, validation=stores, runtime=CPU, **{"folder": None, **given})

    return run


def statistics(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    return {name: tensor for name, tensor in checkpoint.weights.items() if "running_" in name}


def first_variance(checkpoint: Checkpoint) -> torch.Tensor:
    return checkpoint.weights["body.2.running_var"]


@pytest.mark.parametrize("method", ["finetune", "kd", "replay", "average"])
def test_frozen_statistics_are_those_of_the_first_stage(learn, method: str) -> None:
    first = learn("frozen_after_first", 1, method)
    second = learn("frozen_after_first", 2, method, first)
    for name, tensor in statistics(first).items():
        assert torch.equal(tensor, second.weights[name])
    assert not torch.equal(first.weights["body.1.weight"], second.weights["body.1.weight"])
    moved = learn("running", 2, method, first)
    assert not torch.equal(first_variance(first), first_variance(moved))
    assert not torch.equal(second.weights["body.1.weight"], moved.weights["body.1.weight"])


def test_the_first_stage_and_a_joint_one_have_running_statistics(learn) -> None:
    for index, method in ((1, "finetune"), (2, "joint")):
        one, two = (learn(how, index, method) for how in ("running", "frozen_after_first"))
        assert all(torch.equal(tensor, two.weights[name]) for name, tensor in one.weights.items())


def test_measured_statistics_are_those_of_all_tasks_in_equal_shares(learn, stores) -> None:
    """The variance of the first layer depends on the pictures and its weights alone, and its mean is about 0.

    In training, half of the pictures are of the last task, and a quarter is noisy.
    """
    parent = None
    for index in (1, 2, 3):
        parent = learn("reestimated", index, "replay", parent)
    network = convnet.build(convnet.Config(width=8, depth=2), 0)
    network.load_state_dict(parent.weights)

    def variance(task: str) -> torch.Tensor:
        images = torch.from_numpy(stores[task].centre_crops(np.arange(24), 8)).permute(0, 3, 1, 2)
        with torch.no_grad():
            return network.body[:2](network.prepare(images)).var((0, 2, 3))  # type: ignore[index]

    smooth, noisy = variance("a"), variance("b")
    share = (first_variance(parent) - smooth) / (noisy - smooth)
    assert float(share.mean()) == pytest.approx(1 / 3, abs=0.03)


def test_methods_that_change_the_weights_after_training_work_with_all(learn) -> None:
    for how in ("running", "frozen_after_first", "reestimated"):
        learn(how, 2, "average", learn(how, 1, "average"))


@pytest.mark.parametrize("how", ["frozen_after_first", "reestimated"])
def test_an_interrupted_stage_goes_on_to_the_same_weights(learn, how: str, tmp_path: Path,
                                                          monkeypatch: pytest.MonkeyPatch) -> None:
    first = learn(how, 1, "replay")
    whole = learn(how, 2, "replay", first)

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fakemedia.methods.method.GradientMethod.after_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            learn(how, 2, "replay", first, folder=tmp_path / "stage")
    resumed = learn(how, 2, "replay", first, folder=tmp_path / "stage")
    assert all(torch.equal(tensor, resumed.weights[name]) for name, tensor in whole.weights.items())


def test_measuring_leaves_modes_and_momenta() -> None:
    network = convnet.build(convnet.Config(width=8, depth=2), 0).train()
    norms = [layer for layer in network.modules() if isinstance(layer, torch.nn.BatchNorm2d)]
    before = [layer.momentum for layer in norms]
    batches = [torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(seed)) for seed in range(3)]
    measure_statistics(network, batches)
    assert [layer.momentum for layer in norms] == before
    assert all(layer.training for layer in network.modules())
    expected = network.body[:2](torch.cat(batches)).mean((0, 2, 3))  # type: ignore[index]
    torch.testing.assert_close(norms[0].running_mean, expected, atol=1e-6, rtol=0)
