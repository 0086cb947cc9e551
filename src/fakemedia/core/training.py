"""How a stage is trained: settings and presets."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from fakemedia.core import plugin
from fakemedia.core.errors import UserError, unknown_name

MIN_CROP = 8
"""Smallest crop, pixels: the strides of a network reduce smaller images to an empty map."""

TRAINING_PRESETS: dict[str, dict[str, Any]] = {
    # Tassone, Maiano and Amerini 2024: the settings of the reference runs.
    "paper": {
        "epochs": 250, "patience": 35, "batch_size": 64, "optimizer": "sgd", "lr": 0.005, "momentum": 0.1,
        "weight_decay": 0.0, "schedule": "cosine", "period": 10, "lr_min": 1e-5, "crop": 128, "flip": False,
        "norm_statistics": "running",
    },
}


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """How every stage of a sequence is trained."""

    epochs: int = 30
    """Passes over the stage's training images, at most."""
    patience: int | None = None
    """Epochs without a better validation accuracy after which training stops; None: never."""
    batch_size: int = 64
    """Images per step."""
    optimizer: Literal["sgd", "adamw"] = "adamw"
    """SGD with momentum, or AdamW (Loshchilov and Hutter 2019)."""
    lr: float = 3e-4
    """Peak learning rate."""
    momentum: float = 0.9
    """SGD momentum, or AdamW's beta 1."""
    weight_decay: float = 0.01
    """Decay of all weights but norms and biases: added to the gradient by `sgd`, decoupled from it by `adamw`."""
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    """`one_cycle` warms up and anneals over the stage, by step; `cosine` falls and rises again, by epoch."""
    period: int = 10
    """Half period of `cosine`, epochs (T_max)."""
    lr_min: float = 1e-5
    """Lowest learning rate of `cosine`."""
    crop: int = 128
    """Side of the square crop that the network sees, pixels: random in training, the centre in evaluation."""
    flip: bool = True
    """Mirror half of the training crops."""
    augment: str = "none"
    """Changes of the training crops, each drawn by seed, picture and epoch: `none`, `blur_jpeg`, `blur_jpeg_01`,
    `tone`, or another file in `store/augmentations/`. If only the head is trained, each of `views` has an augmented
    one beside it."""
    views: tuple[str, ...] = ("centre",)
    """Crops of each training picture whose features are computed if only the head is trained (`tune: head`), one at
    random in each epoch, all of them in methods without epochs: `centre`, `quarters` (what `kedro score` sees),
    `corners`, one corner such as `top_left`, these with `_flip`, and `random:<n>`."""
    norm_statistics: Literal["running", "frozen_after_first", "reestimated"] = "running"
    """Statistics of batch normalisation. `running`: those of the batch in training, of which the running mean is used
    afterwards; `frozen_after_first`: stages that continue from another one keep its running statistics, and are trained
    with them; `reestimated`: as `running`, but measured again after each stage, over its pictures and those in memory,
    each task with the same share."""
    select_on: Literal["seen", "current", "none"] = "seen"
    """Keep the epoch with the best mean validation accuracy over all tasks seen, over this stage's tasks only, or
    keep the last epoch without validation."""
    correction: Literal["none", "affine"] = "none"
    """`affine`: after each stage, the log-odds d of the detector become a d + b, with a > 0 and b fitted on the
    validation images of all tasks seen, each class of each task with the same weight (Wu et al. 2019, for two classes);
    not fitted to images of fewer than 10 source photographs. The next stage starts from the uncorrected detector."""
    validation_max: int | None = 1000
    """Validation images per task, at most, drawn once by seed; None: all."""
    validation_share: float | None = 0.1
    """Upper limit of the cost of validation, as a share of training: an image costs one pass in validation and three in
    training. The images are divided equally among the tasks validated, so that the cost of a stage does not grow with
    the tasks seen; each task keeps at least 16. None: no limit, as with `tune: head`."""
    validation_every: int = 1
    """Epochs between validations; the last epoch is always validated."""

    def __post_init__(self) -> None:
        for key in ("epochs", "batch_size", "validation_every", "period"):
            if getattr(self, key) < 1:
                raise ValueError(f"{key} of at least 1")
        if self.augment not in (augmentations := ("none", *plugin.names("store.augmentations"))):
            raise ValueError(f"augment: one of {', '.join(augmentations)}")
        if self.crop < MIN_CROP:
            raise ValueError(f"crop of at least {MIN_CROP}")
        for key in ("patience", "validation_max"):
            value = getattr(self, key)
            if value is not None and value < 1:
                raise ValueError(f"{key} of at least 1, or none")
        if self.validation_share is not None and not self.validation_share > 0:
            raise ValueError("validation_share above 0, or none")
        if not self.lr > 0:
            raise ValueError("lr above 0")
        if not (0 <= self.momentum < 1 and self.weight_decay >= 0 and self.lr_min >= 0):
            raise ValueError("momentum in [0, 1), weight_decay and lr_min of at least 0")


ByTask = Mapping[str, Mapping[str, Any]]
"""Keys of the training that differ at the stage that learns a task, by task."""


def read_by_task(value: Any, tasks: Iterable[str], training: TrainingConfig, *, where: str) -> ByTask:
    """Return the keys of `value` that differ by task from `training`; UserError for unknown tasks and invalid keys, and
    for `crop`, which is the same for all scores of a label."""
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        raise UserError(f"{value!r} is not a mapping", where=where, expected="tasks, each with keys of the training")
    task_names = tuple(tasks)
    for task, keys in value.items():
        location = f"{where}.{task}"
        if task not in task_names:
            raise unknown_name("task", task, task_names, where=where)
        if not isinstance(keys, Mapping):
            raise UserError(f"{keys!r} is not a mapping", where=location, expected="keys of the training")
        if "crop" in keys:
            raise UserError("The crop cannot differ between stages", where=location,
                            expected="one crop for all stages of a label", do="set it in training.crop")
        plugin.configure(TrainingConfig, {**vars(training), **keys}, where=location)
    return {task: dict(keys) for task, keys in value.items()}


def training_at(training: TrainingConfig, by_task: ByTask, tasks: Iterable[str]) -> TrainingConfig:
    """Return `training` with the keys of `by_task` for `tasks`, those of one stage; UserError if two tasks differ."""
    changes: dict[str, Any] = {}
    for task in tasks:
        for key, value in by_task.get(task, {}).items():
            if changes.setdefault(key, value) != value:
                raise UserError(f"The tasks of one stage are to be trained with two values of {key}: {changes[key]!r} "
                                f"and {value!r}", where=f"training.stages.{task}", expected="one value a stage")
    return (plugin.configure(TrainingConfig, {**vars(training), **changes}, where="training.stages") if changes
            else training)
