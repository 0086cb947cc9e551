"""What is to be run, read from the parameters."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakemedia.core.errors import UserError
from fakemedia.core.plan import LABEL_KEYS, Plan, Plugin, make_plan
from fakemedia.core.plugin import configure, load, names
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import check_name, make_stages

SEQUENCE = {
    "collection": "mine", "tasks": ["gan", "swap", "latent"], "network": {"name": "convnet", "width": 8},
    "training": {"preset": "paper", "epochs": 3}, "methods": {"kd": {"weight": 3.0}, "joint": {}},
}


def parameters(**changes: Any) -> dict[str, Any]:
    top = {key: changes.pop(key) for key in ("seed", "n_seeds") if key in changes}
    return {"collections": {"mine": {}, "my__own": {}}, "sequences": {"tiny": {**SEQUENCE, **changes}}, **top}


def test_a_plan() -> None:
    plan = make_plan(parameters(seed=4, n_seeds=2), "tiny")
    assert plan.tasks == ("gan", "swap", "latent")
    assert [stage.key for stage in plan.stages] == ["01_gan", "02_swap", "03_latent"]
    assert plan.seeds == (4, 5)
    assert (plan.training.lr, plan.training.epochs) == (0.005, 3)
    assert plan.network == Plugin(name="convnet", settings={"width": 8})
    assert [(each.label, each.method) for each in plan.methods] == [("kd", "kd"), ("joint", "joint")]
    assert all((each.network, each.training) == (plan.network, plan.training) for each in plan.methods)
    resolved = plan.resolved().method("kd").settings
    assert resolved["weight"] == 3.0
    assert {"temperature", "alpha", "decay", "decay_after"} < resolved.keys()


def test_a_label_may_run_with_more_seeds() -> None:
    methods = {"kd": {}, "ridge": {"n_seeds": 3}, "joint": {"n_seeds": 2}}
    plan = make_plan(parameters(seed=4, methods=methods), "tiny")
    assert plan.seeds == (4, 5, 6)
    assert [plan.seeds_of(label) for label in methods] == [(4,), (4, 5, 6), (4, 5)]
    plan = make_plan(parameters(seed=4, n_seeds=5, methods=methods), "tiny")
    assert {plan.seeds_of(label) for label in methods} == {tuple(range(4, 9))}
    assert make_plan(parameters(methods={"kd": {"n_seeds": 2}}), "tiny").seeds_of("kd") == (0, 1)


def test_what_a_method_reads_and_starts_from() -> None:
    plan = make_plan(parameters(methods={"kd": {}, "joint": {"every_stage": True}}), "tiny")
    one, two, three = plan.stages
    assert [plan.parent("kd", stage) for stage in plan.stages] == [None, one, two]
    assert [plan.parent("joint", stage) for stage in plan.learned("joint")] == [None, None, None]
    assert make_plan(parameters(), "tiny").learned("joint") == (three,)
    assert plan.trained_tasks("kd", two) == ("swap",)
    assert plan.trained_tasks("joint", two) == plan.validated_tasks("kd", two) == ("gan", "swap")
    assert plan.stage("02_swap") == two
    with pytest.raises(UserError, match="Unknown stage"):
        plan.stage("02_gan")


class TestTrainingOfAStage:
    """`training.stages`: keys that differ at the stage that learns a task."""

    def test_a_label_s_keys_replace_those_of_the_sequence_key_by_key(self) -> None:
        plan = make_plan(parameters(
            training={"epochs": 3, "stages": {"swap": {"epochs": 9, "batch_size": 8}}},
            methods={"kd": {}, "own": {"method": "kd", "training": {"lr": 0.1, "stages": {
                "swap": {"epochs": 5}, "latent": {"lr": 0.2}}}}}), "tiny")
        _, two, three = plan.stages
        kd, own = plan.methods
        assert [kd.at(stage).training.epochs for stage in plan.stages] == [3, 9, 3]
        assert [own.at(stage).training.epochs for stage in plan.stages] == [3, 5, 3]
        assert (own.at(two).training.batch_size, own.at(two).training.lr, own.at(three).training.lr) == (8, 0.1, 0.2)
        assert kd.training.epochs == 3

    def test_what_a_stage_reads_follows_its_own_keys(self) -> None:
        own = {"select_on": "none", "correction": "affine"}
        plan = make_plan(parameters(training={"stages": {"swap": own}}), "tiny")
        one, two, three = plan.stages
        assert [plan.validated_tasks("kd", stage) for stage in plan.stages] == [one.seen, (), three.seen]
        assert plan.validation_tasks("kd", two) == two.seen

    @pytest.mark.parametrize(("stages", "message"), [
        ({"swop": {"epochs": 2}}, r"(?s)Unknown task 'swop'.*training\.stages.*did you mean 'swap'"),
        ({"swap": {"crop": 8}}, "crop cannot differ"), ({"swap": 3}, "not a mapping"), ([], "not a mapping"),
        ({"swap": {"epoch": 2}}, r"(?s)Unknown key 'epoch'.*training\.stages\.swap"),
        ({"swap": {"epochs": 0}}, "epochs of at least 1"),
    ])
    def test_what_cannot_be_meant(self, stages: Any, message: str) -> None:
        for changes in ({"training": {"stages": stages}}, {"methods": {"kd": {"training": {"stages": stages}}}}):
            with pytest.raises(UserError, match=message):
                make_plan(parameters(**changes), "tiny")

    def test_tasks_of_one_stage_agree(self) -> None:
        given = {"gan": {"epochs": 2}, "swap": {"epochs": 3}}
        plan = make_plan(parameters(training={"stages": given}, stages=[["gan", "swap"], ["latent"]]), "tiny")
        with pytest.raises(UserError, match="two values of epochs: 2 and 3"):
            plan.method("kd").at(plan.stages[0])


@pytest.mark.parametrize(("changes", "message"), [
    ({"tasks": "gan"}, "has no tasks"),
    ({"tasks": 3}, "has no tasks"),
    ({"tasks": [3]}, "3 cannot be used"),
    ({"collection": "my__own"}, "collection name 'my__own' cannot be used"),
    ({"collection": None}, "Unknown collection"),
    ({"network": "convnet"}, "not a mapping"),
    ({"methods": ["kd"]}, "not a mapping"),
    ({"methods": {}}, "has no methods"),
    ({"training": {"preset": "papre"}}, "did you mean 'paper'"),
    ({"training": {"momentum": 1.0}}, r"momentum in \[0, 1\)"),
    ({"training": {"weight_decay": -0.1}}, "weight_decay"),
    ({"training": {"patience": 0}}, "patience of at least 1"),
    ({"training": {"validation_max": 0}}, "validation_max of at least 1"),
    ({"training": {"batch_size": 0}}, "batch_size of at least 1"),
    ({"training": {"epochs": True}}, "'epochs'[\\s\\S]*not true or false"),
    ({"training": {"flip": 1}}, "'flip'[\\s\\S]*true or false"),
    ({"training": {"crop": 1}}, "crop of at least 8"),
    ({"training": {"lr": float("inf")}}, "'lr'[\\s\\S]*finite number"),
    ({"training": {"lr": float("nan")}}, "lr"),
    ({"training": ["epochs"]}, "not a mapping"),
    ({"training": {"preset": ["paper"]}}, "Unknown preset"),
    ({"network": ["convnet"]}, "not a mapping"),
    ({"network": {"name": ["convnet"]}}, "Unknown network"),
    ({"stages": {"measure": ["transfer"]}}, "'measure'"),
    ({"tune": "heads"}, "did you mean 'head'"),
    ({"methods": {"kd": ["paper"]}}, r"methods\.kd"),
    ({"methods": {"kd_2": {}}}, "Unknown method 'kd_2'"),
    ({"methods": {"kd_2": {"method": "dk"}}}, r"Unknown method 'dk'[\s\S]*methods\.kd_2\.method"),
    ({"methods": {"kd-2": {"method": "kd"}}}, r"label 'kd-2' cannot be used[\s\S]*methods\.kd-2"),
    ({"methods": {2: {"method": "kd"}}}, "label name 2 cannot be used"),
    ({"methods": {"b": {"method": "kd", "training": {"epochs": 0}}}}, r"methods\.b\.training[\s\S]*epochs of at least"),
    ({"methods": {"b": {"method": "kd", "training": {"epoch": 1}}}}, r"methods\.b\.training"),
    ({"methods": {"b": {"method": "kd", "network": {"name": "convnt"}}}}, r"methods\.b\.network\.name"),
    ({"methods": {"b": {"method": "kd", "tune": "some"}}}, r"methods\.b\.tune"),
    ({"seed": True}, "'seed'"),
    ({"seed": -1}, "'seed'"),
    ({"n_seeds": "three"}, "'n_seeds'"),
    ({"n_seeds": 2**70}, "at most 1000"),
    ({"methods": {"kd": {"n_seeds": 0}}}, r"'n_seeds'[\s\S]*methods\.kd"),
])
def test_a_fault(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        make_plan(parameters(**changes), "tiny")


def test_a_sequence_with_a_hyphen_cannot_be_told_from_its_method() -> None:
    with pytest.raises(UserError, match="sequence name 'my-own' cannot be used"):
        make_plan({**parameters(), "sequences": {"my-own": SEQUENCE}}, "my-own")


@given(st.text(alphabet="aZ9_-./ é\n", max_size=8))
def test_names_can_be_taken_out_of_catalog_entries_again(name: str) -> None:
    try:
        check_name(name)
    except UserError:
        return
    assert name == name.strip("_-")
    assert not {"__", "--"} & {name[at:at + 2] for at in range(len(name))}
    assert not set(name) & set("./ é\n")


def test_stages_of_groups() -> None:
    stages = make_stages([("a", "b", "c"), ("d",)])
    assert [(stage.key, stage.seen) for stage in stages] == [("01_a_plus2", ("a", "b", "c")),
                                                              ("02_d", ("a", "b", "c", "d"))]


LABELS = {
    "finetune": {}, "kd_T2": {"method": "kd", "temperature": 2.0},
    "kd_head": {"method": "kd", "preset": "paper", "tune": "head", "network": {"depth": 3}, "training": {"epochs": 9}},
    "resnet": {"method": "finetune", "network": {"name": "resnet18"}, "training": {"preset": "paper", "lr": 0.1}},
}


def test_a_label_says_what_differs_from_the_sequence() -> None:
    plan = make_plan(parameters(methods=LABELS, tune="norm", training={"epochs": 3, "crop": 32}), "tiny").resolved()
    plain, kd, head, resnet = (plan.method(label) for label in LABELS)
    assert [each.method for each in plan.methods] == ["finetune", "kd", "kd", "finetune"]
    assert (plain.network, plain.training, plain.tune) == (plan.network, plan.training, "norm")
    assert (kd.settings["temperature"], head.settings["temperature"]) == (2.0, 20.0)
    assert (head.tune, head.training.epochs, head.training.crop) == ("head", 9, 32)
    assert (head.network.settings["width"], head.network.settings["depth"]) == (8, 3)
    assert (resnet.network.name, resnet.network.settings["architecture"]) == ("resnet18", "resnet18.tv_in1k")
    assert (resnet.training.optimizer, resnet.training.lr, resnet.training.epochs) == ("sgd", 0.1, 250)
    assert plan.learned("kd_T2") == plan.stages
    with pytest.raises(UserError, match="did you mean 'kd_T2'"):
        plan.method("kd_T3")


def test_a_fault_in_the_settings_of_a_label_names_it() -> None:
    plan = make_plan(parameters(methods={"kd_T2": {"method": "kd", "temprature": 2.0}}), "tiny")
    with pytest.raises(UserError, match=r"sequences\.tiny\.methods\.kd_T2"):
        plan.resolved()


def test_keys_of_a_label_are_no_settings_of_a_method_or_network() -> None:
    for name in names("methods"):
        assert not {*LABEL_KEYS} & {field.name for field in fields(load("methods", name).Config)}


def test_weights_that_do_not_exist_are_refused_and_relative_paths_count_from_the_project(tmp_path: Path) -> None:
    def plan(pretrained: str, name: str = "convnet") -> Plan:
        network = {"name": name, "pretrained": pretrained}
        return make_plan(parameters(methods={"kd": {}, "b": {"method": "kd", "network": network}}), "tiny")

    for pretrained in ("imagenet", "weights.safetensors", "models"):
        with pytest.raises(UserError, match=r"do not exist[\s\S]*methods\.b\.network\.pretrained"):
            plan(pretrained).check(tmp_path)
    (tmp_path / "models").mkdir()
    for pretrained, name in (("none", "convnet"), ("models", "convnet"), ("imagenet", "resnet18")):
        plan(pretrained, name).check(tmp_path)
    assert plan("models").rooted(tmp_path).method("b").network.settings["pretrained"] == str(tmp_path / "models")
    assert plan("none").rooted(tmp_path) == plan("none")


@pytest.mark.parametrize("settings", [["lr"], 3, "lr"])
def test_what_is_no_mapping_is_refused_wherever_settings_are_read(settings: Any) -> None:
    with pytest.raises(UserError, match="not a mapping"):
        configure(TrainingConfig, settings, where="training")


def test_a_plan_is_made_without_importing_a_network_or_method() -> None:
    program = ("import json, sys; from fakemedia.core.plan import make_plan\n"
               f"make_plan(json.loads({json.dumps(json.dumps(parameters()))}), 'tiny')\n"
               "assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", program], check=True)


@pytest.mark.parametrize("name", ["update", "promotion", "monitoring"])
def test_names_of_the_projects_own_pipelines_are_refused(name: str) -> None:
    given = parameters()
    with pytest.raises(UserError, match="The sequence name"):
        make_plan({**given, "sequences": {name: given["sequences"]["tiny"]}}, name)
    with pytest.raises(UserError, match="collection name"):
        make_plan({**parameters(collection=name), "collections": {name: {}}}, "tiny")
