"""What is computed on a device: each test on the CPU, and on a GPU where there is one."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakemedia.core import plugin
from fakemedia.core.plan import MethodPlan, Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.device_memory import stage_memory, step_bytes, tensor_bytes, widest
from fakemedia.learning.sequence import learn_stage, score_checkpoint
from fakemedia.methods.finetune import Config as FinetuneConfig
from fakemedia.methods.finetune import build as finetune
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.networks.detector import Detector
from fakemedia.networks.features import FeatureCache
from fakemedia.runtime.device import Runtime
from fakemedia.store.batches import TrainBatches, on_device
from tests.plans import make_plan

STAGES = make_stages([("a",), ("b",)])
NETWORK = Plugin(name="convnet", settings={"width": 8, "depth": 3})
METHODS = ("finetune", "kd", "ewc", "si", "replay", "derpp", "average", "ridge", "slda", "experts")
ON_GPU = pytest.param("cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(),
                                                                          reason="there is no GPU")])


@pytest.fixture(params=["cpu", ON_GPU])
def runtime(request: pytest.FixtureRequest) -> Runtime:
    """Return a runtime of each device in float32."""
    return Runtime(accelerator=request.param, precision="float32")


@pytest.fixture(scope="module")
def stores(noise_store):
    return {task: noise_store(images=24, size=14, seed=seed) for seed, task in enumerate("ab")}


def learn(stores, runtime: Runtime, method: str, folder: Path | None = None, **given: Any) -> Checkpoint:
    """Return the second of two stages."""
    training = TrainingConfig(epochs=2, batch_size=8, crop=8, lr=0.01, optimizer="sgd")
    plan = make_plan([method], stages=STAGES, network=NETWORK, training=training).resolved()
    learned = None
    for stage in STAGES:
        learned = learn_stage(plan=plan, method=method, seed=0, stage=stage, parent=learned, train=stores,
                              validation=stores, runtime=runtime, folder=None if folder is None else folder / stage.key,
                              **given)
    assert learned is not None
    return learned


@pytest.mark.parametrize("method", METHODS)
def test_a_device_learns_what_the_cpu_learns(stores, runtime: Runtime, method: str) -> None:
    expected = learn(stores, Runtime(accelerator="cpu", precision="float32"), method)
    found = learn(stores, runtime, method)
    assert found.meta["computed_with"]["device"] == runtime.device.type
    for name, tensor in expected.weights.items():
        torch.testing.assert_close(found.weights[name], tensor, rtol=0, atol=1e-3, msg=name)
    scores = score_checkpoint(found, stores, runtime=runtime)["logit"]
    assert np.isfinite(scores).all()


def test_a_stopped_stage_resumes_to_the_same_weights(stores, runtime: Runtime, tmp_path: Path) -> None:
    whole = learn(stores, runtime, "replay", tmp_path / "whole")
    epochs: list[int] = []

    def stop(record: Any) -> None:
        epochs.append(record["epoch"])
        if len(epochs) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learn(stores, runtime, "replay", tmp_path / "stopped", on_epoch=stop)
    resumed = learn(stores, runtime, "replay", tmp_path / "stopped")
    assert all(torch.equal(tensor, resumed.weights[name]) for name, tensor in whole.weights.items())


def test_resident_pixels_and_copied_ones_make_the_same_batches(stores, runtime: Runtime) -> None:
    found = []
    for room in (0, 2**30):
        batches = TrainBatches([*stores.values()], batch_size=8, crop=8, flip=True, seed=0).to(runtime.device, room)
        assert (batches._resident is not None) == (room > 0)
        found.append([batch.images.cpu() for batch in batches.epoch(1)])
    assert all(torch.equal(one, other) for one, other in zip(*found, strict=True))


def test_batches_arrive_in_order(runtime: Runtime, stores) -> None:
    batches = TrainBatches([stores["a"]], batch_size=8, crop=8, flip=False, seed=0)
    for found, expected in zip(on_device(batches.epoch(0), runtime.device), batches.epoch(0), strict=True):
        assert found.images.device.type == runtime.device.type
        assert torch.equal(found.images.cpu(), expected.images)


def test_features_of_a_device_are_kept_apart_from_those_of_the_cpu(runtime: Runtime, stores, tmp_path: Path) -> None:
    found = []
    for each in (Runtime(accelerator="cpu", precision="float32"), runtime):
        detector = each.place(network())
        cache = FeatureCache(folder=tmp_path, detector=detector, crop=8, runtime=each, batch_size=8, progress=False)
        found.append(cache.read(stores["a"]).values)
    np.testing.assert_allclose(found[0], found[1], rtol=2e-3, atol=2e-3)
    assert len({path.parent for path in tmp_path.rglob("*.npy")}) == (1 if runtime.device.type == "cpu" else 2)


def network() -> Detector:
    return plugin.create("networks", NETWORK.name, NETWORK.settings, 0)


def planned(method: str = "finetune", **training: Any) -> MethodPlan:
    config = TrainingConfig(**{"batch_size": 8, "crop": 8, **training})
    return MethodPlan(label=method, method=method, settings={}, network=NETWORK, tune="all", training=config)


def test_the_memory_of_a_step_is_that_of_what_the_backward_pass_needs() -> None:
    body = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3, bias=False), torch.nn.ReLU(), torch.nn.AdaptiveAvgPool2d(1),
                               torch.nn.Flatten())
    detector = Detector(body, 8, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    _, each = step_bytes(detector, finetune(FinetuneConfig(), 0), 8, "float32")
    pixels, maps = 3 * 8 * 8, 8 * 6 * 6
    small = 8 * 4 + 2 * 4 * 4 + 4 * 8  # features, logits and their logarithms, and the numbers of a picture
    assert each == pytest.approx(pixels + 4 * pixels + 4 * maps, abs=small)
    assert widest(detector, 8, "float32") == 5 * pixels + 2 * 4 * maps  # ReLU: input and output


def test_the_memory_of_a_stage_grows_with_the_batch_and_with_what_a_method_keeps() -> None:
    cpu = Runtime(accelerator="cpu", precision="float32")
    one, two, four = (stage_memory(planned(batch_size=8 * times), cpu) for times in (1, 2, 4))
    assert four - two == 2 * (two - one) > 0
    weights = tensor_bytes(network())
    assert stage_memory(planned("kd"), cpu) >= one + weights  # the teacher
    assert stage_memory(planned("ewc"), cpu) >= one + 2 * weights * 0.9  # importance and anchor, of what is trained
    assert stage_memory(planned("replay"), cpu) - one > 0.9 * (two - one)
    assert stage_memory(replace(planned(), tune="head"), cpu) < one
    assert stage_memory(planned(), replace(cpu, precision="bfloat16")) < one


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
@pytest.mark.parametrize("method", ["finetune", "kd", "ewc", "replay"])
def test_a_stage_takes_no_more_memory_than_planned(stores, method: str) -> None:
    gpu = Runtime(accelerator="cuda", resident_share=0.0)
    learned = learn(stores, gpu, method)
    assert learned.meta["computed_with"]["device"] == "cuda"
    assert gpu.memory_mib() * 2**20 <= stage_memory(planned(method, crop=8), gpu)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_bfloat16_and_compilation_learn_the_task(stores) -> None:
    for settings in ({"precision": "bfloat16"}, {"compile": True}):
        found = learn(stores, Runtime(accelerator="cuda", **settings), "finetune")  # type: ignore[arg-type]
        assert np.isfinite(score_checkpoint(found, stores, runtime=Runtime(accelerator="cuda"))["logit"]).all()


def test_a_seed_of_the_runtime_is_that_of_torch() -> None:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        expected = torch.rand(4)
        Runtime(accelerator="cpu").seed(3)
        assert torch.equal(torch.rand(4), expected)
