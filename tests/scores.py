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


def make_robustness(scores: pd.DataFrame, stages: tuple[Stage, ...]) -> pd.DataFrame:
    """Return the scores after the last stage on perturbed images: the stronger, the nearer to chance."""
    last = scores[scores["stage"] == stages[-1].index]
    return pd.concat([last.assign(perturbation=name, strength=float(strength),
                                  logit=last["logit"] * share + 0.5 * (1 - share))
                      for name, strength, share in (("none", 0, 1.0), ("jpeg", 90, 0.9), ("jpeg", 30, 0.3),
                                                    ("contrast", 0.5, 0.6), ("contrast", 2, 0.5))], ignore_index=True)


def make_histories(stages: tuple[Stage, ...], methods: tuple[str, ...], seeds: tuple[int, ...],
                   epochs: int = 4) -> pd.DataFrame:
    """Return histories of `epochs` epochs a stage with falling losses, 2 seconds and 100 images/s each."""
    rows = [{
        "method": method, "seed": seed, "stage": stage.index, "epoch": epoch, "lr": 1e-3,
        "loss.total": 1 / epoch + 0.1 * seed, **({"loss.distillation": 0.1} if method == "kd" else {}),
        "accuracy": 60 + 5 * epoch, "seconds": 2.0, "images_per_second": 100.0, "memory_mib": 500.0,
        "weights_bytes": 2_000_000.0, "state_bytes": 1_000.0, "network": "convnet", "tasks": stage.tasks,
        "weights_sha256": f"{method}{seed}{stage.index}",
        "parent_sha256": f"{method}{seed}{stage.index - 1}" if stage.index > 1 and method != "joint" else None,
    } for method in methods for seed in seeds for stage in (stages[-1:] if method == "joint" else stages)
        for epoch in range(1, epochs + 1)]
    return pd.DataFrame(rows)
