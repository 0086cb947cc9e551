"""Which weights are trained: what is frozen stays as it is, and low-rank updates merge."""

from __future__ import annotations

from copy import deepcopy

import pytest
import torch
from torch import Tensor, nn

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.tune import Tune, read_tune
from fakemedia.networks.detector import Detector, HeadShape
from fakemedia.networks.taps import Blocks, block_statistics
from fakemedia.networks.tuning import merge, norm_layers, parameter_groups, tune

VIT = {"name": "timm", "architecture": "vit_tiny_patch16_224", "options": {"depth": 2, "embed_dim": 48, "num_heads": 3}}
RESNET = {"name": "timm", "architecture": "resnet18", "options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}}


def build(name: str, **settings: object) -> Detector:
    return plugin.create("networks", name, {"pretrained": "none", **settings}, 1)


def images(n: int = 4, side: int = 32) -> Tensor:
    return torch.randint(0, 256, (n, 3, side, side), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)


def trained(network: Detector, steps: int = 3) -> dict[str, Tensor]:
    """Train all that is to be trained, with much decay, and return the state from before."""
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    optimizer = torch.optim.AdamW(parameter_groups(network, 0.5), lr=1e-2)
    network.train()
    for _ in range(steps):
        optimizer.zero_grad()
        nn.functional.cross_entropy(network(network.prepare(images())), torch.tensor([0, 1, 0, 1])).backward()
        optimizer.step()
    return before


def changed(network: Detector, before: dict[str, Tensor]) -> set[str]:
    return {name for name, tensor in network.state_dict().items() if not torch.equal(tensor, before[name])}


@pytest.mark.parametrize("settings", [{"name": "convnet"}, VIT, RESNET])
@pytest.mark.parametrize("taps", ["head", "both"])
def test_tuning_the_head_leaves_the_body_bit_for_bit(settings: dict, taps: str) -> None:
    network = tune(build(**settings, taps=taps, head="mlp", hidden=8), read_tune("head"))
    before = trained(network)
    assert changed(network, before) == {"head.0.weight", "head.0.bias", "head.2.weight", "head.2.bias"}
    assert not any(layer.training for layer in network.body.modules())
    assert network.head.training


@pytest.mark.parametrize("settings", [{"name": "convnet"}, VIT, RESNET])
def test_tuning_the_norms_changes_them_and_the_head_alone(settings: dict) -> None:
    network = tune(build(**settings), read_tune("norm"))
    before = trained(network)
    norms = {id(tensor) for layer in norm_layers(network.body) for tensor in (*layer.parameters(), *layer.buffers())}
    expected = {name for name, tensor in network.state_dict(keep_vars=True).items()
                if id(tensor) in norms or name.startswith("head.")}
    assert changed(network, before) == expected


@pytest.mark.parametrize("settings", [VIT, RESNET])
class TestLowRank:
    def test_it_begins_as_the_identity(self, settings: dict) -> None:
        network = build(**settings).eval()
        inputs = network.prepare(images())
        with torch.no_grad():
            expected = network(inputs)
            assert torch.equal(tune(network, read_tune("lora:4"), seed=3)(inputs), expected)

    def test_only_the_update_and_the_head_are_trained_and_it_merges(self, settings: dict) -> None:
        network = tune(build(**settings), read_tune("lora:4"), seed=3)
        before = trained(network)
        found = changed(network, before)
        assert all(name.startswith("head.") or name.endswith((".down", ".up")) for name in found)
        assert sum(name.endswith(".up") for name in found) >= 3
        network.eval()
        inputs, names = network.prepare(images()), set(build(**settings).state_dict())
        with torch.no_grad():
            expected = network(inputs)
            copied = deepcopy(network)
            torch.testing.assert_close(copied(inputs), expected, atol=1e-6, rtol=0)
            torch.testing.assert_close(merge(network)(inputs), expected, atol=1e-6, rtol=0)
        assert set(network.state_dict()) == names
        assert torch.equal(tune(network, read_tune("lora"), seed=4)(inputs), merge(network)(inputs))

    def test_the_seed_fixes_the_update(self, settings: dict) -> None:
        one, same, other = (tune(build(**settings), read_tune("lora"), seed=seed).state_dict() for seed in (1, 1, 2))
        drawn = [name for name in one if name.endswith(".down")]
        assert all(torch.equal(one[name], same[name]) for name in drawn)
        assert not torch.equal(one[drawn[0]], other[drawn[0]])


def test_a_network_without_a_place() -> None:
    with pytest.raises(UserError, match="no attention or 1x1 convolutions"):
        tune(build("convnet"), read_tune("lora"))
    plain = Detector(nn.Flatten(), 48, mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(UserError, match="no normalisation layers"):
        tune(plain, read_tune("norm"))


def test_tuning_all_frees_what_was_frozen() -> None:
    network = tune(tune(build("convnet"), read_tune("head")), read_tune("all")).train()
    assert all(weight.requires_grad for weight in network.parameters())
    assert all(layer.training for layer in network.modules())


@pytest.mark.parametrize("settings", [{"name": "convnet"}, VIT, RESNET,
                                      {"name": "timm", "architecture": "swin_tiny_patch4_window7_224"}])
def test_parameter_groups_are_timm_s(settings: dict) -> None:
    from timm.optim import param_groups_weight_decay

    network = build(**settings)
    exempt = {f"body.{name}" for name in network.body.no_weight_decay()} if hasattr(
        network.body, "no_weight_decay") else set()
    expected = param_groups_weight_decay(network, 0.3, no_weight_decay_list=exempt)
    for own, theirs in zip(parameter_groups(network, 0.3), expected, strict=True):
        assert own["weight_decay"] == theirs["weight_decay"]
        assert [id(weight) for weight in own["params"]] == [id(weight) for weight in theirs["params"]]


@pytest.mark.parametrize("text", ["lora:0", "lora:x", "lora:4:-1", "lora:4:inf", "lora:4:2:1", "head:3", "haed", None])
def test_ways_that_are_none(text: object) -> None:
    with pytest.raises(UserError):
        read_tune(text)


def test_ways_to_tune() -> None:
    assert read_tune("lora:4:2") == Tune(kind="lora", rank=4, alpha=2.0)
    assert read_tune("lora") == Tune(kind="lora", rank=8, alpha=16.0)
    assert read_tune("norm").kind == "norm"


class _Layout(nn.Module):
    """Gives its input as an output of three kinds of memory order."""

    def __init__(self, order: str) -> None:
        super().__init__()
        self.block = nn.Identity()
        self.order = order

    def forward(self, maps: Tensor) -> Tensor:
        if self.order == "NHWC":
            maps = maps.permute(0, 2, 3, 1)
        if self.order == "tokens":
            maps = torch.cat([maps.new_full((len(maps), 2, maps.shape[1]), 9.0), maps.flatten(2).mT], 1)
        return self.block(maps)


@pytest.mark.parametrize("order", ["NCHW", "NHWC", "tokens"])
def test_statistics_of_a_block_whatever_its_order_in_memory(order: str) -> None:
    maps = torch.rand(2, 5, 3, 4, generator=torch.Generator().manual_seed(0))
    blocks = Blocks(names=("block",), prefix_tokens=2, channels_last=order == "NHWC")
    found = block_statistics(body := _Layout(order), blocks, maps)
    expected = torch.cat([maps.mean((2, 3)), maps.std((2, 3), correction=0)], 1)
    torch.testing.assert_close(found[0], expected, atol=1e-5, rtol=1e-5)
    assert not body.block._forward_hooks


@pytest.mark.parametrize("settings", [{"name": "convnet", "width": 8, "depth": 4}, VIT, RESNET])
def test_layers_that_no_tap_reads_are_computed_in_training_alone(settings: dict) -> None:
    network = build(**settings, taps="early").eval()
    last = network.body.get_submodule(network.blocks.names[-1])
    calls: list[bool] = []
    last.register_forward_hook(lambda *_: calls.append(network.body.training))
    inputs = network.prepare(images())
    features = network.features(inputs)
    torch.testing.assert_close(features, network.features(inputs, "blocks")[:, :features.shape[1]], atol=0, rtol=0)
    network.train().features(inputs)
    assert calls == [False, True]


@pytest.mark.parametrize(("settings", "width"), [
    ({"name": "convnet", "width": 8, "depth": 3}, 2 * (8 + 8 + 16)), (VIT, 2 * 2 * 48),
    (RESNET, 2 * (64 + 8 + 8 + 16 + 16)),
])
def test_taps_of_a_network(settings: dict, width: int) -> None:
    network = build(**settings, taps="both").eval()
    inputs = network.prepare(images())
    with torch.no_grad():
        pooled, early, blocks, both = (network.features(inputs, taps) for taps in ("head", "early", "blocks", "both"))
        assert torch.equal(network(inputs), network.classify(network.features(inputs)))
    assert blocks.shape == (4, width)
    assert network.width == both.shape[1]
    assert torch.equal(both, torch.cat([blocks, pooled], 1))
    assert 0 < early.shape[1] < width
    assert torch.equal(early, blocks[:, :early.shape[1]])
    assert build(**settings, taps="early").width == early.shape[1]


def test_early_blocks_are_the_first_half_and_the_middle_one() -> None:
    assert Blocks(names=("a", "b", "c")).early.names == ("a", "b")
    assert Blocks(names=("a", "b", "c", "d")).early.names == ("a", "b")


def test_a_network_without_blocks() -> None:
    with pytest.raises(UserError, match="has no blocks"):
        Detector(nn.Flatten(), 48, mean=(0, 0, 0), std=(1, 1, 1), head=HeadShape(taps="blocks"))
