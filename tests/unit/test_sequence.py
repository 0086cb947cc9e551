"""Stages in sequence: who trains where, what depends on what, and one stage learned, saved, resumed and scored."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import save as serialize

from fakemedia.artefacts.manifest import read_manifest
from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plan, Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import Stage, make_stages
from fakemedia.learning import sequence
from fakemedia.learning.resume import resume_path
from fakemedia.learning.sequence import check_stages, learn_stage, score_checkpoint
from fakemedia.learning.training_loop import history_path
from fakemedia.networks.checkpoint import load, make_checkpoint
from fakemedia.runtime.device import Runtime
from tests import plans

CPU = Runtime(accelerator="cpu", precision="float32")
METHODS = ("finetune", "joint", "kd", "ewc")
STAGES = make_stages([("a",), ("b",), ("c",)])
ONE, TWO, THREE = STAGES


def make_plan(**changes) -> Plan:
    given = {"methods": METHODS, "stages": STAGES, "network": Plugin(name="convnet", settings={"width": 8, "depth": 2}),
             "training": TrainingConfig(epochs=2, batch_size=8, crop=8, lr=0.01), **changes}
    return plans.make_plan(**given).resolved()


PLAN = make_plan()


@pytest.fixture(scope="module")
def stores(noise_store):
    return {task: noise_store(seed=seed, sigma=30.0 + 10 * seed) for seed, task in enumerate("abc")}


@pytest.fixture(scope="module")
def learn(stores):
    def run(stage=ONE, method="finetune", parent=None, folder=None, plan=PLAN, **settings):
        given = {"train": stores, "validation": stores, "seed": 0, **settings}
        return learn_stage(plan=plan, method=method, stage=stage, parent=parent, folder=folder, runtime=CPU, **given)

    return run


@pytest.fixture(scope="module")
def first(learn):
    return {method: learn(method=method) for method in ("finetune", "kd", "ewc")}


def forbid_training(*args, **kwargs):
    raise AssertionError("trained")


def assert_equal(one, two):
    assert one.meta == two.meta
    for name, tensor in one.weights.items():
        assert torch.equal(tensor, two.weights[name])


def parents(plan: Plan, method: str) -> dict:
    return {stage: plan.parent(method, stage) for stage in plan.learned(method)}


def test_stages_that_a_method_learns():
    assert parents(PLAN, "kd") == {ONE: None, TWO: ONE, THREE: TWO}
    assert parents(PLAN, "joint") == {THREE: None}
    every = make_plan(methods={"joint": {"every_stage": True}})
    assert parents(every, "joint") == dict.fromkeys(STAGES)
    with pytest.raises(UserError, match="Unknown method"):
        PLAN.learned("dk")


def test_tasks_that_a_stage_reads():
    assert PLAN.trained_tasks("kd", TWO) == ("b",)
    assert PLAN.trained_tasks("joint", TWO) == ("a", "b")
    assert PLAN.validated_tasks("kd", TWO) == ("a", "b")
    current = make_plan(training=replace(PLAN.training, select_on="current"))
    assert current.validated_tasks("kd", TWO) == ("b",)
    none = make_plan(training=replace(PLAN.training, select_on="none"))
    assert none.validated_tasks("kd", TWO) == none.validation_tasks("kd", TWO) == ()
    corrected = make_plan(training=replace(PLAN.training, select_on="none", correction="affine"))
    assert corrected.validated_tasks("kd", TWO) == ()
    assert corrected.validation_tasks("kd", TWO) == ("a", "b")


def test_a_checkpoint_says_what_it_was_made_from(learn, first, stores, tmp_path):
    second = learn(TWO, "kd", first["kd"], tmp_path / "02_b")
    manifest = read_manifest(tmp_path / "02_b", folder=True)
    assert manifest.inputs == {"a val": stores["a"].fingerprint, "b val": stores["b"].fingerprint,
                               "b train": stores["b"].fingerprint, "parent": first["kd"].content}
    assert (manifest.content, manifest.recipe) == (second.content, second.meta["fingerprint"])
    assert {*manifest.files} == {"weights.safetensors", "method.safetensors", "checkpoint.json"}
    assert second.meta["parent_weights_sha256"] == first["kd"].meta["weights_sha256"]
    assert second.meta["stage"]["name"] == "b"
    assert len(second.meta["history"]) == 2
    assert str(tmp_path) not in (tmp_path / "02_b/manifest.json").read_text()


@pytest.mark.parametrize("where", ["fakemedia.learning.recipes.VERSION", "method", "network"])
def test_a_changed_algorithm_trains_again(learn, first, tmp_path, monkeypatch, where):
    folder = tmp_path / "02_b"
    learn(TWO, "kd", first["kd"], folder)
    constant = plugin.constant
    if where.startswith("fakemedia"):
        monkeypatch.setattr(where, 99)
    else:
        monkeypatch.setattr(plugin, "constant", lambda kind, name, key, default: 99 if (
            kind == f"{where}s" and key == "VERSION") else constant(kind, name, key, default))
    monkeypatch.setattr(sequence.StageTrainer, "train", forbid_training)
    with pytest.raises(AssertionError, match="trained"):
        learn(TWO, "kd", first["kd"], folder)


def test_other_weights_behind_the_same_path_train_again(learn, first, tmp_path, monkeypatch):
    start = tmp_path / "start.safetensors"
    network = Plugin(name="convnet", settings={**PLAN.network.settings, "pretrained": str(start)})
    plan = make_plan(network=network)
    start.write_bytes(serialize(first["kd"].weights))
    learn(plan=plan, folder=tmp_path / "01_a")
    monkeypatch.setattr(sequence.StageTrainer, "train", forbid_training)
    learn(plan=plan, folder=tmp_path / "01_a")
    start.write_bytes(serialize(first["finetune"].weights | {"head.bias": torch.ones(2)}))
    with pytest.raises(AssertionError, match="trained"):
        learn(plan=plan, folder=tmp_path / "01_a")


def test_every_method_begins_as_fine_tuning(first):
    for method in ("kd", "ewc"):
        for name, tensor in first["finetune"].weights.items():
            assert torch.equal(tensor, first[method].weights[name])


@pytest.mark.parametrize("method", ["kd", "ewc"])
def test_an_interrupted_stage_ends_as_an_undisturbed_one(learn, first, tmp_path, method):
    class Interrupt(Exception):
        pass

    def kill(record):
        raise Interrupt

    whole = learn(TWO, method, first[method], tmp_path / "whole")
    with pytest.raises(Interrupt):
        learn(TWO, method, first[method], tmp_path / "killed", on_epoch=kill)
    assert resume_path(tmp_path / "killed").exists()
    assert not (tmp_path / "killed").exists()
    assert_equal(whole, learn(TWO, method, first[method], tmp_path / "killed"))
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "killed", "killed.history.jsonl", "whole", "whole.history.jsonl"]
    for file in (tmp_path / "whole").iterdir():
        assert file.read_bytes() == (tmp_path / "killed" / file.name).read_bytes()


def test_a_finished_stage_is_read_and_a_stale_one_trained_anew(learn, first, tmp_path, monkeypatch):
    folder = tmp_path / "02_b"
    made = learn(TWO, "ewc", first["ewc"], folder)
    with monkeypatch.context() as patch:
        patch.setattr(sequence.StageTrainer, "train", forbid_training)
        found = learn(TWO, "ewc", first["ewc"], folder)
        assert_equal(made, found)
        assert made.method_state.keys() == found.method_state.keys()
        assert all(torch.equal(tensor, found.method_state[name]) for name, tensor in made.method_state.items())
        other_parent = make_checkpoint({name: tensor + 1 for name, tensor in first["ewc"].weights.items()},
                                       first["ewc"].method_state, first["ewc"].meta)
        with pytest.raises(AssertionError, match="trained"):
            learn(TWO, "ewc", other_parent, folder)
    changed = make_plan(training=replace(PLAN.training, lr=0.02))
    assert learn(TWO, "ewc", first["ewc"], folder, plan=changed).meta != made.meta
    assert load(folder).meta["training"]["lr"] == 0.02
    assert history_path(folder).exists()


def test_joint_learns_all_tasks_from_the_start_network(learn, first):
    assert_equal(learn(THREE, "joint"), learn(THREE, "joint", first["finetune"]))


def test_a_checkpoint_of_another_method_is_reviewed(learn, first, stores):
    changed = learn(TWO, "ewc", first["finetune"])
    assert changed.method_state.keys() == first["ewc"].method_state.keys()
    assert "train" in changed.meta["data"]["a"]
    with pytest.raises(UserError, match="training images of 'a' are missing"):
        learn(TWO, "ewc", first["finetune"], train={"b": stores["b"]})


def test_what_a_later_stage_cannot_train_on_is_found_at_the_start(stores, noise_store):
    smaller = {**stores, "c": noise_store(images=6, size=7)}
    check_stages(PLAN, "kd", stores)
    check_stages(PLAN, "joint", smaller)
    check_stages(PLAN, "kd", {"a": stores["a"]})
    with pytest.raises(UserError, match="crop of 8 pixels is larger than every image"):
        check_stages(PLAN, "kd", smaller)


def test_a_single_step_by_hand(learn, first, stores):
    stage = Stage(index=2, name="new", tasks=("new",), seen=("old", "new"))
    plan = make_plan(stages=(stage,))
    folders = {"old": stores["a"], "new": stores["b"]}
    made = learn(stage, "kd", first["kd"], plan=plan, train={"new": stores["b"]}, validation=folders)
    assert set(made.meta["history"][0]["validation"]) == {"old", "new"}


def test_a_missing_store_is_named(learn, stores):
    with pytest.raises(UserError, match="validation images of 'a' are missing"):
        learn(ONE, validation={"b": stores["b"]})


def test_a_checkpoint_of_another_network_is_refused(learn, first, stores):
    resnet = make_plan(network=Plugin(name="resnet18", settings={"pretrained": "none"}))
    with pytest.raises(UserError, match=r"another network[\s\S]*resnet18, found convnet"):
        learn(TWO, parent=first["finetune"], plan=resnet)
    wider = make_plan(network=Plugin(name="convnet", settings={"width": 16, "depth": 2}))
    with pytest.raises(UserError, match=r"another size[\s\S]*shape \[16"):
        learn(TWO, parent=first["finetune"], plan=wider)


def test_scores_of_a_checkpoint(first, stores):
    scores = score_checkpoint(first["finetune"], stores, runtime=CPU)
    again = score_checkpoint(first["finetune"], stores, runtime=CPU)
    assert scores.equals(again)
    assert scores["task"].unique().tolist() == ["a", "b", "c"]
    assert np.isfinite(scores["logit"]).all()
