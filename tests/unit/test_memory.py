"""What is kept of earlier tasks: selection, budget, batches, and the stages that learn with it."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.keeping import memory_path
from fakemedia.learning.sequence import check_stages, learn_stage
from fakemedia.memory.budget import MIB, Budget, quotas
from fakemedia.memory.draws import MemoryBatches
from fakemedia.memory.memory import PREFIX, Memory, update_memory
from fakemedia.memory.selection import fit_budget, herding_order, random_order
from fakemedia.methods import replay
from fakemedia.methods.method import StageData
from fakemedia.networks import checkpoint, convnet
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.runtime.device import Runtime
from fakemedia.store.batches import TrainBatches
from fakemedia.store.resident import ResidentPixels
from tests.plans import make_plan
from tests.unit.conftest import noise

CPU = Runtime(accelerator="cpu", precision="float32")
STAGES = make_stages([("a",), ("b",), ("c",)])


@pytest.fixture(scope="module")
def stores(make_store):
    return {task: make_store(task, noise(24, 12, 30.0 + 10 * seed, seed)) for seed, task in enumerate("abc")}


def no_features(store: Any) -> np.ndarray:
    raise AssertionError("not read")


def test_a_small_class_leaves_its_share_to_the_others() -> None:
    assert quotas({"a": 3, "b": 10, "c": 40, "d": 40}, 60) == {"a": 3, "b": 10, "c": 23, "d": 24}


def test_herding_is_that_of_a_search_through_all_pictures() -> None:
    features = np.random.default_rng(0).normal(size=(12, 5))
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    chosen: list[int] = []
    for k in range(1, 7):
        left = [each for each in range(12) if each not in chosen]
        distances = {each: np.linalg.norm(unit.mean(0) - unit[[*chosen, each]].sum(0) / k) for each in left}
        chosen.append(min(distances, key=lambda each: distances[each]))
    assert herding_order(features, 6) == chosen


def test_a_memory_spreads_over_the_source_groups() -> None:
    ids, groups = ([f"{number}" for number in range(30)], [f"g{number // 10}" for number in range(20)] + ["g2"] * 10)
    order = random_order(ids, groups, seed=3)
    kept = fit_budget(order, [1] * 30, pictures=8, room=float("inf"))
    assert sorted(Counter(groups[each] for each in kept).values()) == [2, 3, 3]
    assert fit_budget(order, [1] * 30, pictures=5, room=float("inf")) == kept[:5]
    assert fit_budget(order, [4] * 30, pictures=7, room=12) == kept[:3]
    assert sorted(order) == list(range(30))


def test_small_groups_leave_their_turns_to_the_others() -> None:
    groups = ["small", *["large"] * 9]
    kept = random_order([f"{number}" for number in range(10)], groups, seed=0)[:4]
    assert Counter(groups[each] for each in kept) == {"small": 1, "large": 3}


def test_the_same_groups_come_first_in_both_classes() -> None:
    groups = [f"g{number}" for number in range(9)]
    real, fake = (random_order([f"{kind}{number}" for number in range(9)], groups, seed=1) for kind in "rf")
    assert real == fake
    assert real != random_order([f"r{number}" for number in range(9)], groups, seed=2)


@pytest.mark.parametrize("selection", ["reservoir", "random"])
def test_what_is_kept_shrinks_to_equal_shares_and_stays_whole(stores, selection: str) -> None:
    config, memory = Budget(pictures=12, selection=selection), Memory()  # type: ignore[arg-type]
    before: dict[str, set[str]] = {}
    for number, (task, store) in enumerate(stores.items(), start=1):
        memory = update_memory(memory, {task: store}, config, seed=5, features=no_features)
        assert {name: Counter(held.labels.tolist()) for name, held in memory.stores.items()} == {
            name: {0: 12 // (2 * number), 1: 12 // (2 * number)} for name in memory.stores}
        for name, held in memory.stores.items():
            assert set(held.ids) <= before.get(name, set(held.ids))
            rows = [stores[name].ids.index(id) for id in held.ids]
            assert all(np.array_equal(held[place], stores[name][row]) for place, row in enumerate(rows))
            before[name] = set(held.ids)
    again = Memory.read({name: tensor.clone() for name, tensor in memory.tensors().items()})
    assert {task: store.fingerprint for task, store in again.stores.items()} == {
        task: store.fingerprint for task, store in memory.stores.items()}
    crops = again.stores["a"].centre_crops(np.arange(4), 8)
    assert np.array_equal(crops, memory.stores["a"].centre_crops(np.arange(4), 8))


def test_a_budget_in_bytes(stores) -> None:
    picture = 3 * 12 * 12
    config = Budget(pictures=500, mib=8 * picture / MIB)
    memory = update_memory(Memory(), {"a": stores["a"], "b": stores["b"]}, config, seed=0, features=no_features)
    assert [len(store) for store in memory.stores.values()] == [4, 4]


def batches(stores, pictures: int = 12, **settings: Any) -> MemoryBatches:
    memory = update_memory(Memory(), {task: stores[task] for task in "ab"}, Budget(pictures=pictures), seed=0,
                           features=no_features)
    return MemoryBatches(memory, **{"crop": 8, "flip": True, "seed": 3, **settings})


def test_each_class_of_each_task_is_drawn_as_often(stores) -> None:
    drawn = [batches(stores).batch(step, 8) for step in range(9)]
    cells = Counter((task, label, row) for batch in drawn for task, label, row in zip(
        batch.tasks.tolist(), batch.labels.tolist(), batch.rows.tolist(), strict=True))
    assert set(cells.values()) == {6}  # 72 draws of 12 pictures, each class read from end to end
    assert Counter((task, label) for task, label, _ in cells.elements()) == dict.fromkeys(
        [(task, label) for task in range(2) for label in range(2)], 18)


def test_random_crops_are_augmented_and_centre_crops_are_not(stores) -> None:
    plain, changed = batches(stores), batches(stores, augment=lambda crop, seed: 255 - crop)
    assert torch.equal(changed.batch(4, 8).images, 255 - plain.batch(4, 8).images)
    assert torch.equal(changed.batch(4, 8, at_centre=True).images, plain.batch(4, 8, at_centre=True).images)
    seeds = batches(stores, augment=lambda crop, seed: np.full_like(crop, seed % 256))
    assert torch.equal(seeds.batch(4, 8).images, seeds.batch(4, 8).images)
    assert len({int(image[0, 0, 0]) for image in seeds.batch(4, 8).images}) > 4


def test_a_batch_depends_on_its_step_alone_and_crops_are_fresh(stores) -> None:
    one, two = batches(stores), batches(stores)
    one.batch(0, 8)
    first, again, later = one.batch(4, 8), two.batch(4, 8), two.batch(7, 8)
    assert torch.equal(first.images, again.images)
    assert not torch.equal(first.images, later.images)
    assert torch.equal(one.batch(4, 8, at_centre=True).images[0],
                       torch.from_numpy(one.memory.stores["a" if first.tasks[0] == 0 else "b"].centre_crops(
                           first.rows[:1].numpy(), 8)[0]).permute(2, 0, 1))


def test_several_processes_divide_a_batch(stores) -> None:
    whole = batches(stores).batch(2, 8)
    parts = [batches(stores, share=(rank, 2)).batch(2, 4) for rank in range(2)]
    assert torch.equal(whole.images, torch.cat([part.images for part in parts]))
    assert torch.equal(whole.rows, torch.cat([part.rows for part in parts]))


@pytest.mark.parametrize("at_centre", [False, True])
def test_pictures_on_the_device_are_cropped_alike(stores, at_centre: bool) -> None:
    """As on a GPU, where they are resident."""
    resident = batches(stores)
    resident.__dict__["_resident"] = ResidentPixels([*resident.memory.stores.values()], torch.device("cpu"))
    one, other = (each.batch(3, 16, at_centre=at_centre) for each in (batches(stores), resident))
    assert all(torch.equal(getattr(one, part), getattr(other, part)) for part in ("images", "labels", "tasks", "rows"))


def test_classes_of_tasks_weigh_the_same_in_the_loss_of_one_process_and_of_several(stores) -> None:
    batch = batches(stores).batch(3, 6)
    losses = torch.rand(6, generator=torch.Generator().manual_seed(0))
    cells = 2 * batch.tasks + batch.labels
    expected = torch.stack([losses[cells == cell].mean() for cell in cells.unique()]).mean()
    assert len(cells.unique()) == 4
    assert torch.allclose((batches(stores).balance(3, 6) * losses).sum(), expected)
    shares = [(batches(stores, share=(rank, 2)).balance(3, 3) * losses[3 * rank:3 * rank + 3]).sum() for rank in (0, 1)]
    assert torch.allclose(torch.stack(shares).mean(), expected)


def test_a_whole_batch_is_the_same_in_every_process(stores) -> None:
    whole = batches(stores).batch(2, 8)
    for rank in range(2):
        assert torch.equal(batches(stores, share=(rank, 2)).batch(2, 8, whole=True).images, whole.images)


def test_each_class_of_each_task_old_or_new_has_the_same_share_in_the_loss(stores, make_store) -> None:
    uneven = make_store("c", [picture for number, picture in enumerate(noise(24, 12, 50.0, 9)) if number % 6 != 1])
    held, method = batches(stores), replay.Replay(replay.Config())
    network = convnet.build(convnet.Config(width=8, depth=2), 0)
    method.before_stage(StageData(**vars(STAGES[2]), train={"c": uneven}, memory=held), network)
    shares: Counter[tuple[int, int]] = Counter()
    new = TrainBatches([uneven], batch_size=4, crop=8, flip=False, seed=1)
    for step, batch in enumerate(new.epoch(0)):
        mixed = method.mix(batch, step)
        logits = torch.zeros(len(mixed.labels), 2, requires_grad=True)
        method.loss(network, mixed, logits)["total"].backward()
        for task, label, gradient in zip(mixed.tasks.tolist(), mixed.labels.tolist(), logits.grad, strict=True):
            shares[task, label] += gradient.abs().sum().item() / new.steps
    assert shares == pytest.approx(dict.fromkeys([(task, label) for task in range(3) for label in range(2)], 1 / 6))


@pytest.fixture
def learn(stores):
    def run(index: int = 1, method: str = "replay", parent: Checkpoint | None = None, folder: Path | None = None,
            settings: dict | None = None, **training: Any) -> Checkpoint:
        config = TrainingConfig(**{"epochs": 2, "batch_size": 8, "crop": 8, "lr": 0.01, **training})
        plan = make_plan({method: {"pictures": 12} if settings is None else settings}, stages=STAGES, training=config,
                         network=Plugin(name="convnet", settings={"width": 8, "depth": 2})).resolved()
        return learn_stage(plan=plan, method=method, seed=0, stage=STAGES[index - 1], parent=parent, train=stores,
                           validation=stores, folder=folder, runtime=CPU)

    return run


def test_the_memory_travels_with_the_checkpoint_and_says_what_it_holds(learn, tmp_path: Path) -> None:
    first = learn(folder=tmp_path / "01_a")
    second = learn(2, parent=first, folder=tmp_path / "02_b")
    assert {name.split(".")[1] for name in second.method_state if name.startswith(PREFIX)} == {"a", "b"}
    table = pd.read_parquet(memory_path(tmp_path / "02_b"))
    assert table.groupby(["task", "label"]).size().tolist() == [3, 3, 3, 3]
    assert table["bytes"].sum() == sum(len(second.method_state[f"{PREFIX}{task}.pixels"]) for task in "ab")
    assert set(table["selection"]) == {"reservoir"}


def test_the_images_that_are_kept_are_not_part_of_the_states_that_are_saved_in_training(learn, monkeypatch) -> None:
    saved: list[Any] = []
    monkeypatch.setattr("fakemedia.learning.resume.ResumeFiles.save", lambda _, state, best: saved.append(state))
    with_memory = learn(2, parent=learn())
    assert any(name.startswith(PREFIX) for name in with_memory.method_state)
    assert not any(name.startswith(PREFIX) for state in saved for name in state["method"])


def test_pictures_are_drawn_alike_however_a_checkpoint_is_read(learn, tmp_path: Path, monkeypatch) -> None:
    """The reader of checkpoints gives tensors in another order each time; tasks are then told apart by name alone."""
    second = learn(2, parent=learn(), folder=tmp_path / "02_b")
    expected = learn(3, parent=second)
    read = checkpoint.load_tensors
    monkeypatch.setattr(checkpoint, "load_tensors", lambda data: dict(sorted(read(data).items(), reverse=True)))
    found = learn(3, parent=checkpoint.load(tmp_path / "02_b"))
    assert all(torch.equal(tensor, found.weights[name]) for name, tensor in expected.weights.items())


def test_a_memory_larger_than_the_new_task_does_not_lengthen_the_epoch(learn, monkeypatch) -> None:
    steps: list[int] = []
    before = replay.Replay.mix
    monkeypatch.setattr(replay.Replay, "mix", lambda self, batch, step: steps.append(step) or before(self, batch, step))
    learn(3, parent=learn(2, parent=learn(settings={"pictures": 500}), settings={"pictures": 500}),
          settings={"pictures": 500})
    assert steps == [0, 1, 2, 3, 4, 5] * 3


def test_an_interrupted_replay_goes_on_to_the_same_weights(learn, tmp_path: Path, monkeypatch) -> None:
    first = learn()
    whole = learn(2, parent=first, epochs=3)

    def stop(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(replay.Replay, "after_epoch", stop)
        with pytest.raises(KeyboardInterrupt):
            learn(2, parent=first, folder=tmp_path / "stage", epochs=3)
    resumed = learn(2, parent=first, folder=tmp_path / "stage", epochs=3)
    assert all(torch.equal(tensor, resumed.weights[name]) for name, tensor in whole.weights.items())


def test_herding_reads_the_features_of_the_network(learn) -> None:
    kept = Memory.read(learn(settings={"pictures": 6, "selection": "herding"}).method_state).stores["a"]
    assert Counter(kept.labels.tolist()) == {0: 3, 1: 3}
    assert sorted(kept.images["rank"]) == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("method", ["replay", "derpp"])
def test_what_another_method_learned_is_reviewed(learn, method: str) -> None:
    second = learn(2, method=method, parent=learn(method="finetune", settings={}))
    assert set(Memory.read(second.method_state).stores) == {"a", "b"}


@pytest.mark.parametrize(("settings", "message"), [
    ({"pictures": 3}, "3 pictures is smaller than one per task and class[\\s\\S]*6 pictures"),
    ({"mib": 0.001}, "0.001 MiB is smaller than one picture per task and class"),
])
def test_a_memory_without_room_is_refused_before_training(stores, learn, settings: dict, message: str) -> None:
    plan = make_plan({"replay": settings}, stages=STAGES, network=Plugin(name="convnet"),
                     training=TrainingConfig(batch_size=8, crop=8)).resolved()
    with pytest.raises(UserError, match=message):
        check_stages(plan, "replay", stores)


def test_a_parent_that_keeps_no_pictures_is_refused(learn, stores) -> None:
    first = learn()
    bare = Checkpoint(**{**vars(first), "method_state": {}})
    with pytest.raises(UserError, match="no pictures of earlier tasks"):
        learn(2, parent=bare)
