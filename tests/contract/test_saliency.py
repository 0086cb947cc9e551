"""Saliency maps of every network."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.networks import convnet
from fakemedia.networks.base import Detector
from fakemedia.scoring.overlays import overlay
from fakemedia.scoring.saliency import METHODS, grad_cam, method_of, saliency

NAMES = plugin.names("networks")
SIDE = 64


@cache
def _shared(name: str) -> Detector:
    return plugin.create("networks", name, {"pretrained": "none"}, 1)


def _images(n: int = 2, side: int = SIDE) -> torch.Tensor:
    return torch.randint(0, 256, (n, 3, side, side), generator=torch.Generator().manual_seed(7), dtype=torch.uint8)


@pytest.mark.parametrize("name", NAMES)
def test_maps_of_every_network(name: str) -> None:
    network = _shared(name).train()
    network.body.eval()
    before = {key: value.clone() for key, value in network.state_dict().items()}
    modes = [module.training for module in network.modules()]
    images = _images()
    maps = saliency(network, images, method_of(name))
    assert maps.shape == (2, SIDE, SIDE)
    assert maps.dtype == np.float32
    assert np.isfinite(maps).all()
    assert maps.min() >= 0
    assert set(maps.max(axis=(1, 2))) <= {0.0, 1.0}
    np.testing.assert_array_equal(maps, saliency(network, images, method_of(name)))
    np.testing.assert_allclose(saliency(network, images[:1], method_of(name)), maps[:1], atol=1e-3)
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    assert [module.training for module in network.modules()] == modes
    assert all(parameter.grad is None for parameter in network.parameters())
    assert torch.equal(images, _images())
    assert not any(module._forward_hooks for module in network.modules())


def _planted(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, list[tuple[int, int]]]:
    """Return smooth images, half of them with a noisy patch of 16 pixels a side; labels; where the patches are."""
    generator = torch.Generator().manual_seed(seed)
    images = 128 + 2 * torch.randn(n, 3, SIDE, SIDE, generator=generator)
    labels = torch.arange(n) % 2
    places = torch.randint(4, SIDE - 20, (n, 2), generator=generator).tolist()
    for image, label, (top, left) in zip(images, labels, places, strict=True):
        if label:
            image[:, top:top + 16, left:left + 16] += 40 * torch.randn(3, 16, 16, generator=generator)
    return images.clamp(0, 255).to(torch.uint8), labels, places


def _learned(network: Detector, steps: int, lr: float) -> Detector:
    """Return the network after it has learned to tell images with a noisy patch from those without."""
    optimizer = torch.optim.AdamW(network.parameters(), lr=lr)
    network.train()
    for step in range(steps):
        images, labels, _ = _planted(16, step)
        loss = F.cross_entropy(network(network.prepare(images)), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    network.zero_grad()
    return network.eval()


@pytest.mark.parametrize("name", [
    "convnet", *(pytest.param(name, marks=pytest.mark.slow) for name in NAMES if name != "convnet")])
def test_maps_point_at_the_patch_that_decides(name: str) -> None:
    network = _learned(plugin.create("networks", name, {"pretrained": "none"}, 0), steps=40,
                       lr=3e-4 if name == "vit" else 3e-3)
    images, labels, places = _planted(16, seed=10**6)
    with torch.no_grad():
        called = network(network.prepare(images)).argmax(1)
    assert (called == labels).float().mean() > 0.9
    maps = saliency(network, images, method_of(name))
    inside = []
    for values, (top, left) in zip(maps[labels == 1], (place for place, label in zip(places, labels, strict=True)
                                                       if label), strict=True):
        y, x = np.unravel_index(values.argmax(), values.shape)
        inside.append(top - 8 <= y < top + 24 and left - 8 <= x < left + 24)
    assert np.mean(inside) >= 0.75


def test_small_crops_are_explained_by_an_earlier_map() -> None:
    maps = grad_cam(_shared("resnet18").eval(), _shared("resnet18").prepare(_images(side=32)).requires_grad_())
    assert len(np.unique(maps[0])) > 16


def test_a_network_without_feature_maps_is_told_what_to_say() -> None:
    flat = Detector(torch.nn.Flatten(), 3 * 8 * 8, mean=(0, 0, 0), std=(1, 1, 1))
    with pytest.raises(UserError, match='SALIENCY = "input_gradient"'):
        saliency(flat, _images(side=8), "grad_cam")
    assert saliency(flat, _images(side=8), "input_gradient").shape == (2, 8, 8)


def test_nothing_speaks_for_fake() -> None:
    network = convnet.build(convnet.Config(), 0)
    torch.nn.init.zeros_(network.head.weight)
    assert not saliency(network, _images(), "grad_cam").any()


def test_every_network_names_a_method_that_is_there() -> None:
    assert {method_of(name) for name in NAMES} <= METHODS.keys()


def test_overlay_is_the_crop_beside_its_marked_copy() -> None:
    crop = np.full((50, 50, 3), 90, np.uint8)
    evidence = np.zeros((50, 50), np.float32)
    evidence[30:, 30:] = 1
    marked = np.asarray(overlay(crop, evidence, p_fake=1.0, verdict="fake"))
    side = 300
    assert (marked[:side, :side] == 90).all()
    assert (marked[:200 // 2, side + 8:side + 8 + 100] == 90).all()
    assert (marked[side - 40:side, -40:] != 90).any()
    real = np.asarray(overlay(crop, evidence, p_fake=0.0, verdict="real"))
    assert (real[:side, side + 8:] == 90).all()
