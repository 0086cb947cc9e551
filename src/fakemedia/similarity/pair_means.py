"""The mean of a kernel over pairs of different images: the part of an unbiased MMD^2 within one sample."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def mean_of_others(gram: NDArray[np.float64]) -> float:
    """Return the mean of k(x_i, x_j) over i != j, from the matrix (N, N) of all pairs; N >= 2."""
    count = len(gram)
    return float((gram.sum() - np.trace(gram)) / (count * (count - 1)))
