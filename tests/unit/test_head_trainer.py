"""What a stage trains by `tune`: the whole network, its norms, low-rank updates, or the head on stored features."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning import head_trainer
from fakemedia.learning.sequence import learn_plan, learn_stage, score_checkpoint
from fakemedia.networks import convnet
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.networks.features import FeatureCache, body_sha256
from fakemedia.runtime.device import Runtime
from tests.plans import make_plan

CPU = Runtime(accelerator="cpu", precision="float32")
STAGES = make_stages([("a",), ("b",)])
NETWORK = Plugin(name="convnet", settings={"width": 8, "depth": 2, "taps": "both"})


@pytest.fixture(scope="module")
def stores(noise_store):
    return {task: noise_store(seed=seed) for seed, task in enumerate("ab")}


@pytest.fixture
def learn(stores):
    def run(how: str, index: int = 1, method: str = "finetune", parent: Checkpoint | None = None,
            folder: Path | None = None, features: Any = None, **training: Any) -> Checkpoint:
        config = TrainingConfig(**{"epochs": 2, "batch_size": 8, "crop": 8, "lr": 0.05, **training})
        plan = make_plan([method], stages=STAGES, network=NETWORK, training=config).resolved()
        plan = replace(plan, methods=tuple(replace(each, tune=how) for each in plan.methods))
        return learn_stage(plan=plan, method=method, seed=0, stage=STAGES[index - 1], parent=parent, train=stores,
                           validation=stores, folder=folder, runtime=CPU, features=features)

    return run


def moved(one: Checkpoint, two: Checkpoint) -> set[str]:
    assert one.weights.keys() == two.weights.keys()
    return {name for name, tensor in one.weights.items() if not torch.equal(tensor, two.weights[name])}


def test_a_stage_changes_what_is_tuned_and_nothing_else(learn) -> None:
    first = learn("head")
    head = {"head.weight", "head.bias"}
    assert moved(first, learn("head", 2, parent=first)) == head
    norms = moved(first, learn("norm", 2, parent=first)) - head
    assert norms
    assert all(name.split(".")[1] in ("2", "5") for name in norms)  # batch normalisation, with its statistics
    assert len(moved(first, learn("all", 2, parent=first))) > len(norms) + 2


@pytest.mark.parametrize("method", ["kd", "ewc", "joint"])
def test_methods_work_on_features(learn, method: str) -> None:
    first = learn("head", method="finetune" if method == "joint" else method)
    second = learn("head", 2, method=method, parent=first)
    assert {name for name in moved(first, second) if name.startswith("body.")} == set()
    assert moved(first, second) >= {"head.weight", "head.bias"}


def test_the_head_sees_features_standardised_by_the_first_stage(learn) -> None:
    first = learn("head")
    second = learn("head", 2, parent=first)
    for name in ("feature_mean", "feature_scale"):
        assert torch.equal(first.weights[name], second.weights[name])
    assert first.weights["feature_scale"].max() > 0
    assert "feature_mean" not in learn("all").weights


def test_all_validation_images_choose_the_epoch_of_a_head(learn) -> None:
    whole, limited = learn("head", validation_share=None), learn("head", validation_share=0.001)
    assert [record["validation"] for record in whole.meta["history"]] == [
        record["validation"] for record in limited.meta["history"]]
    other = learn("all", validation_share=0.001).meta["history"]
    assert all(accuracy % 6.25 == 0 for record in other for accuracy in record["validation"].values())  # 16 images


def test_features_are_computed_once(learn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = learn("head", features=tmp_path.joinpath, views=("centre", "random:2"))
    assert {path.name.partition("-")[0] for path in tmp_path.glob("*/*/*/*/*")} == {"centre", "random0", "random1"}
    monkeypatch.setattr(FeatureCache, "_compute", lambda *_: pytest.fail("computed again"))
    assert not moved(one, learn("head", features=tmp_path.joinpath, views=("centre", "random:2")))


def test_features_of_a_memory_are_those_of_the_training_pictures(learn, tmp_path: Path,
                                                                  monkeypatch: pytest.MonkeyPatch) -> None:
    alone = [learn("head", method="replay")]
    alone += [learn("head", 2, method="replay", parent=alone[0])]
    hashed: list[Any] = []
    monkeypatch.setattr(head_trainer, "body_sha256", lambda network: hashed.append(0) or body_sha256(network))
    monkeypatch.setattr(FeatureCache, "compute", lambda *_: pytest.fail("computed again"))
    first = learn("head", method="replay", features=tmp_path.joinpath)
    second = learn("head", 2, method="replay", parent=first, features=tmp_path.joinpath)
    torch.testing.assert_close(second.weights, alone[1].weights, rtol=1e-3, atol=1e-3)  # float16 features
    assert len(hashed) == 1  # at the first stage


def test_augmentations_are_further_views(learn, tmp_path: Path) -> None:
    plain = learn("head", views=("centre", "random:1"))
    augmented = learn("head", features=tmp_path.joinpath, views=("centre", "random:1"), augment="blur_jpeg")
    assert {path.name.partition("-")[0] for path in tmp_path.glob("*/*/*/*/*")} == {
        "centre", "random0", "centre+blur_jpeg", "random0+blur_jpeg"}
    assert moved(plain, augmented)
    assert not moved(augmented, learn("head", views=("centre", "random:1"), augment="blur_jpeg"))
    first = learn("head", method="replay", augment="blur_jpeg")
    assert moved(first, learn("head", 2, method="replay", parent=first, augment="blur_jpeg"))


def test_kept_features_give_the_weights_that_temporary_ones_give(learn, tmp_path: Path) -> None:
    assert not moved(learn("head"), learn("head", features=tmp_path.joinpath))


def test_the_forward_pass_gives_the_logits_of_the_features(learn, stores, tmp_path: Path) -> None:
    """To the rounding of stored features, one part in 2,000."""
    learned = learn("head")
    whole = score_checkpoint(learned, stores, runtime=CPU)
    stored = score_checkpoint(learned, stores, runtime=CPU, features=tmp_path.joinpath)
    np.testing.assert_allclose(stored["logit"], whole["logit"], atol=5e-3 * np.abs(whole["logit"]).max())
    assert stored.drop(columns="logit").equals(whole.drop(columns="logit"))


def test_an_interrupted_head_goes_on_to_the_same_weights(learn, tmp_path: Path,
                                                         monkeypatch: pytest.MonkeyPatch) -> None:
    whole = learn("head", epochs=3)

    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("fakemedia.methods.method.GradientMethod.after_epoch", lambda *_, **__: stop())
        with pytest.raises(KeyboardInterrupt):
            learn("head", folder=tmp_path / "stage", epochs=3)
    assert not moved(whole, learn("head", folder=tmp_path / "stage", epochs=3))


def test_scores_of_a_sequence_on_features(stores) -> None:
    plan = make_plan(["finetune", "joint"], stages=STAGES, network=NETWORK,
                     training=TrainingConfig(epochs=4, batch_size=8, crop=8, lr=0.05)).resolved()
    plan = replace(plan, methods=tuple(replace(each, tune="head") for each in plan.methods))
    scores = learn_plan(plan, dict.fromkeys(("train", "val", "test"), stores), runtime=CPU)
    right = (scores["logit"] > 0) == (scores["label"] == 1)
    assert right[scores["method"] == "joint"].mean() > 0.8


@pytest.mark.parametrize("method", ["ridge", "experts"])
def test_a_closed_form_after_another_method_solves_for_what_the_head_sees(learn, stores, method: str) -> None:
    """Features are standardised by the first stage of a method with steps, before any head sees them."""
    first = learn("head", epochs=4)
    second = learn("head", 2, method=method, parent=first)
    scores = score_checkpoint(second, stores, runtime=CPU)
    assert torch.equal(first.weights["feature_mean"], second.weights["feature_mean"])
    assert ((scores["logit"] > 0) == (scores["label"] == 1)).mean() > 0.9


def test_a_later_stage_and_scores_need_no_body_where_features_are_stored(
        learn, stores, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for method in ("finetune", "ridge", "experts"):
        first = learn("head", method=method, features=tmp_path.joinpath)
        whole = learn("head", 2, method=method, parent=replace(first, meta={
            name: value for name, value in first.meta.items() if name != "body"}), features=tmp_path.joinpath)
        with monkeypatch.context() as patch:
            patch.setattr(convnet, "build", lambda *_: pytest.fail("the body was built"))
            second = learn("head", 2, method=method, parent=first, features=tmp_path.joinpath)
            scores = score_checkpoint(second, stores, runtime=CPU, features=tmp_path.joinpath)
        assert not moved(whole, second)
        assert second.meta["body"] == first.meta["body"]
        expected = score_checkpoint(second, stores, runtime=CPU)["logit"].to_numpy()
        np.testing.assert_allclose(scores["logit"], expected, atol=5e-3 * np.abs(expected).max())
        fresh = score_checkpoint(second, stores, runtime=CPU, features=(tmp_path / method).joinpath)
        assert fresh.equals(scores)


def test_a_parent_of_another_network_is_refused_with_a_head_too(learn) -> None:
    first = learn("head")
    network = {**first.meta["network"], "settings": {**first.meta["network"]["settings"], "taps": "blocks"}}
    with pytest.raises(UserError, match="other features"):
        learn("head", 2, parent=replace(first, meta={**first.meta, "network": network}))
