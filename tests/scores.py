"""Made-up scores of runs with the marks of continual learning: learned, then partly forgotten, then joint on top."""

from __future__ import annotations

import numpy as np
import pandas as pd

from fakemedia.core.rng import generator
from fakemedia.core.types import Stage, make_stages

KEPT = {"finetune": 0.25, "kd": 0.55, "ewc": 0.7, "joint": 1.0}


def make_scores(groups: list[tuple[str, ...]], *, methods: tuple[str, ...] = ("finetune", "kd", "ewc", "joint"),
                seeds: tuple[int, ...] = (0, 1, 2), images: int = 200,
                photographs: int = 25) -> tuple[pd.DataFrame, tuple[Stage, ...]]:
    """Return the long table of scores and the stages; `joint` is scored after the last stage only.

    Each task has `images` test images, half of them fake, from `photographs` photographs that all tasks share.
    """
    stages = make_stages(groups)
    labels = np.arange(images) % 2
    parts = []
    for method in methods:
        for seed in seeds:
            for stage in stages[-1:] if method == "joint" else stages:
                for t, task in enumerate(stages[-1].seen):
                    rng = generator(seed, "images", task)
                    shared = rng.normal(size=photographs)[np.arange(images) % photographs]
                    noise = rng.normal(size=images) + 0.4 * shared
                    own = next(s.index for s in stages if task in s.tasks)
                    kept = KEPT.get(method, 0.5) ** ((stage.index - own) / 2) if stage.index >= own else 0.1
                    strength = (1.9 + 0.25 * (t % 3)) * kept
                    wobble = 0.3 * generator(seed, method, stage.index, task).normal(size=images)
                    parts.append(pd.DataFrame({
                        "method": method, "seed": seed, "stage": stage.index, "task": task,
                        "id": [f"{task}-{i:05d}" for i in range(images)], "label": labels.astype(np.int8),
                        "source": [f"photograph-{i % photographs:03d}" for i in range(images)],
                        "logit": 2 * (strength * (2 * labels - 1) + noise + wobble),
                    }))
    return pd.concat(parts, ignore_index=True), stages
