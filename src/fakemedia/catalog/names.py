"""Names of datasets that the catalog and the pipelines agree on."""

from fakemedia.core.plan import Plan
from fakemedia.core.types import Stage

SOURCE = "{collection}__source"
INDEX = "{collection}__{task}__index"
SPLIT = "{collection}__{task}__{split}"
SUITE = "{sequence}__{split}_suite"
CHECKPOINT = "{sequence}-{method}.checkpoint__{stage}__seed{seed}"
SCORES = "{sequence}-{method}.scores__{stage}__seed{seed}"
RESULTS = "{sequence}-{method}.results"
MATRIX = "{sequence}-{method}.accuracy_matrix"


def of_stage(pattern: str, plan: Plan, method: str, seed: int, stage: Stage) -> str:
    """Return the name of what `method` makes at `stage` with `seed`."""
    return pattern.format(sequence=plan.sequence, method=method, seed=seed, stage=stage.key)
