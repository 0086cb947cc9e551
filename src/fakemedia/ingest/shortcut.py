"""Can real be separated from fake without reading a pixel?"""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.tree import DecisionTreeClassifier

FACTS = ("codec", "mode", "quality", "width", "height")
"""Container facts of a picture. Not its size in bytes: how well a picture compresses is a property of its content."""
FOLDS = 5
MIN_IMAGES = 10
"""Images of each class needed for a result."""


def container_auc(rows: pd.DataFrame, seed: int = 0) -> dict[str, float]:
    """Return the AUC with which a small decision tree separates real from fake by each of FACTS alone, and by `all`.

    Cross-validated over FOLDS folds, so chance is 0.5; a value within two standard errors of chance (Hanley and McNeil
    1982, for no difference) is reported as 0.5. Empty with fewer than MIN_IMAGES images of a class.
    """
    labels = rows["label"].to_numpy()
    counts = np.bincount(labels, minlength=2)
    if counts.min() < MIN_IMAGES:
        return {}
    noise = 2 * math.sqrt((counts.sum() + 1) / (12 * counts[0] * counts[1]))
    codes = np.stack([pd.factorize(rows[fact], sort=True)[0] for fact in FACTS], 1)
    parts = {fact: codes[:, [column]] for column, fact in enumerate(FACTS)} | {"all": codes}
    return {name: _auc(columns, labels, noise, seed) for name, columns in parts.items()}


def _auc(columns: np.ndarray, labels: np.ndarray, noise: float, seed: int) -> float:
    if (columns == columns[0]).all():
        return 0.5
    tree = DecisionTreeClassifier(max_depth=4, min_samples_leaf=max(2, len(labels) // 100), random_state=seed)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    scores = np.asarray(cross_val_predict(tree, columns, labels, cv=folds, method="predict_proba"))
    auc = float(roc_auc_score(labels, scores[:, 1]))
    return auc if auc > 0.5 + noise else 0.5
