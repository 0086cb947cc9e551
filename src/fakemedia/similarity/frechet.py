"""`frechet`: Frechet distance between Gaussians fitted to the features of two tasks.

Formula: d2(a, b) = |m_a - m_b|^2 + tr(C_a + C_b - 2 (C_a C_b)^(1/2)), the squared 2-Wasserstein distance.
Source: Dowson and Landau, "The Frechet distance between multivariate normal distributions" (1982); Heusel et al.,
"GANs trained by a two time-scale update rule" (NeurIPS 2017), whose FID is this value.
Range: [0, inf), in squared units of the features; biased upwards for few images (by about the same for every pair).
Cost: a singular value decomposition of N x D a task, one of min(N, D)^2 a pair.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import svd, svdvals

from fakemedia.core.types import FAKE, REAL
from fakemedia.similarity.measure import Measure, TaskSample


@dataclass(frozen=True, kw_only=True)
class Config:
    """Which images are compared."""

    images: Literal["fake", "real"] = "fake"
    """`real` shows how much of the similarity is shared content."""


@dataclass(frozen=True)
class Gaussian:
    """Mean (D,) and a factor (R, D) of the covariance: factor.T @ factor, R = min(N, D)."""

    mean: NDArray[np.float64]
    factor: NDArray[np.float64]


def fit_gaussian(features: NDArray[np.float64]) -> Gaussian:
    """Return the Gaussian with the mean and the unbiased covariance of `features` (N, D), N >= 2."""
    mean = features.mean(axis=0)
    _, values, directions = svd((features - mean) / np.sqrt(len(features) - 1), full_matrices=False)
    return Gaussian(mean, values[:, None] * directions)


def frechet_distance(a: Gaussian, b: Gaussian) -> float:
    """Return the squared Frechet distance, at least 0.

    tr (C_a C_b)^(1/2) is the sum of the singular values of factor_a factor_b^T: no matrix root is needed.
    """
    overlap = np.sum(svdvals(a.factor @ b.factor.T))
    spread = np.square(a.factor).sum() + np.square(b.factor).sum()
    return max(0.0, float(np.square(a.mean - b.mean).sum() + spread - 2 * overlap))


def build(config: Config) -> Measure:
    """Return the measure over the features of the fake or the real images."""
    label = FAKE if config.images == "fake" else REAL

    def summarise(sample: TaskSample) -> Gaussian:
        return fit_gaussian(sample.features[sample.of(label)])

    return Measure(summarise=summarise, distance=frechet_distance, reads="features")
