"""The project in Python: `import fakemedia as fm`, then `fm.load`, `fm.run` and `fm.results`.

A project is found from the working directory, which may be any folder in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fakemedia.context.loading import load_context, project_folder
from fakemedia.core.errors import UserError

if TYPE_CHECKING:
    import pandas as pd
    from numpy.typing import NDArray
    from PIL import Image

    from fakemedia.context.context import Context
    from fakemedia.core.plan import Plan
    from fakemedia.reporting.tables import Tables
    from fakemedia.scoring.model import Facts, Model
    from fakemedia.scoring.paths import MediaFiles

    Picture = str | Path | NDArray[np.uint8] | Image.Image

PACKAGE = __name__.partition(".")[0]


class Detector:
    """A detector that scores pictures; made by `load`."""

    def __init__(self, model: Model, name: str) -> None:
        self._model, self.name = model, name

    def __repr__(self) -> str:
        facts = self.facts
        state = "calibrated" if facts.calibration else "not calibrated"
        return f"<Detector {self.name}: {facts.network}, {state}, knows {', '.join(facts.tasks)}>"

    @property
    def facts(self) -> Facts:
        """Network, tasks that it knows, crop, policy, calibration and SHA-256 of its weights."""
        return self._model.facts

    def score(self, pictures: Picture | Iterable[Picture], *, crops: int | None = None,
              batch_size: int = 64) -> pd.DataFrame:
        """Return P(fake) and a verdict for each picture, one row each.

        `pictures` are paths (files, folders, globs; videos too), or pictures in memory: arrays uint8 (H, W, 3), RGB,
        or Pillow images. At most `crops` crops of each are used, by default as many as
        the detector is best on in validation, `batch_size` at once.

        Columns as in `fakemedia.scoring.scores.score_files`, of videos as in `scoring.clips.score_clips`: path (of
        a picture in memory `picture 0`, ...), p_fake, verdict, reason, logit, crops, seen, width, height, sha256,
        error. UserError if a path does not exist, there is nothing to score, or an array has another shape or type.
        """
        from fakemedia.scoring.clips import score_media
        from fakemedia.scoring.scores import score_files

        media = _media_or_arrays(pictures)
        score: Any = score_files if isinstance(media, list) else score_media
        return score(self._model, media, crops=crops, batch_size=batch_size, progress=False)


@dataclass(frozen=True)
class SequenceResults:
    """The results of a sequence in the project, each read when it is first requested; made by `results`."""

    context: Context
    plan: Plan

    def __repr__(self) -> str:
        labels = ", ".join(method.label for method in self.plan.methods)
        return f"<SequenceResults {self.plan.sequence}: {labels}; seeds {', '.join(map(str, self.plan.seeds))}>"

    @cached_property
    def scores(self) -> pd.DataFrame:
        """The scores of every checkpoint on the test pictures of all tasks, one row a picture and checkpoint.

        Columns: id, task, label (1 fake), source, logit (z_fake - z_real), method, seed, stage (from 1). UserError if
        there are none.
        """
        import pandas as pd

        from fakemedia.catalog.file_datasets import TableDataset
        from fakemedia.catalog.names import SCORES

        sequence, tables = self.plan.sequence, []
        for method in self.plan.methods:
            for seed in self.plan.seeds_of(method.label):
                for stage in self.plan.learned(method.label):
                    path = self.context.path(SCORES, sequence=sequence, label=method.label, seed=seed, stage=stage.key)
                    if path.exists():
                        tables.append(TableDataset(str(path)).load().assign(method=method.label, seed=seed,
                                                                            stage=stage.index))
        if not tables:
            raise UserError("The sequence has no scores", where=sequence,
                            do=f"fakemedia.run({sequence!r}), or kedro run --pipelines {sequence}")
        return pd.concat(tables, ignore_index=True)

    @cached_property
    def tables(self) -> Tables:
        """Every table of the report, with 95 % intervals; the first access takes seconds."""
        from fakemedia.pipelines.reporting.nodes import tabulate
        from fakemedia.reporting.results import gather

        results = gather(self.scores, sequence=self.plan.sequence, network=self.plan.network.name,
                         stages=self.plan.stages, methods=[method.label for method in self.plan.methods],
                         seeds=self.plan.seeds,
                         planned={method.label: self.plan.seeds_of(method.label) for method in self.plan.methods})
        return tabulate(results, plan=self.plan, families=self.context.families(self.plan.collection))

    @property
    def summary(self) -> pd.DataFrame:
        """Mean over seeds of each metric (columns) for each method (rows); intervals are in `tables.summary`.

        Accuracies and forgetting are in percent, AUC is a fraction.
        """
        summary = self.tables.summary
        table = summary.pivot(index="method", columns="metric", values="mean")
        return table.loc[list(dict.fromkeys(summary["method"])), list(dict.fromkeys(summary["metric"]))]

    @property
    def runs(self) -> pd.DataFrame:
        """The metrics of every run: one row for each method and seed."""
        return self.tables.runs

    def matrix(self, method: str, measure: str = "accuracy") -> pd.DataFrame:
        """Return the matrix of a method: row = after a stage, column = task; mean over seeds.

        `measure` is `accuracy` (percent) or `auc` (a fraction). UserError for another method or measure.
        """
        from fakemedia.core.errors import unknown_name

        matrices = self.tables.matrices
        for kind, name, column in (("method", method, "method"), ("measure", measure, "measure")):
            if name not in set(matrices[column]):
                raise unknown_name(kind, name, set(matrices[column]), where=f"results of {self.plan.sequence}")
        rows = matrices.loc[(matrices["method"] == method) & (matrices["measure"] == measure)]
        table = rows.pivot(index="key", columns="task", values="mean")
        return table.loc[[stage.key for stage in self.plan.stages], list(self.plan.tasks)]

    @property
    def report(self) -> Path:
        """The path of the report, a page for the browser; it need not exist."""
        from fakemedia.catalog.names import REPORT

        return self.context.path(REPORT, sequence=self.plan.sequence)


def load(detector: str | Path) -> Detector:
    """Return the detector at a path (checkpoint folder, detector folder, .onnx file) or of a run.

    Inside a project it may be named `sequence/label[/seed][/stage]`, such as `demo/ridge`: the last stage of the
    first seed. It computes on the device that the project configures, outside a project on the best available.
    UserError if there is no such detector, or it is damaged.
    """
    from fakemedia.catalog.handles import find_checkpoint
    from fakemedia.runtime.device import Runtime
    from fakemedia.scoring.open_model import open_model

    context = _context() if project_folder() else None
    path = find_checkpoint(str(detector), context)
    return Detector(open_model(path, lambda: context.runtime if context else Runtime()), str(detector))


def run(sequence: str | None = None, *, params: Mapping[str, Any] | None = None, tags: Iterable[str] = (),
        env: str | None = None, only_missing: bool = False) -> SequenceResults:
    """Run a sequence as `kedro run` does and return its results.

    `sequence` is None for the project's default. `params` replace parameters, such as `{"n_seeds": 3}` or
    `{"runtime.precision": "float32"}`, and may be nested mappings; `tags` select a part (`ingestion`, `training`, a
    label, `reporting`); `env` names a folder of `conf/`; `only_missing` skips what is current. UserError as the command
    prints it; runs on several devices are started by the command alone.
    """
    from fakemedia.cli.plain_errors import user_error
    from fakemedia.cli.run_command import defaults, run_pipelines

    changes = _nested(params or {})
    context = _context(params=changes, env=env)
    name = context.default_sequence if sequence is None else context.plan(sequence).sequence
    try:
        run_pipelines(**{**defaults(), "pipelines": [name], "params": changes, "tags": list(tags), "env": env,
                         "only_missing_outputs": only_missing})
    except Exception as error:
        input_error = user_error(error)
        if input_error is None:
            raise
        raise input_error from error
    return results(name, params=changes, env=env)


def results(sequence: str | None = None, *, params: Mapping[str, Any] | None = None,
            env: str | None = None) -> SequenceResults:
    """Return the results of a sequence of the project, None for its default one; nothing is run.

    `params` and `env` as in `run`: they determine which methods and seeds are read. UserError for an unknown sequence.
    """
    context = _context(params=_nested(params or {}), env=env)
    return SequenceResults(context, context.plan(sequence or context.default_sequence))


def _context(params: Mapping[str, Any] | None = None, env: str | None = None) -> Context:
    from kedro.framework.project import configure_project

    configure_project(PACKAGE)
    return load_context(params=params, env=env)


def _nested(params: Mapping[str, Any]) -> dict[str, Any]:
    """Return `params` with dotted keys as mappings, as `--params` reads them."""
    nested: dict[str, Any] = {}
    for key, value in params.items():
        *outer, last = key.split(".")
        level = nested
        for part in outer:
            level = level.setdefault(part, {})
        level[last] = _nested(value) if isinstance(value, Mapping) else value
    return nested


def _media_or_arrays(pictures: Any) -> MediaFiles | list[NDArray[np.uint8]]:
    """Return `pictures` as files, or as arrays."""
    from PIL import Image

    from fakemedia.scoring.paths import find_media

    pictures_list = [pictures] if isinstance(pictures, str | Path | np.ndarray | Image.Image) else list(pictures)
    arrays: list[NDArray[np.uint8]] = []
    paths = [str(picture) for picture in pictures_list if isinstance(picture, str | Path)]
    if len(paths) == len(pictures_list) and pictures_list:
        return find_media(paths)
    for number, picture in enumerate(pictures_list):
        pixels = _pixels(picture, number) if isinstance(picture, Image.Image) else picture
        if not (isinstance(pixels, np.ndarray) and pixels.dtype == np.uint8 and pixels.ndim == 3
                and pixels.shape[2] == 3 and pixels.size):
            raise UserError(f"Picture {number} cannot be scored: {_kind(picture)}", where="score",
                            expected="only paths, or only pictures in memory: arrays uint8 (H, W, 3), RGB, and Pillow "
                            "images")
        arrays.append(pixels)
    if not arrays:
        raise UserError("There is nothing to score", where="score", expected="one picture at least")
    return arrays


def _pixels(image: Image.Image, number: int) -> NDArray[np.uint8]:
    from fakemedia.store.decode import DecodeError, upright_rgb

    try:
        return upright_rgb(image.copy())
    except DecodeError as error:
        raise UserError(f"Picture {number} cannot be scored: {error}", where="score") from None


def _kind(value: Any) -> str:
    return f"array {value.dtype} {value.shape}" if isinstance(value, np.ndarray) else type(value).__name__
