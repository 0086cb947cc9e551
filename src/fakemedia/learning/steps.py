"""How many steps the stages of a method take: warnings about small stages."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fakemedia.core.plan import Plan
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import Stage
from fakemedia.store.pixels import PixelStore

MAX_STEP_RATIO = 20
"""A stage is named in a warning if another one takes more than so many times its steps."""
logger = logging.getLogger(__name__)


def steps(config: TrainingConfig, images: int) -> int:
    """Return the steps of an epoch of `images` training images; a batch has no more than these."""
    return images // min(config.batch_size, images) if images else 0


def warn_of_few_steps(plan: Plan, label: str, stage: Stage, stores: Mapping[str, PixelStore]) -> None:
    """Warn if `stage` has fewer pictures than a batch, or far fewer steps than another stage of `label`.

    Far fewer: less than 1 / MAX_STEP_RATIO of its steps.
    `stores` are training stores; stages whose tasks are not among them are not compared.
    """
    images = {trained: sum(len(stores[task]) for task in plan.trained_tasks(label, trained))
              for trained in plan.learned(label)
              if all(task in stores for task in plan.trained_tasks(label, trained))}
    configs = {trained: plan.method(label).at(trained).training for trained in images}
    step_counts = {trained: configs[trained].epochs * steps(configs[trained], count)
                   for trained, count in images.items()}
    if stage not in step_counts:
        return
    size = configs[stage].batch_size
    if images[stage] < size:
        logger.warning("%s, stage %s: a batch has %d pictures instead of %d, since the stage has no more.", label,
                       stage.key, images[stage], size)
    longest = max(step_counts, key=lambda trained: step_counts[trained])
    if MAX_STEP_RATIO * step_counts[stage] < step_counts[longest]:
        logger.warning("%s, stage %s: %d steps, while stage %s takes %d: raise its epochs or lower its batch_size, in "
                       "training.stages.", label, stage.key, step_counts[stage], longest.key, step_counts[longest])
