"""What the training loop expects of every method."""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace

import pytest
import torch

from fakemedia.core import plugin
from fakemedia.core.types import make_stages
from fakemedia.methods.method import Strategy
from fakemedia.networks import convnet
from fakemedia.networks.detector import Detector
from fakemedia.store.batches import Batch

FIRST, SECOND = make_stages([("a",), ("b",)])
CASES = [(name, preset) for name in plugin.names("methods")
         for preset in (None, *getattr(plugin.load("methods", name), "PRESETS", {}))]


def _network(seed: int) -> Detector:
    return convnet.build(convnet.Config(width=8, depth=3), seed)


def _batch(network: Detector, seed: int) -> Batch:
    source = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (6, 3, 12, 12), generator=source, dtype=torch.uint8)
    labels = torch.arange(6) % 2
    return Batch(images=images, labels=labels, tasks=torch.zeros_like(labels), rows=torch.arange(6),
                 inputs=network.prepare(images))


def _strategy(name: str, preset: str | None) -> Strategy:
    settings = {} if preset is None else {"preset": preset}
    return plugin.load("methods", name).build(plugin.resolve("methods", name, settings), seed=1)


def _terms(strategy: Strategy, network: Detector, batch: Batch) -> dict[str, torch.Tensor]:
    batch = strategy.mix(batch)
    batch = replace(batch, inputs=network.prepare(batch.images))
    return strategy.loss(network, batch, network(batch.inputs))


def _at_second_stage(strategy: Strategy) -> Detector:
    """Bring `strategy` to its second stage; return a network that has moved away from the first stage's end."""
    parent = _network(seed=1)
    strategy.before_stage(FIRST, parent)
    parent.eval()
    strategy.after_stage(FIRST, parent, [_batch(parent, 1), _batch(parent, 2)])
    strategy.before_stage(SECOND, parent)
    return _network(seed=2)


@pytest.fixture(autouse=True)
def global_randomness_untouched() -> Iterator[None]:
    before = torch.get_rng_state()
    yield
    assert torch.equal(before, torch.get_rng_state())


@pytest.mark.parametrize(("name", "preset"), CASES)
class TestEveryStrategy:
    def test_first_stage_is_fine_tuning_bit_for_bit(self, name: str, preset: str | None) -> None:
        network = _network(seed=1)
        batch = _batch(network, 3)
        losses = []
        for strategy in (_strategy(name, preset), _strategy("finetune", None)):
            strategy.before_stage(FIRST, network)
            losses.append(_terms(strategy, network, batch)["total"])
        assert torch.equal(*losses)

    def test_terms_are_finite_scalars(self, name: str, preset: str | None) -> None:
        strategy = _strategy(name, preset)
        network = _at_second_stage(strategy)
        terms = _terms(strategy, network, _batch(network, 3))
        assert "total" in terms
        for term in terms.values():
            assert term.shape == ()
            assert term.dtype == torch.float32
            assert torch.isfinite(term)

    def test_total_reaches_every_parameter(self, name: str, preset: str | None) -> None:
        strategy = _strategy(name, preset)
        network = _at_second_stage(strategy)
        _terms(strategy, network, _batch(network, 3))["total"].backward()
        strategy.after_backward(network)
        assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in network.parameters())

    def test_half_precision_logits_are_compared_in_full(self, name: str, preset: str | None) -> None:
        strategy = _strategy(name, preset)
        network = _at_second_stage(strategy)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            terms = _terms(strategy, network, _batch(network, 3))
        assert all(term.dtype == torch.float32 for term in terms.values())

    def test_state_round_trip_gives_the_same_loss(self, name: str, preset: str | None) -> None:
        whole = _strategy(name, preset)
        network = _at_second_stage(whole)
        for improved in (True, *[False] * 6):
            whole.after_epoch(improved)
        resumed = _strategy(name, preset)
        resumed.load_state_dict(deepcopy(whole.state_dict()))
        resumed.before_stage(SECOND, _network(seed=1))
        resumed.load_state_dict(deepcopy(whole.state_dict()))
        batch = _batch(network, 3)
        assert torch.equal(_terms(whole, network, batch)["total"], _terms(resumed, network, batch)["total"])
        assert all(isinstance(value, torch.Tensor) for value in whole.state_dict().values())

    def test_network_is_left_alone(self, name: str, preset: str | None) -> None:
        strategy = _strategy(name, preset)
        network = _at_second_stage(strategy)
        network.body[1].requires_grad_(False)  # type: ignore[index]
        batch = _batch(network, 3)
        logits = network(batch.inputs)
        modes = [module.training for module in network.modules()]
        weights = {key: value.clone() for key, value in network.state_dict().items()}
        fresh = _strategy(name, preset)
        fresh.before_stage(FIRST, network)
        fresh.loss(network, batch, logits)["total"].backward()
        fresh.after_backward(network)
        fresh.after_epoch(True)
        fresh.after_stage(FIRST, network, [batch])
        fresh.before_stage(SECOND, network)
        assert [module.training for module in network.modules()] == modes
        assert [p.requires_grad for p in network.body[1].parameters()] == [False]  # type: ignore[index]
        assert all(p.requires_grad for p in network.head.parameters())
        assert all(torch.equal(value, weights[key]) for key, value in network.state_dict().items())

    def test_what_is_held_of_the_parent_takes_no_gradient(self, name: str, preset: str | None) -> None:
        strategy = _strategy(name, preset)
        network = _at_second_stage(strategy)
        batch = _batch(network, 3)
        held = [value for value in vars(strategy).values() if isinstance(value, torch.nn.Module)]
        _terms(strategy, network, batch)["total"].backward()
        assert all(p.grad is None and not p.requires_grad for module in held for p in module.parameters())
        assert not any(module.training for top in held for module in top.modules())
