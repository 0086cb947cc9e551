"""Fisher information against independent computations, and the penalty against numbers computed by hand."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from nngeometry.metrics import FIM
from nngeometry.object import PMatDiag
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fakemedia.core.errors import UserError
from fakemedia.core.types import make_stages
from fakemedia.methods import ewc

FIRST, SECOND, PAIR = (*make_stages([("a",), ("b",)]), make_stages([("a", "b")])[0])
N = 12


@pytest.fixture
def network() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(3)
        return nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.BatchNorm2d(4), nn.ReLU(), nn.Conv2d(4, 5, 3), nn.ReLU(),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(5, 2),
        ).eval()


@pytest.fixture
def images() -> tuple[torch.Tensor, torch.Tensor]:
    source = torch.Generator().manual_seed(4)
    return torch.randn(N, 3, 9, 9, generator=source), torch.randint(0, 2, (N,), generator=source)


def _flat(values: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.flatten() for value in values.values()])


def _fisher(network: nn.Module, inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    return _flat(ewc.fisher_diagonal(network, inputs, labels))


def _batches(inputs: torch.Tensor, labels: torch.Tensor, size: int) -> Iterator[Any]:
    for part, answers in zip(inputs.split(size), labels.split(size), strict=True):
        yield SimpleNamespace(inputs=part, labels=answers)


def test_fisher_equals_a_per_sample_loop(network: nn.Module, images: tuple[torch.Tensor, torch.Tensor]) -> None:
    expected = torch.zeros(sum(parameter.numel() for parameter in network.parameters()))
    for image, label in zip(*images, strict=True):
        network.zero_grad()
        torch.log_softmax(network(image[None]), dim=1)[0, label].backward()
        expected += torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]) ** 2
    torch.testing.assert_close(_fisher(network, *images), expected, rtol=1e-4, atol=1e-7)


def test_fisher_equals_nngeometry(network: nn.Module, images: tuple[torch.Tensor, torch.Tensor]) -> None:
    def negative_log_likelihood(inputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        return F.cross_entropy(network(inputs), labels, reduction="none")[:, None]

    # The squared Jacobian of the loss of each image, averaged: the empirical Fisher information.
    oracle = FIM(network, DataLoader(TensorDataset(*images), batch_size=5), PMatDiag, variant="regression",
                 function=negative_log_likelihood)
    torch.testing.assert_close(_fisher(network, *images) / N, oracle.get_diag(), rtol=1e-4, atol=1e-7)


def test_fisher_is_not_the_squared_gradient_of_the_batch_mean(
        network: nn.Module, images: tuple[torch.Tensor, torch.Tensor]) -> None:
    F.cross_entropy(network(images[0]), images[1]).backward()
    of_mean = torch.cat([p.grad.flatten() for p in network.parameters() if p.grad is not None]) ** 2
    assert (_fisher(network, *images) / N).sum() > 2 * of_mean.sum()


def test_fisher_of_a_stage(network: nn.Module, images: tuple[torch.Tensor, torch.Tensor]) -> None:
    def measured(stage: Any, wanted: int) -> torch.Tensor:
        method = ewc.build(ewc.Config(fisher_images=wanted), seed=0)
        method.after_stage(stage, network, _batches(*images, size=5))
        return _flat(method.state_dict())

    inputs, labels = images
    seven = _fisher(network, inputs[:7], labels[:7]) / 7
    torch.testing.assert_close(measured(FIRST, 7), seven, rtol=1e-5, atol=1e-8)
    torch.testing.assert_close(measured(FIRST, 100), _fisher(network, *images) / N, rtol=1e-5, atol=1e-8)
    six_each = 2 * _fisher(network, *images) / N
    torch.testing.assert_close(measured(PAIR, 6), six_each, rtol=1e-5, atol=1e-8)


def test_stages_add_up_and_leave_the_network_alone(
        network: nn.Module, images: tuple[torch.Tensor, torch.Tensor]) -> None:
    before = {name: value.clone() for name, value in network.state_dict().items()}
    method = ewc.build(ewc.Config(), seed=0)
    method.after_stage(FIRST, network, _batches(*images, size=N))
    once = _flat(method.state_dict())
    method.after_stage(SECOND, network, _batches(*images, size=N))
    torch.testing.assert_close(_flat(method.state_dict()), 2 * once)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(parameter.grad is None for parameter in network.parameters())


def test_frozen_weights_carry_no_importance(network: nn.Module, images: tuple[torch.Tensor, torch.Tensor]) -> None:
    everything = _fisher(network, *images)
    network.requires_grad_(False)
    network[7].requires_grad_(True)  # type: ignore[index]
    torch.testing.assert_close(_fisher(network, *images), everything[-12:])


def _linear(*weights: float) -> nn.Linear:
    layer = nn.Linear(1, 2, bias=False)
    layer.weight.data = torch.tensor(weights)[:, None]
    return layer


def test_penalty_by_hand() -> None:
    method = ewc.build(ewc.Config(weight=10.0), seed=0)
    method.load_state_dict({"weight": torch.tensor([[2.0], [3.0]])})
    method.before_stage(SECOND, _linear(1.0, -1.0))
    student = _linear(1.5, -3.0)
    batch: Any = SimpleNamespace(inputs=torch.ones(1, 1), labels=torch.tensor([0]))
    terms = method.loss(student, batch, student(batch.inputs))
    assert terms["penalty"].item() == pytest.approx(10.0 * (2.0 * 0.5**2 + 3.0 * 2.0**2))
    assert terms["total"].item() == pytest.approx(terms["cross_entropy"].item() + 10.0 * 12.5)
    terms["penalty"].backward()
    assert student.weight.grad is not None
    assert student.weight.grad.flatten().tolist() == pytest.approx([10.0 * 2 * 2.0 * 0.5, 10.0 * 2 * 3.0 * -2.0])


def test_penalty_and_gradient_equal_autograd_in_any_memory_layout(network: nn.Module) -> None:
    source = torch.Generator().manual_seed(5)
    fisher = {name: torch.rand(p.shape, generator=source) for name, p in network.named_parameters()}
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    anchor = {name: p.detach().clone() for name, p in network.named_parameters()}
    method = ewc.build(ewc.Config(weight=1.0), seed=0)
    method.load_state_dict(fisher)
    method.before_stage(SECOND, network)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter += torch.rand(parameter.shape, generator=source)
    batch: Any = SimpleNamespace(inputs=torch.zeros(1, 3, 9, 9), labels=torch.tensor([0]))
    penalty = method.loss(network, batch, torch.zeros(1, 2))["penalty"]
    expected = torch.stack([(fisher[name] * (p - anchor[name]) ** 2).sum()
                            for name, p in network.named_parameters()]).sum()
    torch.testing.assert_close(penalty, expected)
    parameters = list(network.parameters())
    for own, other in zip(torch.autograd.grad(3 * penalty, parameters), torch.autograd.grad(3 * expected, parameters),
                          strict=True):
        torch.testing.assert_close(own, other)


def test_the_anchor_is_where_the_last_stage_ended_whatever_is_learned_then() -> None:
    method = ewc.build(ewc.Config(weight=1.0), seed=0)
    method.load_state_dict({"weight": torch.ones(2, 1)})
    network = _linear(1.0, 2.0)
    method.before_stage(SECOND, network)
    batch: Any = SimpleNamespace(inputs=torch.ones(1, 1), labels=torch.tensor([0]))
    with torch.no_grad():
        network.weight += 1.0
    assert method.loss(network, batch, network(batch.inputs))["penalty"].item() == pytest.approx(2.0)


def test_a_parent_without_importance_is_refused() -> None:
    with pytest.raises(UserError, match="no Fisher information"):
        ewc.build(ewc.Config(), seed=0).before_stage(SECOND, _linear(1.0, 2.0))


def test_the_importance_of_another_network_is_refused() -> None:
    method = ewc.build(ewc.Config(), seed=0)
    method.load_state_dict({"weight": torch.ones(3, 1)})
    with pytest.raises(UserError, match=r"another network: weight differs"):
        method.before_stage(SECOND, _linear(1.0, 2.0))
