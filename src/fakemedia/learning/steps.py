"""How many steps the stages of a method take: small stages are named."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fakemedia.core.plan import Plan
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import Stage
from fakemedia.store.pixels import PixelStore

FEW = 20
"""A stage is named if another one takes more than so many times its steps."""
logger = logging.getLogger(__name__)


def steps(config: TrainingConfig, images: int) -> int:
    """Return the steps of an epoch of `images` training images; a batch has no more than these."""
    return images // min(config.batch_size, images) if images else 0


def note_steps(plan: Plan, label: str, stage: Stage, stores: Mapping[str, PixelStore]) -> None:
    """Warn if `stage` has fewer pictures than a batch, or less than 1 / FEW of the steps of another stage of `label`.

    `stores` are training stores; stages whose tasks are not among them are not compared.
    """
    images = {each: sum(len(stores[task]) for task in plan.trained_tasks(label, each)) for each in plan.learned(label)
              if all(task in stores for task in plan.trained_tasks(label, each))}
    configs = {each: plan.method(label).at(each).training for each in images}
    step_counts = {each: configs[each].epochs * steps(configs[each], count) for each, count in images.items()}
    if stage not in step_counts:
        return
    size = configs[stage].batch_size
    if images[stage] < size:
        logger.warning("%s, stage %s: a batch has %d pictures instead of %d, since the stage has no more.", label,
                       stage.key, images[stage], size)
    longest = max(step_counts, key=lambda each: step_counts[each])
    if FEW * step_counts[stage] < step_counts[longest]:
        logger.warning("%s, stage %s: %d steps, while stage %s takes %d: raise its epochs or lower its batch_size, in "
                       "training.stages.", label, stage.key, step_counts[stage], longest.key, step_counts[longest])
