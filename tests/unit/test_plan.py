"""What is to be run, read from the parameters."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fakemedia.core.errors import UserError
from fakemedia.core.plan import Named, TrainingConfig, make_plan, scores_fingerprint, stage_fingerprint
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
    assert plan.network == Named(name="convnet", settings={"width": 8})
    assert [method.name for method in plan.methods] == ["kd", "joint"]
    resolved = plan.resolved().method("kd").settings
    assert resolved["weight"] == 3.0
    assert {"temperature", "alpha", "decay", "decay_after"} < resolved.keys()


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
    ({"seed": -1}, "'seed'"),
    ({"n_seeds": "three"}, "'n_seeds'"),
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


def test_fingerprints_change_with_every_cause() -> None:
    stage = make_stages([("a",)])[0]
    causes: dict[str, Any] = {
        "network": Named(name="convnet"), "method": Named(name="kd"), "training": TrainingConfig(), "seed": 0,
        "stage": stage, "data": {"a": {"train": "x"}}, "parent": None,
    }
    changed = {
        "network": Named(name="convnet", settings={"width": 8}), "method": Named(name="ewc"),
        "training": TrainingConfig(epochs=31), "seed": 1, "stage": make_stages([("b",)])[0],
        "data": {"a": {"train": "y"}}, "parent": "p",
    }
    found = {stage_fingerprint(**causes), *(stage_fingerprint(**{**causes, key: new}) for key, new in changed.items())}
    assert len(found) == len(changed) + 1

    def scores(weights="w", training=TrainingConfig(), **data: str) -> str:  # noqa: B008
        return scores_fingerprint(weights_sha256=weights, training=training, data=data)

    assert scores(a="1", b="2") == scores(b="2", a="1") == scores(a="1", b="2", training=TrainingConfig(epochs=1))
    assert len({scores(a="1"), scores(a="2"), scores("v", a="1"), scores(a="1", training=TrainingConfig(crop=8))}) == 4


def test_a_plan_is_made_without_importing_a_network_or_method() -> None:
    program = ("import json, sys; from fakemedia.core.plan import make_plan\n"
               f"make_plan(json.loads({json.dumps(json.dumps(parameters()))}), 'tiny')\n"
               "assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", program], check=True)
