"""Networks of the forge: how they are read from packages, and what is said if they cannot be."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn import functional

from fakemedia.core.errors import UserError
from fakemedia.core.plugin import create
from fakemedia.core.rng import generator
from fakemedia.forge import ForgeConfig, forge, is_forged, neural_sr, neural_translation
from fakemedia.forge.installed import installed_file, one_thread
from fakemedia.forge.ncnn import FLOAT16_TAG, read_chain

ONE = ForgeConfig(tasks={"sr": {"family": "neural_sr"}}, size=32, per_class={"train": 7, "val": 2, "test": 4})


def chain(folder: Path, *, half: bool, damage: bytes = b"") -> tuple[Path, list[torch.Tensor]]:
    """Write a convolution with a leaky ReLU and a transposed convolution; return the text file and their tensors."""
    random = np.random.default_rng(0)
    first, second = random.standard_normal((5, 3, 3, 3)), random.standard_normal((3, 5, 4, 4))  # Outputs first.
    biases = [random.standard_normal(5), random.standard_normal(3)]
    param = folder / "tiny.param"
    param.write_text("7767517\n3 3\nInput input 0 1 a\n"
                     "Convolution one 1 1 a b 0=5 1=3 5=1 6=135 9=2 -23310=1,0.100000\n"
                     "Deconvolution two 1 1 b c 0=3 1=4 3=2 4=3 5=1 6=240\n")
    form, tag = ("<f2", FLOAT16_TAG) if half else ("<f4", 0)
    weights = b""
    for weight, bias in zip((first, second), biases, strict=True):
        values = weight.astype(form).tobytes()
        weights += tag.to_bytes(4, "little") + values + b"\0" * (-len(values) % 4) + bias.astype("<f4").tobytes()
    param.with_suffix(".bin").write_bytes(weights + damage)
    given = [first, biases[0], second.swapaxes(0, 1), biases[1]]
    return param, [torch.from_numpy(np.ascontiguousarray(each, dtype=np.float32)) for each in given]


@pytest.mark.parametrize("half", [True, False])
def test_a_chain_is_read_as_it_was_written(tmp_path, half):
    param, (first, bias, second, last) = chain(tmp_path, half=half)
    image = torch.rand(2, 3, 12, 9, generator=torch.Generator().manual_seed(0))
    inside = functional.leaky_relu(functional.conv2d(image, first, bias), 0.1)
    expected = functional.conv_transpose2d(inside, second, last, stride=2, padding=3)
    found = image
    for layer in read_chain(param):
        found = layer(found)
    torch.testing.assert_close(found, expected, rtol=0, atol=0.02 if half else 1e-5)


@pytest.mark.parametrize("damage", ["more", "less", "other tag", "other layer", "no text"])
def test_a_damaged_chain_is_one_message(tmp_path, damage):
    param, _ = chain(tmp_path, half=True, damage=b"1234" if damage == "more" else b"")
    weights = param.with_suffix(".bin")
    if damage == "less":
        weights.write_bytes(weights.read_bytes()[:-4])
    if damage == "other tag":
        weights.write_bytes(b"1234" + weights.read_bytes()[4:])
    if damage == "other layer":
        param.write_text(param.read_text().replace("Deconvolution", "Pooling"))
    if damage == "no text":
        param.write_text("")
    with pytest.raises(UserError, match=r"network cannot be read[\s\S]*tiny\.param"):
        read_chain(param)


def test_a_missing_package_is_one_message():
    with pytest.raises(UserError, match=r"not installed[\s\S]*pip install no-such-package"):
        installed_file("no-such-package", "weights.bin")


def test_pictures_do_not_depend_on_the_number_of_threads():
    crop = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    made = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            made.append(create("forge", "neural_sr", {})(crop, generator(0))[1])
            assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)
    assert np.array_equal(*made)


def fail_with_one_thread() -> None:
    with one_thread():
        assert torch.get_num_threads() == 1
        raise ValueError("stop")


def test_one_thread_ends_with_the_threads_before_it():
    before = torch.get_num_threads()
    with pytest.raises(ValueError, match="stop"):
        fail_with_one_thread()
    assert torch.get_num_threads() == before


def test_a_task_is_forged_again_if_the_weights_have_changed(tmp_path, monkeypatch):
    forge(ONE, tmp_path, workers=1)
    assert is_forged(ONE, tmp_path, "sr")
    record = json.loads((tmp_path / "sr" / "forge.json").read_text())
    assert record["weights"] not in record["photographs"].values()
    other = neural_sr.weights_file(neural_sr.Config(trained_on="art"))
    monkeypatch.setattr(neural_sr, "weights_file", lambda config: other)
    assert not is_forged(ONE, tmp_path, "sr")


def test_the_generator_of_a_translation_is_told_by_its_weights():
    small = neural_translation.generator_from(tiny_generator(width=4, blocks=2))
    with torch.inference_mode():
        image = small(torch.zeros(1, 3, 16, 24))
    assert image.shape == (1, 3, 16, 24)
    assert image.abs().max() <= 1
    assert sum(parameter.numel() for parameter in small.parameters()) == sum(
        tensor.numel() for tensor in tiny_generator(width=4, blocks=2).values())


def test_weights_of_another_network_are_one_message(tmp_path, monkeypatch):
    torch.save({"model.1.weight": torch.zeros(4, 3, 7, 7)}, tmp_path / "other.pth")
    monkeypatch.setattr(neural_translation, "weights_file", lambda config: tmp_path / "other.pth")
    with pytest.raises(UserError, match=r"network cannot be read[\s\S]*vintagify"):
        create("forge", "neural_translation", {})


def tiny_generator(*, width: int, blocks: int) -> dict[str, torch.Tensor]:
    """Return weights by the names of the package: 3 layers down, residual blocks, 3 layers up."""
    shapes = {1: (width, 3, 7, 7), 4: (2 * width, width, 3, 3), 7: (4 * width, 2 * width, 3, 3)}
    after = 10 + blocks
    shapes |= {after: (4 * width, 2 * width, 3, 3), after + 3: (2 * width, width, 3, 3), after + 7: (3, width, 7, 7)}
    outputs = {1: width, 4: 2 * width, 7: 4 * width, after: 2 * width, after + 3: width, after + 7: 3}
    state = {}
    for layer, shape in shapes.items():
        state |= {f"model.{layer}.weight": torch.zeros(shape), f"model.{layer}.bias": torch.zeros(outputs[layer])}
        if layer != after + 7:
            state |= {f"model.{layer + 1}.{kind}": torch.ones(outputs[layer]) for kind in ("weight", "bias")}
    for block in range(10, after):
        for layer in (1, 5):
            place = f"model.{block}.block"
            state |= {f"{place}.{layer}.weight": torch.zeros(4 * width, 4 * width, 3, 3),
                      f"{place}.{layer}.bias": torch.zeros(4 * width)}
            state |= {f"{place}.{layer + 1}.{kind}": torch.ones(4 * width) for kind in ("weight", "bias")}
    return state
