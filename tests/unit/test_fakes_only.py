"""Tasks without real pictures: those of earlier tasks take their place, where a method keeps some."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import FAKE, REAL, make_stages
from fakemedia.ingest.index import check_index
from fakemedia.learning.sequence import check_stages, learn_stage
from fakemedia.memory.added_reals import AddedReals, with_reals
from fakemedia.memory.budget import Budget
from fakemedia.memory.memory import Memory, update_memory
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.reporting.results import gather
from fakemedia.runtime.device import Runtime
from tests.plans import make_plan
from tests.unit.conftest import noise

CPU = Runtime(accelerator="cpu", precision="float32")
STAGES = make_stages([("a",), ("b",), ("new",)])


@pytest.fixture(scope="module")
def stores(make_store) -> dict[str, Any]:
    found = {task: make_store(task, noise(24, 12, 30.0 + 10 * seed, seed)) for seed, task in enumerate("ab")}
    fakes = [picture for number, picture in enumerate(noise(48, 12, 60.0, 7)) if number % 2 == FAKE]
    return {**found, "new": make_store("new", fakes, label=FAKE)}


def memory(stores: dict, pictures: int = 12) -> Memory:
    return update_memory(Memory(), {task: stores[task] for task in "ab"}, Budget(pictures=pictures), seed=0,
                         features=lambda store: np.zeros((len(store), 1)))


def test_the_reals_of_all_earlier_tasks_take_turns(stores: dict) -> None:
    added = with_reals(stores["new"], memory(stores))
    assert isinstance(added, AddedReals)
    assert Counter(added.labels.tolist()) == {REAL: 24, FAKE: 24}
    used = Counter(added.ids[24:])
    assert used.keys() == {id for held in memory(stores).stores.values()
                           for id, label in zip(held.ids, held.labels, strict=True) if label == REAL}
    assert set(used.values()) == {4}  # 24 draws of 6 pictures
    rows = np.array([3, 30, 24, 47])
    crops = added.centre_crops(rows, 8)
    assert all(np.array_equal(crop, added[row][2:10, 2:10]) for crop, row in zip(crops, rows.tolist(), strict=True))
    assert with_reals(stores["a"], memory(stores)) is stores["a"]


def learn(stores: dict, method: str, settings: dict[str, Any], tune: str = "all") -> Checkpoint:
    network = Plugin(name="convnet", settings={"width": 8, "depth": 2})
    plan = make_plan({method: settings}, stages=STAGES, network=network,
                     training=TrainingConfig(epochs=2, batch_size=8, crop=8, lr=0.01))
    plan = replace(plan, methods=tuple(replace(each, tune=tune) for each in plan.methods)).resolved()
    parent: Checkpoint | None = None
    for stage in plan.learned(method):
        parent = learn_stage(plan=plan, method=method, seed=0, stage=stage, parent=parent, train=stores,
                             validation=stores, folder=None, runtime=CPU)
    assert parent is not None
    return parent


@pytest.mark.parametrize(("method", "tune"), [("replay", "all"), ("replay", "head"), ("derpp", "all"), ("joint", "all"),
                                              ("ridge", "head"), ("slda", "head")])
def test_a_stage_of_fakes_only_is_learned(stores: dict, method: str, tune: str) -> None:
    settings = {"pictures": 20} if method in ("replay", "derpp") else {}
    found = learn(stores, method, settings, tune)
    assert all(tensor.isfinite().all() for tensor in found.weights.values())
    if settings:
        kept = Memory.read(found.method_state)
        assert set(kept.stores["new"].labels) == {FAKE}
        assert {name: len(held) for name, held in kept.stores.items()} == {"a": 8, "b": 8, "new": 4}


def test_a_method_that_keeps_no_pictures_is_refused(stores: dict) -> None:
    with pytest.raises(UserError, match="task new has no real pictures, and the method keeps none"):
        learn(stores, "finetune", {})
    plan = make_plan({"finetune": {}}, stages=STAGES, training=TrainingConfig(batch_size=8, crop=8)).resolved()
    with pytest.raises(UserError, match="keeps none"):
        check_stages(plan, "finetune", stores)


def test_a_method_that_needs_reals_of_every_task_is_refused_before_anything_is_learned(stores: dict) -> None:
    plan = make_plan(["experts"], stages=STAGES, training=TrainingConfig(batch_size=8, crop=8)).resolved()
    with pytest.raises(UserError, match="task new has no real pictures, and the method experts needs some of every"):
        check_stages(plan, "experts", {"new": stores["new"]})
    check_stages(plan, "experts", {task: stores[task] for task in "ab"})
    grouped = replace(plan, stages=make_stages([("a",), ("b", "new")]))
    with pytest.raises(UserError, match="experts needs some of every task"):
        check_stages(grouped, "experts", stores)


def test_the_first_stage_needs_real_pictures(stores: dict) -> None:
    plan = make_plan({"replay": {"pictures": 12}}, stages=make_stages([("new",), ("a",)]),
                     training=TrainingConfig(batch_size=8, crop=8)).resolved()
    with pytest.raises(UserError, match="no earlier task has left any"):
        check_stages(plan, "replay", stores)


def table(labels: list[int]) -> pd.DataFrame:
    return pd.DataFrame([{"task": "t", "split": split, "label": label} for split in ("train", "val", "test")
                         for label in labels]).assign(error="", id="", path="")


def test_a_task_of_fakes_only_is_accepted_where_it_is_allowed() -> None:
    check_index(table([FAKE]), fakes_only=True)
    with pytest.raises(UserError, match=r"no image of the class 0_real[\s\S]*real: stored"):
        check_index(table([FAKE]))
    partly = table([REAL, FAKE]).query("split != 'test' or label == 1")
    with pytest.raises(UserError, match="test split has no image of the class 0_real"):
        check_index(partly, fakes_only=True)


def test_its_test_images_are_judged_with_the_reals_of_the_nearest_earlier_task() -> None:
    rows = [("a", "r1", 0, -1.0), ("a", "f1", 1, 1.0), ("b", "r2", 0, -2.0), ("b", "r3", 0, 3.0), ("b", "f2", 1, 1.0),
            ("new", "f3", 1, 2.0)]
    frame = pd.DataFrame([{"task": task, "id": id, "label": label, "logit": logit, "source": id, "method": "m",
                           "seed": 0, "stage": 3} for task, id, label, logit in rows])
    found = gather(frame, sequence="s", network="n", stages=STAGES).scores[2]
    assert found is not None
    assert sorted(zip(found.labels.tolist(), found.logits[0, 0, 2].tolist(), strict=True)) == [
        (0, -2.0), (0, 3.0), (1, 2.0)]
