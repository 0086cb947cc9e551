"""Knowledge distillation against numbers computed by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import nn

from fakemedia.core.plugin import resolve
from fakemedia.core.types import make_stages
from fakemedia.methods import kd

FIRST, SECOND = make_stages([("a",), ("b",)])


class Constant(nn.Module):
    """Gives the same logits for every input."""

    def __init__(self, logits: list[float]) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor(logits))

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.logits.expand(len(inputs), -1)


def _loss(method: kd.KnowledgeDistillation, student: Constant) -> dict[str, torch.Tensor]:
    batch: Any = SimpleNamespace(inputs=torch.zeros(2, 3, 4, 4), labels=torch.tensor([1, 1]))
    return method.loss(student, batch, student(batch.inputs))


# Logits log(9), 0 are the probabilities 0.9 and 0.1; at temperature 2 they are 3/4 and 1/4.
TEACHER, STUDENT = [math.log(9.0), 0.0], [0.0, 0.0]


def test_divergence_goes_from_the_teacher_to_the_student() -> None:
    forward = kd.distillation(torch.tensor([STUDENT]), torch.tensor([TEACHER]), temperature=1.0)
    backward = kd.distillation(torch.tensor([TEACHER]), torch.tensor([STUDENT]), temperature=1.0)
    assert forward.item() == pytest.approx(0.9 * math.log(0.9 / 0.5) + 0.1 * math.log(0.1 / 0.5), abs=1e-6)
    assert backward.item() == pytest.approx(0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1), abs=1e-6)


def test_divergence_is_the_mean_over_the_batch_times_the_squared_temperature() -> None:
    students, teachers = torch.tensor([STUDENT, TEACHER]), torch.tensor([TEACHER, TEACHER])
    one = 4.0 * (0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5))
    assert kd.distillation(students, teachers, temperature=2.0).item() == pytest.approx(one / 2, abs=1e-6)


def test_the_terms_of_the_loss() -> None:
    method = kd.build(kd.Config(weight=3.0, temperature=2.0, alpha=0.25), seed=0)
    method.before_stage(SECOND, Constant(TEACHER))
    terms = _loss(method, Constant(STUDENT))
    cross_entropy = math.log(2.0)
    followed = 4.0 * (0.75 * math.log(1.5) - 0.25 * math.log(2.0))
    assert terms["cross_entropy"].item() == pytest.approx(cross_entropy, abs=1e-6)
    assert terms["distillation"].item() == pytest.approx(followed, abs=1e-6)
    total = cross_entropy + 3.0 * (0.25 * followed + 0.75 * cross_entropy)
    assert terms["total"].item() == pytest.approx(total, abs=1e-6)


def test_a_student_that_agrees_pays_nothing() -> None:
    method = kd.build(resolve("methods", "kd", {"preset": "paper"}), seed=0)
    method.before_stage(SECOND, Constant(TEACHER))
    assert _loss(method, Constant(TEACHER))["distillation"].item() == pytest.approx(0.0, abs=1e-5)


def test_the_gradient_is_of_the_student_alone() -> None:
    method = kd.build(kd.Config(weight=1.0, temperature=2.0, alpha=1.0), seed=0)
    student, teacher = Constant(STUDENT), Constant(TEACHER)
    method.before_stage(SECOND, teacher)
    terms = _loss(method, student)
    (terms["total"] - terms["cross_entropy"]).backward()
    # d/dz of T^2 KL(p || softmax(z / T)) is T (q - p).
    assert student.logits.grad is not None
    assert student.logits.grad.tolist() == pytest.approx([2.0 * (0.5 - 0.75), 2.0 * (0.5 - 0.25)], abs=1e-6)
    assert teacher.logits.grad is None


def test_the_weight_shrinks_after_every_fourth_epoch_without_improvement_and_starts_anew() -> None:
    method = kd.build(resolve("methods", "kd", {"preset": "paper"}), seed=0)
    method.before_stage(SECOND, Constant(TEACHER))
    weights = []
    for improved in [True, False, False, False, True, False, False, False, False, *[False] * 4]:
        method.after_epoch(validated=True, improved=improved)
        weights.append(method.weight)
    assert weights == pytest.approx([1.0] * 8 + [0.9] * 4 + [0.81])
    method.before_stage(SECOND, Constant(TEACHER))
    assert method.weight == 1.0


def test_epochs_that_were_not_validated_do_not_count() -> None:
    """Forty epochs that all improved where they were validated: every fifth one."""
    method = kd.build(kd.Config(weight=2.0), seed=0)
    method.before_stage(SECOND, Constant(TEACHER))
    for epoch in range(1, 41):
        method.after_epoch(validated=epoch % 5 == 0, improved=epoch % 5 == 0)
    assert method.weight == 2.0
    for epoch in range(1, 41):
        method.after_epoch(validated=epoch % 5 == 0, improved=False)
    assert method.weight == pytest.approx(2.0 * 0.9**2)


def test_an_interrupted_stage_goes_on_with_its_weight() -> None:
    whole = kd.build(kd.Config(decay_after=2), seed=0)
    whole.before_stage(SECOND, Constant(TEACHER))
    for _ in range(3):
        whole.after_epoch(validated=True, improved=False)
    resumed = kd.build(kd.Config(decay_after=2), seed=0)
    resumed.before_stage(SECOND, Constant(TEACHER))
    resumed.load_state_dict(whole.state_dict())
    for method in (whole, resumed):
        method.after_epoch(validated=True, improved=False)
    assert resumed.weight == whole.weight == pytest.approx(2.0 * 0.81)
