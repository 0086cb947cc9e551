"""`mmd`: maximum mean discrepancy between the features of two tasks, with the cubic kernel.

Formula: with k(x, y) = (x.y / D + 1)^3, the unbiased estimate of MMD^2 is
mean_{i != j} k(x_i, x_j) + mean_{i != j} k(y_i, y_j) - 2 mean_{i, j} k(x_i, y_j); values below 0 are reported as 0.
Source: Gretton et al., "A kernel two-sample test" (JMLR 2012), lemma 6; Binkowski et al., "Demystifying MMD GANs"
(ICLR 2018), whose KID is this value.
Range: [0, inf). Cost: N^2 D a task and a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from fakemedia.core.types import FAKE, REAL
from fakemedia.similarity.measure import Measure, TaskSample
from fakemedia.similarity.pair_means import mean_of_others


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which images are compared."""

    images: Literal["fake", "real"] = "fake"
    """`real` shows how much of the similarity is shared content."""


@dataclass(frozen=True)
class Cloud:
    """Features (N, D) and the mean of the kernel over their pairs of different images."""

    features: NDArray[np.float64]
    within: float


def kernel(x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return k(x_i, y_j), float64 (N, M), for features (N, D) and (M, D)."""
    return (x @ y.T / x.shape[1] + 1) ** 3


def summarise_cloud(features: NDArray[np.float64]) -> Cloud:
    """Return the features (N, D), N >= 2, with their mean kernel."""
    return Cloud(features, mean_of_others(kernel(features, features)))


def squared_mmd(a: Cloud, b: Cloud) -> float:
    """Return the unbiased estimate of MMD^2, which may be below 0."""
    return a.within + b.within - 2 * float(kernel(a.features, b.features).mean())


def build(config: Config) -> Measure:
    """Return the measure over the features of the fake or the real images."""
    label = FAKE if config.images == "fake" else REAL

    def summarise(sample: TaskSample) -> Cloud:
        return summarise_cloud(sample.features[sample.of(label)])

    return Measure(summarise=summarise, distance=lambda a, b: max(0.0, squared_mmd(a, b)), reads="features")
