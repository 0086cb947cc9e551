"""Rank agreement of two tables of distances, or of a table and observations of the tasks."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import spearmanr

Floats = NDArray[np.float64]


def rank_correlation(a: Floats, b: Floats) -> float:
    """Return Spearman's rho of two lists of numbers (N,), ties at their mean rank; NaN if one of them is constant."""
    constant = len(a) < 2 or np.ptp(a) == 0 or np.ptp(b) == 0
    return np.nan if constant else float(spearmanr(a, b)[0])  # pyright: ignore[reportArgumentType]


def rank_agreement(tables: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Return Spearman's rho between the distances of each two measures, over the pairs of different tasks.

    `tables` are square, of the same tasks in the same order; a pair counts once, with the mean of both directions.
    """
    pairs = {}
    for name, table in tables.items():
        values = table.to_numpy(np.float64)
        pairs[name] = ((values + values.T) / 2)[np.triu_indices(len(values), k=1)]
    matrix = [[rank_correlation(a, b) for b in pairs.values()] for a in pairs.values()]
    return pd.DataFrame(matrix, index=list(tables), columns=list(tables))
