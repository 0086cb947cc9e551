"""A network of fixed weights that sees the residual of pictures."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from fakemedia.core import plugin
from fakemedia.networks.detector import Detector
from fakemedia.networks.features import body_sha256, features
from fakemedia.networks.residual import EvenResidual


def build(seed: int = 0, **settings) -> Detector:
    settings = {"pretrained": "none", "taps": "early", **settings}
    return plugin.create("networks", "efficientnet_lite0", settings, seed).eval()


def pictures(contrast: float = 1.0) -> torch.Tensor:
    noise = np.random.default_rng(3).uniform(-60, 60, (2, 3, 32, 32))
    return torch.from_numpy(np.rint(128 + contrast * noise).astype(np.uint8))


@pytest.mark.parametrize("std", [0.5, 0.225])
def test_the_spread_is_that_of_ordinary_pictures_and_extremes_are_cut_off(std):
    changed = EvenResidual(std)(pictures().float() / (255 * std))
    assert changed.square().mean((1, 2, 3)).sqrt() * std == pytest.approx([0.25, 0.25], rel=0.02)
    spike = torch.zeros(1, 3, 32, 32)
    spike[0, :, 16, 16] = 1 / std
    assert EvenResidual(std)(spike).abs().max() * std == pytest.approx(1.5)


def test_what_contrast_and_brightness_change_the_network_does_not_see():
    front = EvenResidual(0.5)
    inputs = pictures().float() / 128
    torch.testing.assert_close(front(0.3 * inputs + 0.1), front(inputs), rtol=1e-4, atol=1e-4)
    assert not front(torch.full((1, 3, 16, 16), 0.7)).abs().max() > 1e-4


def test_features_depend_on_contrast_of_pixels_but_hardly_of_the_residual():
    def change(**settings) -> float:
        network = build(**settings)
        with torch.no_grad():
            high, low = features(network, pictures()), features(network, pictures(0.4))
        return float((high - low).norm() / high.norm())

    assert change(input="residual") < 0.05 < 0.2 < change()


def test_the_input_has_no_weights_and_is_part_of_what_features_depend_on():
    pixels, residual = build(), build(input="residual")
    assert list(pixels.state_dict()) == list(residual.state_dict())
    assert body_sha256(pixels) != body_sha256(residual) == body_sha256(build(input="residual"))


def test_an_exported_file_sees_the_same(tmp_path):
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    front, inputs = EvenResidual(0.5).eval(), pictures().float() / 128
    program = torch.onnx.export(front, (inputs,), dynamo=True, verbose=False, input_names=["inputs"],
                                dynamic_shapes={"inputs": {0: torch.export.Dim("N")}})
    session = onnxruntime.InferenceSession(program.model_proto.SerializeToString(), providers=["CPUExecutionProvider"])
    for count in (1, 2):
        (found,) = session.run(None, {"inputs": inputs[:count].numpy()})
        np.testing.assert_allclose(found, front(inputs[:count]), rtol=0, atol=1e-5)
