"""`tune: lora` through a stage: trained, interrupted, saved as plain weights, continued and exported."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plugin
from fakemedia.core.rng import derive
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.sequence import check_stages, learn_stage, restore_network, score_checkpoint
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.networks.tuning import low_rank_layers
from fakemedia.runtime.device import Runtime
from tests.plans import make_plan

CPU = Runtime(accelerator="cpu", precision="float32")
STAGES = make_stages([("a",), ("b",)])
LITE = Plugin(name="efficientnet_lite0", settings={"pretrained": "none"})
VIT = Plugin(name="timm", settings={"architecture": "vit_tiny_patch16_224", "pretrained": "none",
                                    "options": {"depth": 2, "embed_dim": 48, "num_heads": 3}})
NETWORKS = pytest.mark.parametrize("network", [LITE, VIT], ids=["1x1 convolutions", "attention"])


@pytest.fixture(scope="module")
def stores(noise_store):
    return {task: noise_store(seed=seed, size=36, images=16) for seed, task in enumerate("ab")}


@pytest.fixture
def learn(stores):
    def run(network: Plugin, index: int = 1, parent: Checkpoint | None = None,
            folder: Path | None = None) -> Checkpoint:
        training = TrainingConfig(epochs=2, batch_size=8, crop=32, lr=0.01)
        plan = make_plan(["finetune"], stages=STAGES, network=network, training=training).resolved()
        plan = replace(plan, methods=tuple(replace(each, tune="lora:4") for each in plan.methods))
        return learn_stage(plan=plan, method="finetune", seed=0, stage=STAGES[index - 1], parent=parent, train=stores,
                           validation=stores, folder=folder, runtime=CPU)

    return run


def same(one: Checkpoint, two: Checkpoint) -> bool:
    return one.weights.keys() == two.weights.keys() and all(
        torch.equal(tensor, two.weights[name]) for name, tensor in one.weights.items())


@NETWORKS
def test_an_interrupted_stage_ends_as_an_uninterrupted_one_with_plain_weights(
        learn, network: Plugin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learn(network)

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fakemedia.methods.method.GradientMethod.after_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            learn(network, folder=tmp_path / "stage")
    assert same(whole, learn(network, folder=tmp_path / "stage"))
    start = plugin.create("networks", network.name, network.settings, derive(0, "network"))
    assert whole.weights.keys() == start.state_dict().keys()
    updated = {id(layer.weight) for layer in low_rank_layers(start.body)}
    for name, tensor in start.state_dict(keep_vars=True).items():
        change = whole.weights[name] - tensor.detach()
        assert bool(change.any()) == (id(tensor) in updated or name.startswith("head.")), name
        if id(tensor) in updated:
            assert torch.linalg.matrix_rank(change.flatten(1), atol=1e-5) <= 4


@NETWORKS
def test_the_next_stage_updates_the_merged_weights(learn, network: Plugin, stores) -> None:
    first = learn(network)
    second = learn(network, 2, first)
    assert second.weights.keys() == first.weights.keys()
    assert not same(first, second)
    assert np.isfinite(score_checkpoint(second, stores, runtime=CPU)["logit"].to_numpy()).all()


@pytest.mark.slow
@NETWORKS
def test_the_exported_detector_gives_the_logits_of_the_checkpoint(learn, network: Plugin, stores,
                                                                  tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from fakemedia.scoring.onnx_export import export
    from fakemedia.scoring.onnx_model import OnnxModel

    learned = learn(network, folder=tmp_path / "stage")
    export(tmp_path / "stage", tmp_path / "model.onnx")
    crops = stores["b"].centre_crops(np.arange(16), 32)
    expected = score_checkpoint(learned, {"b": stores["b"]}, runtime=CPU)["logit"]
    np.testing.assert_allclose(OnnxModel(tmp_path / "model.onnx").logits(crops), expected, rtol=0, atol=1e-4)


def test_a_network_without_a_place_is_refused_before_anything_is_written(learn, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"no attention or 1x1 convolutions[\s\S]*tune: all or tune: head"):
        learn(Plugin(name="convnet", settings={"width": 8, "depth": 2}), folder=tmp_path / "runs/stage")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("method", ["average", "ewc", "si"])
def test_methods_that_compare_single_weights_refuse(stores, method: str) -> None:
    """The updates of a stage are merged into the weights, and the next one draws others of the same names."""
    plan = make_plan([method], stages=STAGES, network=LITE, training=TrainingConfig(crop=32)).resolved()
    plan = replace(plan, methods=tuple(replace(each, tune="lora") for each in plan.methods))
    with pytest.raises(UserError, match=f"{method} cannot train low-rank updates"):
        check_stages(plan, method, stores)
    with pytest.raises(UserError, match=f"{method} cannot train low-rank updates"):
        learn_stage(plan=plan, method=method, seed=0, stage=STAGES[0], parent=None, train=stores, validation=stores,
                    folder=None, runtime=CPU)


def test_a_restored_network_has_no_low_rank_parts(learn) -> None:
    restored = restore_network(learn(VIT))
    assert not any(name.endswith((".up", ".down")) or "parametrizations" in name for name in restored.state_dict())
