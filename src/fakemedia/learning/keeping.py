"""The memory of a stage: which of its pictures are kept for later ones, and their record."""

from __future__ import annotations

import io
from collections.abc import Mapping
from pathlib import Path

from fakemedia.artefacts.files import write_file
from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.learning.trainer import StageTrainer
from fakemedia.memory.added_reals import has_reals, with_reals
from fakemedia.memory.budget import Budget, check_budget
from fakemedia.memory.memory import Memory, smallest, update_memory
from fakemedia.methods.method import GradientMethod, Method, facts
from fakemedia.networks.detector import Detector
from fakemedia.store.pixels import PixelStore


def memory_path(folder: Path) -> Path:
    """Return the path of the record of kept pictures of the stage saved as `folder`, one row per picture."""
    return folder.with_name(f"{folder.name}.memory.parquet")


def check_memory(config: Budget, memory: Memory, learned: Mapping[str, PixelStore], *, where: object) -> None:
    """Raise UserError if a class of a task, old or new, would keep no picture."""
    check_budget(config, smallest({**memory.stores, **learned}), where=where)


def with_stored_reals(train: Mapping[str, PixelStore], memory: Memory, method: Method, *,
                      where: object) -> dict[str, PixelStore]:
    """Return `train`; each task of fakes only gets real pictures of `memory` beside it, if `method` takes steps.

    UserError if it then has no real pictures to learn from. A closed form decides by itself: it may hold sums of them.
    """
    if not isinstance(method, GradientMethod):
        return dict(train)
    stores = {task: with_reals(store, memory) for task, store in train.items()}
    check_reals(stores, memory.stores, method, where=where)
    return stores


def check_own_reals(train: Mapping[str, PixelStore], name: str, *, where: object) -> None:
    """Raise UserError if the method `name` declares that every task needs real pictures, and one of `train` has none.
    """
    for task, store in train.items():
        if not has_reals(store):
            _check_declared(task, name, where=where)


def _check_declared(task: str, name: str, *, where: object) -> None:
    """Raise UserError if the method `name` declares that every task needs real pictures, as `task` has none."""
    if facts(name).needs_own_reals:
        others = [label for label in plugin.names("methods")
                  if not facts(label).needs_own_reals and facts(label).unlearns]
        raise UserError(f"The task {task} has no real pictures, and the method {name} needs some of every task",
                        where=where, expected="real pictures, or a method that holds what it knows of those of earlier "
                        f"tasks: {', '.join(others)}, or replay", do="add real pictures to the task, or take another "
                        "method")


def check_fakes_alone(task: str, name: str, method: Method, *, where: object) -> None:
    """Raise UserError unless `method`, named `name`, can learn `task`, which has no real pictures."""
    _check_declared(task, name, where=where)
    _check_memory(task, method, where=where)


def _check_memory(task: str, method: Method, *, where: object) -> None:
    if isinstance(method, GradientMethod) and method.memory is None:
        raise UserError(f"The task {task} has no real pictures, and the method keeps none of earlier tasks",
                        where=where, expected="real pictures, or a method with a memory such as replay",
                        do="add real pictures to the task, or take replay, derpp, ridge or joint")


def check_reals(train: Mapping[str, PixelStore], earlier: Mapping[str, PixelStore], method: Method, *,
                where: object) -> None:
    """Raise UserError if `train` has no real pictures and `method` cannot take those of the tasks of `earlier`."""
    fakes_only = [task for task, store in train.items() if not has_reals(store)]
    if not fakes_only or len(fakes_only) < len(train) or not isinstance(method, GradientMethod):
        return
    _check_memory(fakes_only[0], method, where=where)
    if not any(map(has_reals, earlier.values())):
        raise UserError(f"The task {fakes_only[0]} has no real pictures, and no earlier task has left any", where=where,
                        expected="an earlier task with real pictures", do="put a task with real pictures first")


def memory_after(memory: Memory, learned: Mapping[str, PixelStore], config: Budget, seed: int, detector: Detector,
                 trainer: StageTrainer) -> Memory:
    """Return the memory after the tasks of `learned`; herding uses the features of `detector`."""
    if not learned:
        return memory
    return update_memory(memory, learned, config, seed=seed,
                         features=lambda store: trainer.picture_features(store, detector))


def write_memory(memory: Memory, config: Budget | None, folder: Path) -> None:
    """Write what is kept, and why, beside the checkpoint `folder`, if a method keeps anything."""
    if config is not None:
        buffer = io.BytesIO()
        memory.table(config).to_parquet(buffer, index=False)
        write_file(memory_path(folder), buffer.getvalue())
