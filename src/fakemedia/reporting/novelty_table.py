"""How well novelty separates pictures of generators that are not learned yet from those of the tasks learned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from fakemedia.core.types import FAKE, Stage
from fakemedia.evaluation.metrics import auc
from fakemedia.evaluation.novelty import is_unknown

RUN = ["method", "seed", "stage"]
MEASURES = ("auc", "known", "new_fake", "new_real")
COLUMNS = (*RUN, "images", *MEASURES)


def novelty_table(scores: pd.DataFrame, *, stages: Sequence[Stage]) -> pd.DataFrame:
    """Return one row for each checkpoint, measured on test images; columns COLUMNS.

    `scores` is the long table of test scores (`results.COLUMNS`), with the column novelty. `auc` is how well novelty
    separates fakes of the tasks not learned yet from all images of the tasks learned; the rest are the percentages
    that are called unknown of the `images` of the tasks learned (`known`), and of fake and real images of the others.
    NaN where every task is learned. Checkpoints without novelty are left out.
    """
    seen = {stage.index: stage.seen for stage in stages}
    rows = []
    scored = scores.loc[scores["novelty"].notna()] if "novelty" in scores else scores.iloc[:0]
    for (method, seed, stage), group in scored.groupby(RUN, sort=False):  # type: ignore[misc]
        novelty = group["novelty"].to_numpy()
        is_known, fake = group["task"].isin(seen[stage]).to_numpy(), group["label"].to_numpy() == FAKE
        unknown = 100.0 * is_unknown(novelty)
        is_compared = is_known | fake
        rows.append({
            "method": method, "seed": seed, "stage": stage, "images": int(is_known.sum()),
            "auc": float(auc((~is_known[is_compared]).astype(np.int64), novelty[is_compared])),
            "known": _mean(unknown[is_known]), "new_fake": _mean(unknown[~is_known & fake]),
            "new_real": _mean(unknown[~is_known & ~fake])})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan
