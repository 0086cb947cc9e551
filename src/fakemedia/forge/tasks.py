"""Forging: from photographs and settings to task folders in the reference layout."""

from __future__ import annotations

import csv
import json
import os
import platform
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from PIL import Image
from tqdm import tqdm

from fakemedia.artefacts.files import move_away, moved, scratch_folder
from fakemedia.artefacts.manifest import Recipe, file_sha256
from fakemedia.core.errors import UserError, unknown_name
from fakemedia.core.plugin import constant, load, names, resolve
from fakemedia.core.rng import generator
from fakemedia.core.types import CLASS_FOLDERS, SPLITS, check_name
from fakemedia.forge.patches import random_crop
from fakemedia.forge.photographs import PACKAGED, Photograph, find_photographs
from fakemedia.runtime.threads import cores

VERSION = 1
"""Version of what all families share, crops and files: raised when it changes. A family may have a `VERSION` too."""
FAMILIES = "forge"
RECORD = "forge.json"


@dataclass(frozen=True, kw_only=True)
class ForgeConfig:
    """Settings of a forged collection."""

    tasks: Mapping[str, Mapping[str, Any]]
    """The tasks by name: the key `family`, and settings of that family."""
    photographs: str = PACKAGED
    """`packaged`, or a folder of photographs (see `find_photographs`)."""
    size: int = 80
    """Side of the pictures, pixels."""
    scale: tuple[float, float] = (0.5, 0.6)
    """Photographs are shrunk by a factor between these two before cropping: at half size even a soft one is sharp at
    the pixel level, so that blur indicates a fake and not the photograph."""
    per_class: Mapping[str, int] = field(default_factory=lambda: {"train": 500, "val": 100, "test": 200})
    """Pictures per split and class."""
    seed: int = 0
    """Seed of the crops and of the random numbers of families."""

    def __post_init__(self) -> None:
        if self.size < 16:
            raise ValueError("size of at least 16 pixels")
        if not 0 < self.scale[0] <= self.scale[1] <= 1:
            raise ValueError("scale: two increasing numbers above 0 and up to 1")
        if set(self.per_class) != set(SPLITS) or min(self.per_class.values()) < 1:
            raise ValueError(f"per_class: a number of at least 1 for each of {', '.join(SPLITS)}")
        if not self.tasks:
            raise ValueError("at least one task")


def families(config: ForgeConfig) -> dict[str, str]:
    """Return the family of each task; UserError for an invalid name, or a missing or unknown family."""
    by_task = {}
    for task, settings in config.tasks.items():
        family = settings.get("family")
        if family not in names(FAMILIES):
            raise unknown_name("family", family, names(FAMILIES), where=f"forge.tasks.{task}.family")
        by_task[check_name(task)] = family
    return by_task


def forge(config: ForgeConfig, root: Path, *, tasks: Iterable[str] | None = None, workers: int | None = None,
          progress: bool = True) -> None:
    """Write `tasks` of `config` (default: all) to `root` as `<task>/{train,val,test}/{0_real,1_fake}/*.png`.

    `<task>/sources.csv` names the photograph behind every picture, `<task>/forge.json` records how the task was made.
    An existing task with the same record is kept; one with another record is replaced. Pictures depend only on the
    configuration, not on `workers` (processes; by default one per core). Raises UserError for invalid settings or
    photographs, and for an existing folder that the forge did not create. No incomplete task remains.
    """
    photographs = find_photographs(config.photographs, config.seed)
    jobs = _jobs(config, photographs)
    selected = [_task(name, config) for name in (config.tasks if tasks is None else tasks)]
    recipes = {task.name: _recipe(task, photographs) for task in selected}
    pending = [task for task in selected if not _is_current(root / task.name, recipes[task.name])]
    if not pending:
        return
    root.mkdir(parents=True, exist_ok=True)
    with (
        tqdm(total=len(pending) * len(jobs), desc="forge", disable=None if progress else True) as bar,
        _mapper(workers or cores()) as run,
    ):
        for task in pending:
            bar.set_postfix_str(task.name)
            with scratch_folder(root / task.name) as folder:
                for split in SPLITS:
                    for label in CLASS_FOLDERS:
                        (folder / split / label).mkdir(parents=True)
                for _ in run(_write_pictures, repeat(task), jobs, repeat(folder)):
                    bar.update()
                _write_description(folder, jobs, recipes[task.name])
                while not moved(folder, root / task.name):
                    move_away(root / task.name)


def is_forged(config: ForgeConfig, root: Path, task: str) -> bool:
    """Return whether `task` exists in `root` as `config` would make it."""
    photographs = find_photographs(config.photographs, config.seed)
    return _is_current(root / task, _recipe(_task(task, config), photographs))


@dataclass(frozen=True, kw_only=True)
class _Task:
    name: str
    family: str
    settings: Any
    config: ForgeConfig


@dataclass(frozen=True, kw_only=True)
class _Job:
    """The pictures of one split that come from one photograph."""

    split: str
    photograph: Photograph
    indices: range


def _task(name: str, config: ForgeConfig) -> _Task:
    if name not in config.tasks:
        raise unknown_name("task", name, config.tasks, where="forge.tasks")
    family = families(config)[name]
    settings = {key: value for key, value in config.tasks[name].items() if key != "family"}
    return _Task(name=name, family=family, config=config,
                 settings=resolve(FAMILIES, family, settings, where=f"forge.tasks.{name}"))


def _jobs(config: ForgeConfig, photographs: Mapping[str, list[Photograph]]) -> list[_Job]:
    """Assign the pictures of each split to its photographs in turn."""
    return [_Job(split=split, photograph=photograph, indices=range(start, count, len(photographs[split])))
            for split, count in config.per_class.items()
            for start, photograph in enumerate(photographs[split][:count])]


def _write_pictures(task: _Task, job: _Job, folder: Path) -> None:
    forge_crop = load(FAMILIES, task.family).build(task.settings)
    photograph = job.photograph.read()
    for index in job.indices:
        rng = generator(task.config.seed, task.name, job.split, index)
        crop = random_crop(photograph, task.config.size, task.config.scale, rng)
        for label, picture in zip(CLASS_FOLDERS, forge_crop(crop, rng), strict=True):
            # Stored without compression, so that the file size does not reveal smooth pictures.
            Image.fromarray(picture).save(folder / _path(job.split, label, index), compress_level=0)


def _path(split: str, label: str, index: int) -> str:
    return f"{split}/{label}/{index:05d}.png"


def _recipe(task: _Task, photographs: Mapping[str, list[Photograph]]) -> Recipe:
    """Return everything that the pictures of a task depend on."""
    config = task.config
    weights_file = getattr(load(FAMILIES, task.family), "weights_file", None)
    weights = {} if weights_file is None else {"weights": file_sha256(weights_file(task.settings))}
    return Recipe(producer="forge", version=VERSION, settings={
        "task": task.name, "family": task.family, "family_version": constant(FAMILIES, task.family, "VERSION", 1),
        "settings": vars(task.settings), "size": config.size, "scale": config.scale, "per_class": config.per_class,
        "seed": config.seed,
    }, inputs=weights | {f"{split}/{photograph.name}": file_sha256(photograph.path)
                         for split, split_photographs in photographs.items() for photograph in split_photographs})


def _is_current(folder: Path, recipe: Recipe) -> bool:
    if not folder.exists():
        return False
    try:
        recorded = json.loads((folder / RECORD).read_text(encoding="utf-8"))["fingerprint"]
    except (OSError, ValueError, KeyError, TypeError):
        raise UserError("A folder of this name exists that the forge has not made", where=folder,
                        expected=f"no folder, or one with a {RECORD}", do="rename the task or move it away") from None
    return recorded == recipe.fingerprint


def _write_description(folder: Path, jobs: list[_Job], recipe: Recipe) -> None:
    sources = sorted((_path(job.split, label, index), job.photograph.name)
                     for job in jobs for label in CLASS_FOLDERS for index in job.indices)
    with (folder / "sources.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows([("path", "source"), *sources])
    versions = {name: version(name) for name in ("fakemedia", "numpy", "pillow", "scipy")}
    with (folder / RECORD).open("w", encoding="utf-8") as file:
        record = {"fingerprint": recipe.fingerprint, "version": recipe.version, **recipe.settings,
                  "photographs": {name: sha256 for name, sha256 in recipe.inputs.items() if name != "weights"},
                  **({"weights": recipe.inputs["weights"]} if "weights" in recipe.inputs else {})}
        json.dump({**record, "versions": {"python": platform.python_version(), **versions}}, file, indent=2)
        file.flush()
        os.fsync(file.fileno())


@contextmanager
def _mapper(workers: int) -> Iterator[Callable[..., Iterable[None]]]:
    """Yield a `map` that runs on `workers` new processes, or in this one if `workers` is 1."""
    if workers == 1:
        yield map
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield pool.map
