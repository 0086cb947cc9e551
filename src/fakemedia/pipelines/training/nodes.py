"""Nodes of the training pipeline."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from fakemedia.context import project

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.core.plan import Plan
    from fakemedia.core.types import Stage
    from fakemedia.evaluation.calibration import Calibration
    from fakemedia.networks.checkpoint import Checkpoint
    from fakemedia.store.pixels import PixelStore


def gather(*stores: PixelStore) -> dict[str, PixelStore]:
    """Return the stores of one split by task, in the order of the sequence."""
    return {store.task: store for store in stores}


def start(validation: dict[str, PixelStore], *stores: PixelStore, plan: Plan, method: str, seed: int, stage: Stage,
          folder: Path) -> Checkpoint:
    """Learn a stage from the start network; see `learn`."""
    return learn(validation, None, *stores, plan=plan, method=method, seed=seed, stage=stage, folder=folder)


def learn(validation: dict[str, PixelStore], parent: Checkpoint | None, *stores: PixelStore, plan: Plan, method: str,
          seed: int, stage: Stage, folder: Path) -> Checkpoint:
    """Learn a stage from its parent's checkpoint, unless `folder` already holds what it would become."""
    from fakemedia.learning.sequence import learn_stage

    return learn_stage(plan=plan.resolved(), method=method, seed=seed, stage=stage, parent=parent,
                       train={store.task: store for store in stores}, validation=validation, folder=folder,
                       runtime=project.runtime())


def score(checkpoint: Checkpoint, suite: dict[str, PixelStore], *, plan: Plan, path: Path) -> pd.DataFrame:
    """Score the test splits of all tasks, learned or not, or return the scores at `path` if nothing changed."""
    from fakemedia.learning.sequence import score_checkpoint

    return _unless_saved(path, _scores_identity(checkpoint, suite),
                         lambda: score_checkpoint(checkpoint, suite, runtime=project.runtime()))


def calibrate(checkpoint: Checkpoint, validation: dict[str, PixelStore], *, plan: Plan, stage: Stage,
              path: Path) -> tuple[pd.DataFrame, Calibration]:
    """Score the validation splits of the tasks seen, or take the scores at `path`, and calibrate the checkpoint."""
    from fakemedia.evaluation.calibration import calibrate

    scores = score(checkpoint, {task: validation[task] for task in stage.seen}, plan=plan, path=path)
    config = project.calibration_config()
    return scores, calibrate(scores, config=config, weights_sha256=checkpoint.meta["weights_sha256"],
                             made_from=config.identity(scores.attrs["identity"]))


def perturb(checkpoint: Checkpoint, suite: dict[str, PixelStore], *, plan: Plan, path: Path) -> pd.DataFrame:
    """Score perturbed test images of all tasks, or return the scores at `path` if nothing changed."""
    from fakemedia.learning.sequence import score_robustness

    config = project.robustness(plan.sequence)
    assert config is not None
    return _unless_saved(path, config.identity(_scores_identity(checkpoint, suite)),
                         lambda: score_robustness(checkpoint, suite, config, runtime=project.runtime()))


def _scores_identity(checkpoint: Checkpoint, suite: dict[str, PixelStore]) -> str:
    from fakemedia.core.plan import scores_fingerprint

    return scores_fingerprint(weights_sha256=checkpoint.meta["weights_sha256"], crop=checkpoint.crop,
                              data={task: store.fingerprint for task, store in suite.items()})


def _unless_saved(path: Path, identity: str, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return the table at `path` if it was made from `identity`, or else a new one that says so."""
    from fakemedia.artefacts.parquet import read_table, stored_identity

    if stored_identity(path) == identity:
        return read_table(path)
    table = make()
    table.attrs["identity"] = identity
    return table


def collect(*tables: pd.DataFrame, keys: tuple[tuple[int, int], ...], method: str) -> pd.DataFrame:
    """Return the scores of several checkpoints of a method in one table; `keys` gives (seed, stage index) of each.

    What was never scored has no rows.
    """
    import pandas as pd

    marked = [table.assign(method=method, seed=seed, stage=stage)
              for table, (seed, stage) in zip(tables, keys, strict=True)]
    return pd.concat([table for table in marked if len(table)] or marked[:1], ignore_index=True)


def collect_calibrations(*calibrations: Calibration | None, keys: tuple[tuple[int, int], ...],
                         method: str) -> dict[tuple[str, int, int], Calibration]:
    """Return the calibration of each calibrated checkpoint by (method, seed, stage index); `keys` as in `collect`."""
    return {(method, seed, stage): calibration
            for calibration, (seed, stage) in zip(calibrations, keys, strict=True) if calibration is not None}


def collect_history(results: pd.DataFrame, *, method: str, folders: tuple[tuple[int, int, Path], ...]) -> pd.DataFrame:
    """Return how the checkpoints that were scored were trained: a row an epoch; see `reporting.history.cost_table`.

    `folders` gives (seed, stage index, checkpoint folder) of each.
    """
    import pandas as pd

    from fakemedia.learning.trainer import history_path
    from fakemedia.reporting.history import stage_history

    scored = set(zip(results["seed"], results["stage"], strict=True))
    tables = [stage_history(folder, history_path(folder)).assign(method=method, seed=seed, stage=stage)
              for seed, stage, folder in folders if (seed, stage) in scored]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["method", "seed", "stage"])
