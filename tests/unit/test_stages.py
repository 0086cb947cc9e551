"""What a sequence may say under `stages`, `measures` and `against`."""

from __future__ import annotations

from typing import Any

import pytest

from fakemedia.core.comparable import check_comparable
from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plan, Plugin, make_plan

TASKS = ["gan", "swap", "latent"]
SEQUENCE = {"collection": "mine", "tasks": TASKS, "network": {"name": "convnet"}, "methods": {"kd": {}}}


def plan(name: str = "tiny", similarity: dict[str, Any] | None = None, **changes: Any) -> Plan:
    sequences = {"tiny": {**SEQUENCE, **changes}, "other": SEQUENCE}
    return make_plan({"collections": {"mine": {}, "yours": {}}, "sequences": sequences,
                      "similarity": similarity or {}}, name)


@pytest.mark.parametrize("stages", [None, "given"])
def test_tasks_are_learned_one_by_one_as_given(stages: str | None) -> None:
    made = plan(stages=stages)
    assert [stage.tasks for stage in made.stages] == [("gan",), ("swap",), ("latent",)]
    assert made.grouping is None


def test_groups_by_hand() -> None:
    made = plan(stages=[["swap"], ["latent", "gan"]])
    assert [stage.key for stage in made.stages] == ["01_swap", "02_latent_plus1"]
    assert made.tasks == ("swap", "latent", "gan")
    assert made.listed == tuple(TASKS)


def test_stages_to_be_found_are_empty_until_the_groups_are_known() -> None:
    made = plan(stages={"measure": "transfer", "n_groups": 2})
    assert made.stages == ()
    assert made.tasks == tuple(TASKS)
    assert made.learned("kd") == ()
    assert set(made.measures) == {"fingerprint", "transfer"}
    grouped = made.with_groups([("latent",), ("gan", "swap")])
    assert [stage.seen for stage in grouped.stages] == [("latent",), ("latent", "gan", "swap")]


def test_what_a_sequence_groups_by_is_measured() -> None:
    assert set(plan(stages={"measure": "mmd"}, measures=["fisher"]).measures) == {"fisher", "mmd"}
    assert plan(measures=[]).measures == {}


def test_a_variant_of_a_measure() -> None:
    settings = {"content": {"measure": "mmd", "images": "real"}, "fisher": {"images": 8}}
    made = plan(similarity={"settings": settings}, measures=["content", "fisher"])
    assert made.measures == {"content": Plugin(name="mmd", settings={"images": "real"}),
                             "fisher": Plugin(name="fisher", settings={"images": 8})}


def test_groups_depend_on_whatever_changes_distances() -> None:
    grouped = {"stages": "grouped"}
    changed = [plan(**grouped), plan(stages={"n_groups": 2}), plan(**grouped, measures=[]),
               plan(**grouped, training={"crop": 64}), plan(**grouped, similarity={"images": 10}),
               plan(**grouped, similarity={"seed": 1}), plan(**grouped, tasks=TASKS[::-1]),
               plan(**grouped, network={"name": "convnet", "width": 8})]
    assert len({made.similarity_identity for made in changed}) == len(changed)
    assert plan(**grouped, training={"epochs": 3}).similarity_identity == changed[0].similarity_identity


@pytest.mark.parametrize(("changes", "message"), [
    ({"stages": "groupd"}, "'groupd' is not a valid way to make stages"),
    ({"stages": {"measure": "fingerprnt"}}, "did you mean 'fingerprint'"),
    ({"stages": {"mesure": "fingerprint"}}, "did you mean 'measure'"),
    ({"stages": {"n_groups": 0}}, "n_groups"),
    ({"stages": {"order": "alphabetic"}}, "order"),
    ({"stages": {"n_groups": 4}}, r"more groups \(4\) than tasks \(3\)"),
    ({"stages": "grouped", "tasks": ["gan"]}, "the only task is gan"),
    ({"stages": "grouped", "tasks": ["gan", "swap"]}, "cannot choose the number of groups"),
    ({"stages": [["gan"], ["swap"]]}, "differ: latent"),
    ({"stages": [["gan", "swap"], ["swap", "latent"]]}, "differ: swap"),
    ({"stages": ["gan", "swap", "latent"]}, "not a list of tasks"),
    ({"measures": "mmd"}, "not a list of names"),
    ({"measures": ["mdm"]}, "did you mean 'mmd'"),
    ({"measures": ["my__own"], "similarity": {"settings": {"my__own": {"measure": "mmd"}}}}, "'my__own' cannot be"),
    ({"measures": ["own"], "similarity": {"settings": {"own": {"measure": "mdm"}}}}, "did you mean 'mmd'"),
    ({"similarity": {"images": 1}}, "images of at least 2"),
    ({"against": ["tiny"]}, "Unknown sequence 'tiny'"),
    ({"against": ["othr"]}, "did you mean 'other'"),
    ({"n_seeds": 0}, "'n_seeds'"),
])
def test_a_fault(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        plan(**changes)


def test_the_number_of_seeds_of_a_sequence_goes_first() -> None:
    assert plan(n_seeds=3).seeds == (0, 1, 2)
    assert plan("other").seeds == (0,)


@pytest.mark.parametrize(("changes", "message"), [
    ({"tasks": ["gan", "swap"]}, "differ in tasks"),
    ({"collection": "yours"}, "differ in collection"),
    ({"training": {"crop": 64}}, "differ in crop"),
    ({"methods": {"ewc": {}}}, "no method in common"),
])
def test_sequences_that_cannot_be_compared(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        check_comparable(plan("other"), plan(**changes))


def test_sequences_of_another_order_can_be_compared() -> None:
    check_comparable(plan("other"), plan(tasks=TASKS[::-1], stages="grouped"))
