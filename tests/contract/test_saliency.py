"""Saliency maps of every network."""

from __future__ import annotations

from copy import deepcopy
from functools import cache

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.networks import convnet
from fakemedia.networks.detector import Detector
from fakemedia.scoring.overlays import _merged_maps, overlay
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


def _planted(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor, list[list[int]]]:
    """Return smooth images, half of them with a noisy patch of 16 pixels a side; labels; where the patches are."""
    generator = torch.Generator().manual_seed(seed)
    images = 128 + 2 * torch.randn(n, 3, SIDE, SIDE, generator=generator)
    labels = torch.arange(n) % 2
    places = torch.randint(4, SIDE - 20, (n, 2), generator=generator).tolist()
    for image, label, (top, left) in zip(images, labels, places, strict=True):
        if label:
            image[:, top:top + 16, left:left + 16] += 40 * torch.randn(3, 16, 16, generator=generator)
    return images.clamp(0, 255).to(torch.uint8), labels, places


def test_grad_cam_points_at_the_patch_that_decides() -> None:
    network = plugin.create("networks", "convnet", {"pretrained": "none"}, 0).train()
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for step in range(40):
        images, labels, _ = _planted(16, step)
        optimizer.zero_grad()
        F.cross_entropy(network(network.prepare(images)), labels).backward()
        optimizer.step()
    network.eval()
    images, labels, places = _planted(32, seed=10**6)
    with torch.no_grad():
        assert (network(network.prepare(images)).argmax(1) == labels).float().mean() > 0.9
    maps = saliency(network, images, "grad_cam")
    inside = []
    for values, label, (top, left) in zip(maps, labels, places, strict=True):
        if label:
            y, x = np.unravel_index(values.argmax(), values.shape)
            inside.append(top - 8 <= y < top + 24 and left - 8 <= x < left + 24)
    assert np.mean(inside) >= 0.75


@pytest.mark.parametrize("name", [name for name in NAMES if method_of(name) == "grad_cam"])
def test_grad_cam_is_cam_where_the_head_reads_the_mean_of_the_last_map(name: str) -> None:
    """Selvaraju et al. 2017, Section 3.1: Grad-CAM generalises CAM (Zhou et al., CVPR 2016, Eq. 2)."""
    network = deepcopy(_shared(name)).eval()
    torch.nn.init.uniform_(network.head.weight[1], -0.2, 1, generator=torch.Generator().manual_seed(0))
    images = _images(1, side=224 if name != "convnet" else SIDE)
    with torch.no_grad():
        inputs = network.prepare(images)
        last = network.body[:-2](inputs) if name == "convnet" else network.body.forward_features(inputs)
        weights = network.head.weight[1] - network.head.weight[0]
        cam = F.relu(torch.einsum("k,nkhw->nhw", weights, last))
        expected = F.interpolate(cam[:, None], images.shape[2:], mode="bilinear")[0, 0].numpy()
    assert expected.max() > 0
    np.testing.assert_allclose(saliency(network, images, "grad_cam")[0], expected / expected.max(), atol=1e-3)


class _Window(torch.nn.Module):
    """Lets through what lies in a window of 16 pixels a side at (20, 32)."""

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        mask = torch.zeros_like(inputs)
        mask[:, :, 20:36, 32:48] = 1
        return inputs * mask


@pytest.mark.parametrize("name", [name for name in NAMES if method_of(name) == "input_gradient"])
def test_input_gradient_points_at_the_window_that_decides(name: str) -> None:
    network = plugin.create("networks", name, {"pretrained": "none"}, 0)
    network.body = torch.nn.Sequential(_Window(), network.body)
    for values in saliency(network, _images(), "input_gradient"):
        y, x = np.unravel_index(values.argmax(), values.shape)
        assert 20 <= y < 36
        assert 32 <= x < 48
        assert values[20:36, 32:48].sum() > 0.8 * values.sum()


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


def test_overlay_is_the_picture_beside_its_marked_copy() -> None:
    picture = np.full((60, 100, 3), 90, np.uint8)
    maps = np.zeros((2, 24, 24), np.float32)
    maps[1] = 1
    page = np.asarray(overlay(picture, maps, np.array([[0, 0], [30, 70]]), p_fake=0.9, verdict="fake"))
    plain, marked = page[:180, :300], page[:180, 308:608]
    assert (plain[80:, :200] == 90).all()
    assert (plain[90, 212:280] != 90).all()  # the outline
    assert (marked[:, :180] == 90).all()
    assert (marked[100:150, 220:270] != 90).any(axis=2).all()
    nothing = np.asarray(overlay(picture, 0 * maps, np.array([[0, 0], [30, 70]]), p_fake=0.0, verdict="not flagged"))
    assert (nothing[:180, 308:608] == 90).all()
    empty = overlay(picture, maps[:0], np.zeros((0, 2), int), p_fake=np.nan, verdict="unsure")
    assert (np.asarray(empty)[:180, 308:608] == 90).all()


def test_maps_of_padded_and_overlapping_crops_are_at_their_places() -> None:
    maps = np.ones((2, 8, 8), np.float32)
    maps[1] = 0.5
    found = _merged_maps((6, 10), maps, np.array([[-1, -2], [-1, 2]]))
    assert (found[:, :6] == 1).all()
    assert (found[:, 6:] == 0.5).all()
