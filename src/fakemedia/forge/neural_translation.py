"""Image-to-image translation by a trained network: the picture comes out of a CycleGAN, its colours stay.

The generator of Zhu et al. 2017 (an encoder, residual blocks, a decoder with transposed convolutions) trained to make
photographs look old, from the package vintagify (MIT licence, weights by the package's author). Only the luminance of
the result is used, with the mean and contrast of the picture, so that neither colour nor brightness indicates a fake.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fakemedia.core.errors import UserError
from fakemedia.forge.filters import repainted, to_uint8
from fakemedia.forge.installed import installed_file, one_thread

if TYPE_CHECKING:
    from torch import Tensor, nn

PACKAGE = "vintagify"
STRIDE = 4
"""The network halves the picture twice."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """How much of the translation."""

    strength: float = 0.5
    """Share of the translated picture in the result, above 0 and up to 1; the rest is the photograph."""

    def __post_init__(self) -> None:
        if not 0 < self.strength <= 1:
            raise ValueError("strength above 0 and up to 1")


def weights_file(config: Config) -> Path:
    """Return the file with the weights; UserError if the package is missing."""
    return installed_file(PACKAGE, "G_A2B_epoch33.pth")


def generator_from(state: Mapping[str, Tensor]) -> nn.Module:
    """Return the generator with the weights `state`, which determine its width and its number of residual blocks.

    It maps images (N, 3, H, W) in -1..1, sides divisible by 4, to images of the same size and range. Raises
    RuntimeError or KeyError for weights of another network.
    """
    from torch import nn

    class Residual(nn.Module):
        def __init__(self, width: int) -> None:
            super().__init__()
            layers = [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width, affine=True)]
            second = [nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.InstanceNorm2d(width, affine=True)]
            self.block = nn.Sequential(*layers, nn.ReLU(), *second)

        def forward(self, images: Tensor) -> Tensor:
            return images + self.block(images)

    def normalised(layer: nn.Module, width: int) -> list[nn.Module]:
        return [layer, nn.InstanceNorm2d(width, affine=True), nn.ReLU()]

    width = state["model.1.weight"].shape[0]
    blocks = sum(name.endswith("block.1.weight") for name in state)
    layers: list[nn.Module] = [
        nn.ReflectionPad2d(3), *normalised(nn.Conv2d(3, width, 7), width),
        *normalised(nn.Conv2d(width, 2 * width, 3, 2, 1), 2 * width),
        *normalised(nn.Conv2d(2 * width, 4 * width, 3, 2, 1), 4 * width),
        *(Residual(4 * width) for _ in range(blocks)),
        *normalised(nn.ConvTranspose2d(4 * width, 2 * width, 3, 2, 1, 1), 2 * width),
        *normalised(nn.ConvTranspose2d(2 * width, width, 3, 2, 1, 1), width),
        nn.ReflectionPad2d(3), nn.Conv2d(width, 3, 7), nn.Tanh(),
    ]
    model = nn.Sequential(*layers)
    model.load_state_dict({name.removeprefix("model."): tensor for name, tensor in state.items()})
    return model.eval()


def _read(path: Path) -> nn.Module:
    import torch

    try:
        return generator_from(torch.load(path, map_location="cpu", weights_only=True))
    except (KeyError, RuntimeError) as error:
        raise UserError("The network cannot be read", where=path, expected="the generator of vintagify 0.1",
                        do=f"install another version of the package ({error})") from None


def build(config: Config) -> Callable[..., tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return the forging function: crop -> (the crop, the crop translated)."""
    import torch

    network = _read(weights_file(config))

    def make(crop: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        height, width = crop.shape[:2]
        padded = np.pad(crop.astype(np.float32), ((0, -height % STRIDE), (0, -width % STRIDE), (0, 0)), mode="edge")
        with one_thread():
            output = network(torch.from_numpy(padded / 127.5 - 1).permute(2, 0, 1)[None])
            translated = 127.5 * (output[0].permute(1, 2, 0).numpy()[:height, :width] + 1)
        return crop, to_uint8(repainted(crop, translated, config.strength))

    return make
