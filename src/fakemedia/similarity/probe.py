"""A linear probe: logistic regression on standardised features, shared by the measures that train one."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from fakemedia.core.types import FAKE

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Probe:
    """logit(x) = x . weight + bias, with weight (D,) on the features as given."""

    weight: Float
    bias: float

    def logits(self, features: Float) -> Float:
        """Return the logits (N,) of features (N, D): above 0 is fake."""
        return features @ self.weight + self.bias


def fit_probe(features: Float, labels: NDArray[np.integer], penalty: float = 0.05) -> Probe:
    """Return the probe that minimises mean cross-entropy + penalty / 2 |w|^2, w on features of unit variance.

    `features` (N, D), `labels` 0/1 (N,). A constant feature gets the weight 0.
    """
    mean, scale = features.mean(axis=0), features.std(axis=0)
    inverse = np.divide(1.0, scale, out=np.zeros_like(scale), where=scale > 1e-12 * np.abs(mean))
    model = LogisticRegression(C=1 / (penalty * len(labels)), max_iter=1000)
    model.fit((features - mean) * inverse, labels == FAKE)
    weight = model.coef_[0] * inverse
    return Probe(weight, float(np.ravel(model.intercept_)[0] - mean @ weight))
