"""Nodes of the training pipeline."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.artefacts.manifest import Recipe
    from fakemedia.context.context import Context
    from fakemedia.core.plan import MethodPlan, Plan
    from fakemedia.core.types import Stage
    from fakemedia.evaluation.calibration import Calibration
    from fakemedia.networks.checkpoint import Checkpoint
    from fakemedia.store.pixels import PixelStore


def gather(*stores: PixelStore) -> dict[str, PixelStore]:
    """Return the stores of one split by task, in the order of the sequence."""
    return {store.task: store for store in stores}


def start_training(method: MethodPlan, validation: dict[str, PixelStore], *stores: PixelStore, context: Context,
                   plan: Plan, seed: int, stage: Stage, folder: Path) -> Checkpoint:
    """Learn a stage from the start network, unless `folder` already holds the result."""
    return continue_training(method, validation, None, *stores, context=context, plan=plan, seed=seed, stage=stage,
                             folder=folder)


def continue_training(method: MethodPlan, validation: dict[str, PixelStore], parent: Checkpoint | None,
                      *stores: PixelStore, context: Context, plan: Plan, seed: int, stage: Stage,
                      folder: Path) -> Checkpoint:
    """Learn a stage from its parent's checkpoint, unless `folder` already holds the result."""
    from fakemedia.learning.sequence import learn_stage

    return learn_stage(plan=replace(plan, methods=(method,)).resolved(), method=method.label, seed=seed, stage=stage,
                       parent=parent, train={store.task: store for store in stores}, validation=validation,
                       folder=folder, runtime=context.runtime)


def score(method: MethodPlan, checkpoint: Checkpoint, suite: dict[str, PixelStore], *, context: Context,
          path: Path) -> pd.DataFrame:
    """Score the test splits of all tasks, learned or not; read the scores at `path` instead if they are current."""
    from fakemedia.learning.recipes import checkpoint_content, scores_recipe
    from fakemedia.learning.sequence import score_checkpoint

    recipe = scores_recipe(checkpoint=checkpoint_content(checkpoint.meta), crop=method.training.crop,
                           data=_contents(suite))
    return _unless_current(path, recipe, lambda: score_checkpoint(checkpoint, suite, runtime=context.runtime))


def calibrate(method: MethodPlan, settings: dict[str, Any], checkpoint: Checkpoint, validation: dict[str, PixelStore],
              *, context: Context, stage: Stage, path: Path) -> tuple[pd.DataFrame, Calibration]:
    """Score the validation splits of the tasks seen (or read the scores at `path`) and calibrate the checkpoint."""
    from fakemedia.core.plugin import configure
    from fakemedia.evaluation.calibration import CalibrationConfig, calibrate

    config = configure(CalibrationConfig, settings, where="calibration")
    seen = {task: validation[task] for task in stage.seen}
    scores = score(method, checkpoint, seen, context=context, path=path)
    return scores, calibrate(scores, config=config, weights_sha256=checkpoint.meta["weights_sha256"])


def perturb(method: MethodPlan, settings: dict[str, Any], checkpoint: Checkpoint, suite: dict[str, PixelStore], *,
            context: Context, path: Path) -> pd.DataFrame:
    """Score perturbed test images of all tasks; read the scores at `path` instead if they are current."""
    from fakemedia.core.plugin import configure
    from fakemedia.evaluation.perturbations.perturbation import RobustnessConfig
    from fakemedia.learning.recipes import checkpoint_content, robustness_recipe
    from fakemedia.learning.sequence import score_robustness

    config = configure(RobustnessConfig, settings, where="robustness")
    recipe = robustness_recipe(checkpoint=checkpoint_content(checkpoint.meta), crop=method.training.crop,
                               data=_contents(suite), config=config)
    return _unless_current(path, recipe, lambda: score_robustness(checkpoint, suite, config, runtime=context.runtime))


def _contents(suite: dict[str, PixelStore]) -> dict[str, str]:
    return {task: store.fingerprint for task, store in suite.items()}


def _unless_current(path: Path, recipe: Recipe, make: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return the table at `path` if it was made by `recipe`, or else make it."""
    import pandas as pd

    from fakemedia.artefacts.manifest import is_current, read_manifest, verify
    from fakemedia.core.errors import UserError

    manifest = read_manifest(path)
    if manifest is None or not is_current(path, recipe):
        return make()
    try:
        verify(path, manifest)
    except UserError:
        return make()
    return pd.read_parquet(path)


def collect(*tables: pd.DataFrame, keys: tuple[tuple[int, int], ...], label: str) -> pd.DataFrame:
    """Return the scores of several checkpoints of a method in one table; `keys` gives (seed, stage index) of each.

    What was never scored has no rows.
    """
    import pandas as pd

    marked = [table.assign(method=label, seed=seed, stage=stage)
              for table, (seed, stage) in zip(tables, keys, strict=True)]
    return pd.concat([table for table in marked if len(table)] or marked[:1], ignore_index=True)


def collect_calibrations(*calibrations: Calibration | None, keys: tuple[tuple[int, int], ...],
                         label: str) -> dict[tuple[str, int, int], Calibration]:
    """Return the calibration of each calibrated checkpoint by (label, seed, stage index); `keys` as in `collect`."""
    return {(label, seed, stage): calibration
            for calibration, (seed, stage) in zip(calibrations, keys, strict=True) if calibration is not None}


def collect_history(results: pd.DataFrame, *, label: str, folders: tuple[tuple[int, int, Path], ...]) -> pd.DataFrame:
    """Return how the checkpoints that were scored were trained: a row an epoch; see `reporting.history.cost_table`.

    `folders` gives (seed, stage index, checkpoint folder) of each.
    """
    import pandas as pd

    from fakemedia.learning.trainer import history_path
    from fakemedia.reporting.history import stage_history

    scored = set(zip(results["seed"], results["stage"], strict=True))
    tables = [stage_history(folder, history_path(folder)).assign(method=label, seed=seed, stage=stage)
              for seed, stage, folder in folders if (seed, stage) in scored]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["method", "seed", "stage"])
