"""Nodes of the training pipeline."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

    from fakemedia.artefacts.manifest import Recipe
    from fakemedia.context.context import Context
    from fakemedia.core.plan import MethodPlan, Plan
    from fakemedia.core.types import Stage
    from fakemedia.evaluation.calibration import Calibration
    from fakemedia.evaluation.novelty import Novelty
    from fakemedia.networks.checkpoint import Checkpoint
    from fakemedia.reporting.method_results import MethodResults
    from fakemedia.store.pixels import PixelStore


def start_training(method: MethodPlan, train: dict[str, PixelStore], validation: dict[str, PixelStore], *,
                   context: Context, plan: Plan, seed: int, stage: Stage, folder: Path) -> Checkpoint:
    """Learn a stage from the start network, unless `folder` already holds the result."""
    return continue_training(method, train, validation, None, context=context, plan=plan, seed=seed, stage=stage,
                             folder=folder)


def continue_training(method: MethodPlan, train: dict[str, PixelStore], validation: dict[str, PixelStore],
                      parent: Checkpoint | None, *, context: Context, plan: Plan, seed: int, stage: Stage,
                      folder: Path) -> Checkpoint:
    """Learn a stage from its parent's checkpoint, unless `folder` already holds the result."""
    from fakemedia.learning.sequence import learn_stage

    if context.storage is not None:
        context.storage.fetch_beside(folder)
    return learn_stage(plan=replace(plan, methods=(method,)).resolved(), method=method.label, seed=seed, stage=stage,
                       parent=parent, train=train, validation=validation,
                       folder=folder, runtime=context.runtime,
                       features=partial(context.features_folder, plan.collection),
                       on_saved=None if context.storage is None else context.storage.upload_beside)


def score(method: MethodPlan, checkpoint: Checkpoint, novelty: Novelty, suite: dict[str, PixelStore], *,
          context: Context, collection: str, path: Path) -> pd.DataFrame:
    """Score the test splits of all tasks, learned or not; read the scores at `path` instead if they are current."""
    from fakemedia.learning.recipes import scores_recipe
    from fakemedia.learning.sequence import score_checkpoint

    recipe = scores_recipe(checkpoint=checkpoint.content, crop=method.training.crop,
                           data=_contents(suite), novelty=novelty.content)
    return _unless_current(path, recipe, lambda: score_checkpoint(
        checkpoint, suite, runtime=context.runtime, novelty=novelty,
        features=partial(context.features_folder, collection)))


def score_validation(method: MethodPlan, checkpoint: Checkpoint, train: dict[str, PixelStore],
                     validation: dict[str, PixelStore], *, context: Context, collection: str, stage: Stage, path: Path,
                     novelty: Path) -> tuple[pd.DataFrame, Novelty]:
    """Score the validation splits of the tasks seen, and find the novelty of their pictures.

    The scores at `path` and the novelty at `novelty` are read instead if both are current.
    """
    import pandas as pd

    from fakemedia.evaluation.novelty import novelty_recipe, read_novelty
    from fakemedia.learning.recipes import scores_recipe
    from fakemedia.learning.sequence import validate_checkpoint

    train, validation = ({task: stores[task] for task in stage.seen} for stores in (train, validation))
    crop, content = method.training.crop, checkpoint.content
    recipe = scores_recipe(checkpoint=content, crop=crop, data=_contents(validation))
    expected_novelty = novelty_recipe(checkpoint=content, crop=crop, data={
        f"{task} {store.split}": store.fingerprint for stores in (train, validation) for task, store in stores.items()})
    stored_novelty = read_novelty(novelty) if _is_whole(path, recipe) and _is_whole(novelty, expected_novelty) else None
    if stored_novelty is not None:
        return pd.read_parquet(path), stored_novelty
    return validate_checkpoint(checkpoint, train, validation, runtime=context.runtime,
                               features=partial(context.features_folder, collection))


def calibrate(settings: dict[str, Any], checkpoint: Checkpoint, scores: pd.DataFrame) -> Calibration:
    """Calibrate a checkpoint by its scores on validation images."""
    from fakemedia.core.plugin import configure
    from fakemedia.evaluation.calibration import CalibrationConfig, calibrate

    config = configure(CalibrationConfig, settings, where="calibration")
    return calibrate(scores, config=config, weights_sha256=checkpoint.meta["weights_sha256"])


def perturb(method: MethodPlan, settings: dict[str, Any], checkpoint: Checkpoint, suite: dict[str, PixelStore], *,
            context: Context, path: Path) -> pd.DataFrame:
    """Score perturbed test images of all tasks; read the scores at `path` instead if they are current."""
    from fakemedia.core.plugin import configure
    from fakemedia.evaluation.perturbations.perturbation import RobustnessConfig
    from fakemedia.learning.recipes import robustness_recipe
    from fakemedia.learning.sequence import score_robustness

    config = configure(RobustnessConfig, settings, where="robustness")
    recipe = robustness_recipe(checkpoint=checkpoint.content, crop=method.training.crop,
                               data=_contents(suite), config=config)
    return _unless_current(path, recipe, lambda: score_robustness(checkpoint, suite, config, runtime=context.runtime))


def _contents(suite: dict[str, PixelStore]) -> dict[str, str]:
    return {task: store.fingerprint for task, store in suite.items()}


def _unless_current(path: Path, recipe: Recipe, compute: Callable[[], pd.DataFrame]) -> pd.DataFrame:
    """Return the table at `path` if it was made by `recipe`, otherwise make it."""
    import pandas as pd

    return pd.read_parquet(path) if _is_whole(path, recipe) else compute()


def _is_whole(path: Path, recipe: Recipe) -> bool:
    """Return whether the file at `path` was made by `recipe` and is not damaged."""
    from fakemedia.artefacts.manifest import is_current, read_manifest, verify
    from fakemedia.core.errors import UserError

    manifest = read_manifest(path)
    if manifest is None or not is_current(path, recipe):
        return False
    try:
        verify(path, manifest)
    except UserError:
        return False
    return True


def collect(*parts: Any, context: Context, runs: tuple[tuple[int, int, Path], ...],
            perturbed: tuple[tuple[int, int], ...], label: str) -> MethodResults:
    """Return the results of all runs of one configured method for the report.

    `parts` are the scores and then the calibration of each of `runs`, (seed, stage index, checkpoint folder), and then
    the scores on perturbed images of each of `perturbed`, (seed, stage index).
    """
    from fakemedia.artefacts.manifest import read_manifest
    from fakemedia.learning.training_loop import history_path
    from fakemedia.reporting.history import stage_history
    from fakemedia.reporting.method_results import MethodResults

    count = len(runs)
    keys = [(seed, stage) for seed, stage, _ in runs]
    scores = _joined(parts[:count], keys, label)
    calibrations = {(label, *key): calibration for calibration, key in zip(parts[count:2 * count], keys, strict=True)
                    if calibration is not None}
    if context.storage is not None:
        for _, _, folder in runs:
            if read_manifest(folder, folder=True) is None:
                context.storage.fetch(folder, folder=True, light=True)
    scored = set(zip(scores["seed"], scores["stage"], strict=True))
    histories = [stage_history(folder, history_path(folder)).assign(method=label, seed=seed, stage=stage)
                 for seed, stage, folder in runs if (seed, stage) in scored]
    return MethodResults(scores=scores, calibrations=calibrations, history=_concatenated(histories),
                         perturbed=_joined(parts[2 * count:], perturbed, label) if perturbed else None)


def _joined(tables: Sequence[pd.DataFrame], keys: Sequence[tuple[int, int]], label: str) -> pd.DataFrame:
    """Return the scores of several checkpoints in one table; checkpoints without scores have no rows."""
    labelled = [table.assign(method=label, seed=seed, stage=stage)
                for table, (seed, stage) in zip(tables, keys, strict=True)]
    return _concatenated([table for table in labelled if len(table)] or labelled[:1])


def _concatenated(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    import pandas as pd

    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["method", "seed", "stage"])
