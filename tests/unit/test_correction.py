"""The affine correction of the log-odds: fitted on validation, part of the detector, unknown to the next stage."""

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
from fakemedia.evaluation.calibration import equal_weights, fit_affine
from fakemedia.learning.sequence import learn_stage, restore_network, score_checkpoint
from fakemedia.methods.method import facts
from fakemedia.networks import convnet
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.networks.weights import load_weights
from fakemedia.runtime.device import Runtime
from fakemedia.scoring.open_model import open_model
from tests.plans import make_plan

CPU = Runtime(accelerator="cpu", precision="float32")
STAGES = make_stages([("a",), ("b",)])
CONFIG = TrainingConfig(epochs=2, batch_size=8, crop=8, lr=0.05, select_on="none")
METHODS = [("finetune", "all"), ("kd", "all"), ("derpp", "all"), ("derpp", "head"), ("ridge", "head"),
           ("experts", "head")]


@pytest.fixture(scope="module")
def stores(noise_store):
    return {task: noise_store(seed=seed, sigma=12.0) for seed, task in enumerate("ab")}


@pytest.fixture(scope="module")
def validation(noise_store):
    return {task: noise_store(seed=seed + 2, sigma=8.0, images=30) for seed, task in enumerate("ab")}


@pytest.fixture
def learn(stores, validation):
    def run(correction: str, index: int = 1, method: str = "finetune", how: str = "all",
            parent: Checkpoint | None = None, folder: Path | None = None, **given: Any) -> Checkpoint:
        plan = make_plan([method], stages=STAGES, network=Plugin(name="convnet", settings={"width": 8, "depth": 2}),
                         training=replace(CONFIG, correction=correction)).resolved()
        plan = replace(plan, methods=tuple(replace(each, tune=how) for each in plan.methods))
        return learn_stage(plan=plan, method=method, seed=0, stage=STAGES[index - 1], parent=parent, train=stores,
                           runtime=CPU, **{"validation": validation, "folder": folder, **given})

    return run


@pytest.mark.parametrize(("method", "how"), METHODS)
def test_every_method_is_corrected_and_goes_on_uncorrected(learn, validation, method: str, how: str) -> None:
    plain = corrected = None
    for index in (1, 2):
        plain, corrected = (learn(kind, index, method, how, parent)
                            for kind, parent in (("none", plain), ("affine", corrected)))
        assert corrected.weights.keys() - plain.weights.keys() == {"correction"}
        assert all(torch.equal(tensor, corrected.weights[name]) for name, tensor in plain.weights.items())
        assert all(torch.equal(tensor, corrected.method_state[name]) for name, tensor in plain.method_state.items())
        seen = {task: validation[task] for task in STAGES[index - 1].seen}
        before, after = (score_checkpoint(each, seen, runtime=CPU) for each in (plain, corrected))
        labels, logits = before["label"].to_numpy(), before["logit"].to_numpy()
        scale, offset = fit_affine(labels, logits, equal_weights(labels, before["task"].tolist()))
        np.testing.assert_allclose(after["logit"], scale * logits + offset, rtol=1e-3, atol=1e-3)
    assert facts(method).scope == "stage"


def test_pictures_of_few_photographs_correct_nothing(learn, validation, monkeypatch: pytest.MonkeyPatch,
                                                     caplog: pytest.LogCaptureFixture) -> None:
    """In a trial, corrections fitted to two photographs cost 9 to 19 points on others."""
    for store in validation.values():
        monkeypatch.setattr(store, "sources", [f"photograph {row % 9}" for row in range(len(store))])
    assert learn("affine").weights["correction"].tolist() == [1.0, 0.0]
    assert "come from 9 source photographs, and a correction needs at least 10" in caplog.text


def test_features_that_are_kept_are_scored_with_the_correction(learn, stores, tmp_path: Path) -> None:
    learned = learn("affine", how="head", features=tmp_path.joinpath)
    whole = score_checkpoint(learned, stores, runtime=CPU)
    kept = score_checkpoint(learned, stores, runtime=CPU, features=tmp_path.joinpath)
    np.testing.assert_allclose(kept["logit"], whole["logit"], atol=5e-3 * np.abs(whole["logit"]).max())


def test_an_exported_detector_is_corrected(learn, stores, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    from fakemedia.scoring.onnx_export import export

    learned = learn("affine", folder=tmp_path / "stage")
    export(tmp_path / "stage", tmp_path / "model.onnx")
    crops = stores["a"].centre_crops(np.arange(10), 8)
    expected = score_checkpoint(learned, {"a": stores["a"]}, runtime=CPU)["logit"].to_numpy()[:10]
    for place in (tmp_path / "stage", tmp_path / "model.onnx"):
        np.testing.assert_allclose(open_model(place, lambda: CPU).logits(crops), expected, atol=1e-4)


def test_a_corrected_stage_reads_validation_pictures_of_earlier_tasks_and_chooses_no_epoch_by_them(learn) -> None:
    second = learn("affine", 2, parent=learn("affine"))
    assert second.meta["data"] == {"a": {"val": second.meta["data"]["a"]["val"]}, "b": second.meta["data"]["b"]}
    assert second.meta["validation"] == {}


def test_weights_of_a_corrected_checkpoint_start_a_network_uncorrected(learn, tmp_path: Path) -> None:
    learned = learn("affine", folder=tmp_path / "stage")
    network = convnet.build(convnet.Config(width=8, depth=2), 0)
    load_weights(network, tmp_path / "stage")
    assert network.correction is None
    restored = restore_network(learned).correction
    assert restored is not None
    assert torch.equal(restored, learned.weights["correction"])
