"""Reader of networks in the format of ncnn: a plain chain of convolutions, described in text, weights in one file.

The text (`.param`) has one line a layer: type, name, number of inputs and outputs, their names, then `key=value`. Keys
of convolutions: 0 outputs, 1 kernel, 3 stride, 4 padding, 5 bias, 6 number of weights, 9 activation. The weights
(`.bin`) of each layer follow a tag of their type, then come the biases in float32
(github.com/Tencent/ncnn, docs/developer-guide/param-and-model-file-structure.md).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fakemedia.core.errors import UserError

if TYPE_CHECKING:
    from torch import Tensor

FLOAT16_TAG = 0x01306B47
"""Tag of weights in float16; 0 is that of float32."""
LAYER_KINDS = {"Convolution", "Deconvolution"}
LEAKY_RELU = "2"
"""Key 9 of a layer with a leaky ReLU; -23310 is its list of parameters: their number, the slope."""


@dataclass(frozen=True, kw_only=True)
class Layer:
    """One convolution with what follows it."""

    weight: Tensor
    """Float32: (outputs, inputs, k, k), of a transposed convolution (inputs, outputs, k, k)."""
    bias: Tensor
    """Float32 (outputs,)."""
    transposed: bool
    stride: int
    padding: int
    """Rows and columns that a convolution adds, or a transposed one cuts off, at each side."""
    slope: float
    """Slope of the leaky ReLU below 0; 1: there is none."""

    def __call__(self, images: Tensor) -> Tensor:
        """Return the layer's output for float images (N, C, H, W)."""
        from torch.nn import functional

        convolve = functional.conv_transpose2d if self.transposed else functional.conv2d
        output = convolve(images, self.weight, self.bias, stride=self.stride, padding=self.padding)
        return output if self.slope == 1 else functional.leaky_relu(output, self.slope)


def read_chain(param: Path) -> tuple[Layer, ...]:
    """Return the layers of the chain in `param` and the `.bin` file beside it.

    UserError for another format, for a layer that is not a convolution, and for weights that do not match.
    """
    lines = [line.split() for line in param.read_text(encoding="utf-8").splitlines()]
    if not lines or lines[0] != ["7767517"]:
        raise _unreadable(param, "a text file of ncnn")
    data, offset, layers = param.with_suffix(".bin").read_bytes(), 0, []
    for fields in lines[2:]:
        if fields[0] == "Input":
            continue
        if fields[0] not in LAYER_KINDS or fields[2:4] != ["1", "1"]:
            raise _unreadable(param, "a chain of convolutions")
        try:
            layer, offset = _read_layer(fields[0], dict(field.split("=") for field in fields[6:]), data, offset)
        except (KeyError, ValueError, struct.error):
            raise _unreadable(param, "weights for every layer") from None
        layers.append(layer)
    if offset != len(data):
        raise _unreadable(param, "no weights beside those of the layers")
    return tuple(layers)


def _read_layer(kind: str, keys: dict[str, str], data: bytes, offset: int) -> tuple[Layer, int]:
    """Return the layer whose weights begin at byte `offset`, and the offset of the next."""
    import torch

    outputs, side, count = int(keys["0"]), int(keys["1"]), int(keys["6"])
    (tag,) = struct.unpack_from("<I", data, offset)
    if tag not in (0, FLOAT16_TAG) or keys.get("5") != "1" or keys.get("9", LEAKY_RELU) != LEAKY_RELU:
        raise ValueError
    dtype = np.dtype("<f2" if tag else "<f4")
    weight = np.frombuffer(data, dtype, count, offset + 4).astype(np.float32).reshape(outputs, -1, side, side)
    offset += 4 + -(-count * dtype.itemsize // 4) * 4  # Weights fill whole words of four bytes.
    bias = np.frombuffer(data, "<f4", outputs, offset).copy()
    transposed = kind == "Deconvolution"
    return Layer(
        weight=torch.from_numpy(np.ascontiguousarray(weight.swapaxes(0, 1)) if transposed else weight),
        bias=torch.from_numpy(bias), transposed=transposed, stride=int(keys.get("3", 1)),
        padding=int(keys.get("4", 0)), slope=float(keys["-23310"].split(",")[1]) if "9" in keys else 1.0,
    ), offset + 4 * outputs


def _unreadable(param: Path, expected: str) -> UserError:
    return UserError("The network cannot be read", where=param, expected=expected,
                     do="install the version of the package that requirements.lock names")
