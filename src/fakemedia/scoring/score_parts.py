"""Scores of many files in parts: a folder of Parquet files, each written once, by this process or a cluster.

A scoring that was killed resumes with the missing parts. Each part has a manifest (`artefacts.manifest`), so that a
damaged one is written again, and parts of another detector, of other options or files are recognised.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import timedelta
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from fakemedia.artefacts.files import check_writable, replacing
from fakemedia.artefacts.manifest import (
    Manifest,
    Recipe,
    damaged,
    has_files,
    is_current,
    make_manifest,
    read_manifest,
    write_manifest,
)
from fakemedia.core.errors import UserError
from fakemedia.core.hashing import fingerprint
from fakemedia.runtime.cluster import ClusterConfig, connected
from fakemedia.runtime.threads import use_cores
from fakemedia.scoring.clips import score_media
from fakemedia.scoring.file_list import read_shard, shard_sizes, write_list
from fakemedia.scoring.model import Facts, Model
from fakemedia.scoring.open_model import open_model
from fakemedia.scoring.summary import score_table
from fakemedia.store.faces import FaceChoice

if TYPE_CHECKING:
    from fakemedia.runtime.device import Runtime

VERSION = 1
"""Version of the scores of a file: raised when they change."""
SUFFIX = ".parquet"
FILES, LOCK = "_files.parquet", ".lock"
MIN_INTERVAL = 10.0
"""Seconds between two lines about the progress, at least."""
SCHEMA = pa.schema([
    ("path", pa.string()), ("p_fake", pa.float64()), ("verdict", pa.string()), ("reason", pa.string()),
    ("novelty", pa.float64()), ("logit", pa.float64()), ("threshold", pa.float64()), ("crops", pa.int64()),
    ("seen", pa.float64()), ("width", pa.int64()), ("height", pa.int64()), ("sha256", pa.string()),
    ("detector", pa.string()), ("error", pa.string()), ("frames", pa.int64()), ("p_low", pa.float64()),
    ("p_high", pa.float64()), ("loudest", pa.string())])
"""The columns of a part: those of `summary.csv_table`, not rounded."""


@dataclass(frozen=True, kw_only=True)
class Options:
    """How files are scored; see `scoring.clips.score_media`."""

    batch_size: int
    crops: int
    frames: int
    faces: FaceChoice


@dataclass(frozen=True, kw_only=True)
class Job:
    """The inputs of a worker that scores shards."""

    folder: Path
    checkpoint: Path
    options: Options
    recipe: Recipe
    """That of every part, but for its number."""
    runtime: Mapping[str, Any] = field(default_factory=dict)
    """The settings of the runtime that a worker computes with."""
    cores: int = 1
    """The cores of a worker."""


def score_in_parts(model: Model, patterns: Sequence[str], folder: Path, options: Options, *, checkpoint: Path,
                   runtime: Callable[[], Runtime], cluster: ClusterConfig | None,
                   echo: Callable[[str], None]) -> None:
    """Write the scores of the files at the paths `patterns` as the parts that are missing in `folder`.

    With `cluster` its workers compute the parts, each with its own detector; the results are those of this process
    with as many threads. UserError if `folder` has other content or parts of another detector, or is being written.
    """
    check_writable(folder)
    folder = folder.absolute()
    with _locked(folder):
        list_recipe = _recipe(model.facts, options, patterns, folder)
        files = _listed(patterns, folder, list_recipe, echo)
        recipe = replace(list_recipe, producer="scores of files",
                         inputs={**_detector(model.facts), "files": files.content})
        job = Job(folder=folder, checkpoint=checkpoint.absolute(), options=options, recipe=recipe)
        sizes = shard_sizes(folder / FILES)
        missing = [number for number in range(len(sizes))
                   if not is_current(part(folder, number), _part_recipe(recipe, number))]
        n_scored = sum(sizes) - sum(sizes[number] for number in missing)
        if n_scored:
            echo(f"Scored before: {n_scored:,} of {sum(sizes):,} files")
        progress = _Progress(done=n_scored, total=sum(sizes), echo=echo)
        numbers = (_in_process(model, job, missing) if cluster is None or not missing else
                   _on_cluster(cluster, replace(job, runtime=asdict(runtime()), cores=cluster.cores), missing))
        for number in numbers:
            progress.add(sizes[number])


def part(folder: Path, number: int) -> Path:
    """Return the path of a part."""
    return folder / f"part-{number:06d}{SUFFIX}"


def parts(folder: Path) -> list[Path]:
    """Return the parts of a finished scoring, in order."""
    return [part(folder, number) for number in range(len(shard_sizes(folder / FILES)))]


def write_part(model: Model, job: Job, number: int) -> int:
    """Score a shard, write its part and return its number."""
    media = read_shard(job.folder / FILES, number)
    scores = score_media(model, media, **asdict(job.options), progress=False)
    table = score_table(scores, model.facts, job.folder.parent)
    table["path"] = [os.fsencode(path).decode(errors="backslashreplace") for path in table["path"]]
    path = part(job.folder, number)
    with replacing(path) as scratch:
        pq.write_table(pa.Table.from_pandas(table, SCHEMA, preserve_index=False).replace_schema_metadata(), scratch)
    write_manifest(make_manifest(_part_recipe(job.recipe, number), {path.name: path}), path)
    return number


def score_shard(job: Job, number: int) -> int:
    """Score a shard on a worker, which opens the detector once; UserError if the detector was changed."""
    use_cores(job.cores)
    model = _opened(job.checkpoint, tuple(sorted(job.runtime.items())))
    if any(job.recipe.inputs[name] != value for name, value in _detector(model.facts).items()):
        raise UserError("The detector was changed during the scoring", where=job.checkpoint,
                        do="score into another folder with the new one")
    return write_part(model, job, number)


def _in_process(model: Model, job: Job, missing: Sequence[int]) -> Iterator[int]:
    return (write_part(model, job, number) for number in missing)


def _on_cluster(config: ClusterConfig, job: Job, missing: Sequence[int]) -> Iterator[int]:
    with connected(config, score_shard) as cluster:
        shards = [read_shard(job.folder / FILES, number) for number in {missing[0], missing[-1]}]
        cluster.check(job.folder, reads=[job.checkpoint, *((shard.files + shard.clips)[0] for shard in shards)])
        job_reference = cluster.put(job)
        yield from cluster.map_unordered([(job_reference, number) for number in missing], gpu=True,
                                         what=lambda _, number: part(job.folder, number).name)


@lru_cache(maxsize=1)
def _opened(checkpoint: Path, runtime: tuple[tuple[str, Any], ...]) -> Model:
    def runtime_of() -> Runtime:
        from fakemedia.runtime.device import Runtime

        return Runtime(**dict(runtime))

    return open_model(checkpoint, runtime_of)


def _recipe(facts: Facts, options: Options, patterns: Sequence[str], folder: Path) -> Recipe:
    """Return the recipe of the list of files: paths, options and detector."""
    paths = [os.fsencode(os.path.relpath(path, folder.parent)).decode(errors="backslashreplace") for path in patterns]
    return Recipe(producer="files to score", version=VERSION, settings={"paths": paths, **asdict(options)},
                  inputs=_detector(facts))


def _detector(facts: Facts) -> dict[str, str]:
    """Return the hashes of what a score depends on."""
    calibration, novelty = facts.calibration, facts.novelty
    return {"detector": facts.weights_sha256 or facts.fingerprint,
            "calibration": "none" if calibration is None else fingerprint(calibration.to_json()),
            "novelty": "none" if novelty is None else fingerprint(novelty.to_json())}


def _part_recipe(recipe: Recipe, number: int) -> Recipe:
    return replace(recipe, settings={**recipe.settings, "part": number})


def _listed(paths: Sequence[str], folder: Path, recipe: Recipe, echo: Callable[[str], None]) -> Manifest:
    """Return the manifest of the list of files in `folder`, which is written unless it is there.

    UserError if `folder` has other content, or its list is of another detector, other options or paths, or is damaged.
    """
    path = folder / FILES
    manifest = read_manifest(path)
    if manifest is not None:
        _check_same(manifest, recipe, folder)
        if not has_files(path, manifest, folder=False):
            raise damaged(path)
        return manifest
    others = [name for name in os.listdir(folder) if not name.startswith((".", FILES))]
    if others:
        raise UserError("The folder for the scores has other content", where=f"{folder}: {others[0]}",
                        expected="a new folder, or one of kedro score")
    media = write_list(paths, path)
    for unreadable, reason in media.unreadable.items():
        echo(f"Skipped: {unreadable}: {reason}")
    manifest = make_manifest(recipe, {FILES: path})
    write_manifest(manifest, path)
    return manifest


def _check_same(manifest: Manifest, recipe: Recipe, folder: Path) -> None:
    old, new = ({**entry.settings, **entry.inputs, "version of scores": entry.version} for entry in (manifest, recipe))
    differences = [f"{name}: {_short(old.get(name))} instead of {_short(value)}"
                   for name, value in new.items() if old.get(name) != value]
    if differences:
        raise UserError(f"The folder holds scores with {'; '.join(differences)}", where=folder,
                        expected="the same paths, options and detector, to resume it",
                        do="choose another folder, or delete this one")


def _short(value: object) -> str:
    text = ", ".join(value) if isinstance(value, list) else str(value)
    return text if len(text) <= 60 else f"{text[:12]}..."


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    lock = FileLock(folder / LOCK)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        raise UserError("Another process writes scores into this folder", where=folder,
                        do="wait for its end, or choose another folder") from None
    try:
        yield
    finally:
        lock.release()


class _Progress:
    """Prints from time to time how many files are scored, the rate, and the remaining time."""

    def __init__(self, *, done: int, total: int, echo: Callable[[str], None]) -> None:
        self._initial, self._done, self._total, self._print = done, done, total, echo
        self._start = self._last_print = time.monotonic()

    def add(self, files: int) -> None:
        """Count the files of a part."""
        self._done += files
        now = time.monotonic()
        if self._done < self._total and now - self._last_print < MIN_INTERVAL:
            return
        rate = (self._done - self._initial) / max(now - self._start, 1e-9)
        remaining = timedelta(seconds=round((self._total - self._done) / rate))
        self._print(f"Scored {self._done:,} of {self._total:,} files, {rate:.0f} a second"
                   + (f", about {remaining} left" if self._done < self._total else ""))
        self._last_print = now
