"""`logme`: the evidence lost when one linear model must explain the labels of two tasks.

Formula: L(a) = the largest log evidence ln p(y | X, alpha, beta) over the prior precision alpha and the noise
precision beta of Bayesian linear regression, with the features X of task a centred and labels y = -1 (real), +1
(fake); d(a, b) = (L(a) + L(b) - L(a and b together)) / (N_a + N_b), in nats an image; below 0 (one model explains both
better than two, as for two samples of one task) is reported as 0: the log Bayes factor of "two rules" over "one rule".
Source: the evidence and its fixed-point iteration are LogME's: You et al., "LogME: practical assessment of pre-trained
models for transfer learning" (ICML 2021), after MacKay (1992); LogME itself is L(a) / N_a. The distance is ours.
Range: [0, inf). Cost: N D^2 a task, an eigendecomposition of D^2 a pair, D = at most `components`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from fakemedia.core.rng import generator
from fakemedia.core.types import FAKE
from fakemedia.similarity.measure import Measure, TaskSample

Float = NDArray[np.float64]
ITERATIONS = 100
TOLERANCE = 1e-6


@dataclass(frozen=True, kw_only=True)
class Config:
    """Width of the linear model."""

    components: int = 256
    """Wider features are reduced to this width by a random Gaussian projection (Johnson and Lindenstrauss 1984)."""
    seed: int = 0
    """Seed of the projection."""

    def __post_init__(self) -> None:
        if self.components < 1:
            raise ValueError("components of at least 1")


@dataclass(frozen=True)
class Moments:
    """Sufficient statistics of a linear regression: X'X (D, D), X'y (D,), y'y and N. They add up over tasks."""

    gram: Float
    cross: Float
    square: float
    count: int

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.gram + other.gram, self.cross + other.cross, self.square + other.square,
                       self.count + other.count)


def moments(features: Float, targets: Float) -> Moments:
    """Return the moments of features (N, D) and targets (N,)."""
    return Moments(features.T @ features, features.T @ targets, float(targets @ targets), len(targets))


def log_evidence(data: Moments) -> float:
    """Return max over alpha, beta of ln N(y; 0, I / beta + X X' / alpha), nats (LogME's algorithm 1)."""
    values, vectors = eigh(data.gram)
    values = np.clip(values, 0, None)
    cross = np.square(vectors.T @ data.cross)
    n, d = data.count, len(values)
    alpha = beta = 1.0
    previous = -np.inf
    for _ in range(ITERATIONS):
        precision = alpha + beta * values
        norm = float((beta**2 * cross / precision**2).sum())
        residual = data.square - float((beta * cross / precision * (2 - beta * values / precision)).sum())
        residual = max(residual, np.finfo(np.float64).eps * data.square)
        evidence = 0.5 * (d * np.log(alpha) + n * np.log(beta / (2 * np.pi)) - np.log(precision).sum()
                          - beta * residual - alpha * norm)
        if abs(evidence - previous) <= TOLERANCE * n:
            break
        previous = evidence
        effective = float((beta * values / precision).sum())
        alpha = effective / max(norm, np.finfo(np.float64).tiny)
        beta = (n - effective) / residual
    return float(evidence)


def bayes_factor(a: tuple[Moments, float], b: tuple[Moments, float]) -> float:
    """Return the distance of two tasks from their moments and log evidences, nats an image."""
    joint = a[0] + b[0]
    return max(0.0, (a[1] + b[1] - log_evidence(joint)) / joint.count)


def build(config: Config) -> Measure:
    """Return the measure over the features, centred by task."""

    def summarise(sample: TaskSample) -> tuple[Moments, float]:
        features = sample.features - sample.features.mean(axis=0)
        width = features.shape[1]
        if width > config.components:
            rng = generator(config.seed, "logme", width)
            features = features @ (rng.standard_normal((width, config.components)) / np.sqrt(config.components))
        data = moments(features, np.where(sample.of(FAKE), 1.0, -1.0))
        return data, log_evidence(data)

    return Measure(summarise=summarise, distance=bayes_factor, reads="features")
