"""Further methods against results by hand: dark experience replay, averages of weights, importance of weights."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.nn.functional as F

from fakemedia.core.plan import Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.learning.sequence import learn_stage
from fakemedia.learning.trainer import StageTrainer
from fakemedia.memory.draws import MemoryBatches
from fakemedia.memory.memory import Memory, StoredPictures
from fakemedia.methods import derpp, ewc, kd, lwf, si
from fakemedia.methods.average import larger
from fakemedia.methods.kd import distillation
from fakemedia.methods.method import StageData
from fakemedia.networks import convnet
from fakemedia.networks.checkpoint import Checkpoint
from fakemedia.runtime.device import Runtime
from fakemedia.store.batches import Batch
from tests.plans import make_plan

CPU = Runtime(accelerator="cpu", precision="float32")
STAGES = make_stages([("a",), ("b",)])
FIRST, SECOND = (StageData(**vars(stage)) for stage in STAGES)


def memory() -> Memory:
    pictures = np.random.default_rng(0).integers(0, 256, (8, 12, 12, 3), dtype=np.uint8)
    images = pd.DataFrame({"id": [f"{number}" for number in range(8)], "label": np.arange(8) % 2, "source": "s",
                           "height": 12, "width": 12, "rank": np.arange(8) // 2})
    return Memory({"a": StoredPictures("a", "native", images, pictures.reshape(-1))})


def detector(seed: int) -> Any:
    return convnet.build(convnet.Config(width=8, depth=2), seed).eval()


def batch(network: Any) -> Batch:
    images = torch.randint(0, 256, (4, 3, 8, 8), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    labels = torch.tensor([0, 1, 0, 1])
    return Batch(images=images, labels=labels, tasks=torch.zeros_like(labels), rows=torch.arange(4),
                 inputs=network.prepare(images))


def test_derpp_takes_the_step_that_is_computed_by_hand() -> None:
    before, now = detector(1), detector(2)
    method = derpp.DarkExperience(derpp.Config(alpha=0.3, beta=0.5, largest=0.05))
    trainer = StageTrainer(config=TrainingConfig(crop=8, batch_size=4), runtime=CPU, seed=0)
    method.remember(memory(), before, trainer)
    held = MemoryBatches(memory(), crop=8, flip=True, seed=3)
    method.before_stage(replace(SECOND, memory=held), before)
    mixed = method.mix(batch(now), 5)
    assert len(mixed.labels) == 12
    logits = now(now.prepare(mixed.images))
    terms = method.loss(now, mixed, logits)

    centre, crops = held.batch(5, 4, at_centre=True, draw="logits"), held.batch(5, 4)
    wanted = before(before.prepare(centre.images)).clamp(-0.05, 0.05)
    cells = [F.cross_entropy(now(now.prepare(crops.images))[crops.labels == label],
                             crops.labels[crops.labels == label]) for label in (0, 1)]
    expected = (F.cross_entropy(now(batch(now).inputs), batch(now).labels)
                + 0.3 * (now(now.prepare(centre.images)) - wanted).square().mean() + 0.5 * torch.stack(cells).mean())
    torch.testing.assert_close(terms["total"], expected, rtol=1e-5, atol=1e-6)


def test_derpp_keeps_the_logits_of_the_stage_that_kept_the_picture() -> None:
    method = derpp.DarkExperience(derpp.Config())
    trainer = StageTrainer(config=TrainingConfig(crop=8, batch_size=4), runtime=CPU, seed=0)
    method.remember(memory(), detector(1), trainer)
    first = method.logits["a"]
    fewer = Memory({"a": memory().stores["a"].subset(np.array([1, 4, 6]))})
    method.remember(fewer, detector(2), trainer)
    assert torch.equal(method.logits["a"], first[[1, 4, 6]])


@pytest.fixture(scope="module")
def stores(noise_store):
    return {task: noise_store(seed=seed) for seed, task in enumerate("ab")}


def learn(stores: dict, method: str, **settings: Any) -> list[Checkpoint]:
    network = Plugin(name="convnet", settings={"width": 8, "depth": 2})
    training = TrainingConfig(epochs=2, batch_size=8, crop=8, lr=0.01)
    plan = make_plan({method: settings}, stages=STAGES, network=network, training=training).resolved()
    found: list[Checkpoint] = []
    for stage in STAGES:
        found.append(learn_stage(plan=plan, method=method, seed=0, stage=stage, parent=found[-1] if found else None,
                                 train=stores, validation=stores, folder=None, runtime=CPU))
    return found


def test_an_average_with_nothing_of_the_past_is_fine_tuning(stores) -> None:
    one, other = learn(stores, "average", share=1.0)[-1], learn(stores, "finetune")[-1]
    assert all(torch.equal(tensor, other.weights[name]) for name, tensor in one.weights.items())


def test_an_average_lies_between_its_ends(stores) -> None:
    first, second = learn(stores, "average", share=0.25)
    _, trained = learn(stores, "finetune")
    torch.testing.assert_close(second.weights["head.weight"],
                               0.75 * first.weights["head.weight"] + 0.25 * trained.weights["head.weight"])


def test_equal_importance_gives_the_plain_average(stores) -> None:
    plain, weighed = (learn(stores, "average", **settings)[-1].weights["head.weight"] for settings in (
        {"share": 0.4}, {"kind": "cofima", "share": 0.4, "fisher_least": 1e9}))
    torch.testing.assert_close(plain, weighed)


def test_the_larger_change_is_kept() -> None:
    start, one, other = torch.tensor([1.0, 1.0, 1.0]), torch.tensor([2.0, 0.5, 1.0]), torch.tensor([0.5, 0.0, 1.2])
    assert larger(start, one, other).tolist() == pytest.approx([2.0, 0.0, 1.2])


def test_learning_without_forgetting_adds_the_teacher() -> None:
    teacher, student = detector(1), detector(2)
    method = lwf.build(lwf.Config(weight=0.7, temperature=3.0), 0)
    method.before_stage(SECOND, teacher)
    given = batch(student)
    logits = student(given.inputs)
    expected = F.cross_entropy(logits, given.labels) + 0.7 * distillation(logits, teacher(given.inputs), 3.0)
    torch.testing.assert_close(method.loss(student, given, logits)["total"], expected)


def test_distillation_on_a_memory_is_that_of_new_and_old_pictures_and_uses_no_old_labels() -> None:
    teacher, student = detector(1), detector(2)
    method = kd.build(kd.Config(weight=0.7, temperature=3.0, pictures=8), 0)
    held = MemoryBatches(memory(), crop=8, flip=True, seed=3)
    method.before_stage(replace(SECOND, memory=held), teacher)
    new, old = batch(student), held.batch(5, 4)
    mixed = method.mix(new, 5)
    inputs = student.prepare(mixed.images)
    found = method.loss(student, replace(mixed, inputs=inputs), student(inputs))
    both = torch.cat([student.prepare(new.images), student.prepare(old.images)])
    expected = F.cross_entropy(student(new.inputs), new.labels) + 0.7 * distillation(student(both), teacher(both), 3.0)
    torch.testing.assert_close(found["total"], expected)


def test_importance_is_the_part_of_each_weight_in_the_loss() -> None:
    network = detector(1)
    method = si.SynapticIntelligence(si.Config(weight=0.5, damping=0.2))
    method.before_stage(FIRST, network)
    start, path = network.head.weight.detach().clone(), torch.zeros_like(network.head.weight)
    for step in (0.1, 0.3):
        method.loss(network, batch(network), network(batch(network).inputs))["total"].backward()
        method.after_backward(network)
        gradient = network.head.weight.grad.clone()
        with torch.no_grad():
            network.head.weight -= step * gradient
        method.after_step(network)
        path += step * gradient.square()
        network.zero_grad()
    method.after_stage(FIRST, network, [])
    moved = (network.head.weight.detach() - start).square()
    torch.testing.assert_close(method.importance["head.weight"], path / (moved + 0.2))


def test_older_fisher_information_fades() -> None:
    method = ewc.ElasticWeightConsolidation(ewc.Config(gamma=0.5))
    network = detector(1)
    method.after_stage(FIRST, network, [batch(network)])
    once = method.fisher["head.weight"].clone()
    method.after_stage(SECOND, network, [batch(network)])
    torch.testing.assert_close(method.fisher["head.weight"], 1.5 * once)
