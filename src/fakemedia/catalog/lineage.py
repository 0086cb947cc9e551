"""The inputs and recipe of every artefact: one function for each kind, for the catalog and `kedro plan`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import cache, wraps
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from parse import compile as compiled

from fakemedia.artefacts.manifest import Recipe, read_checked
from fakemedia.catalog import names
from fakemedia.catalog.artefact import Artefact, Currency, Hashes
from fakemedia.context.context import Context
from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plan

if TYPE_CHECKING:
    from fakemedia.ingest.parts import Table
    from fakemedia.store.pixels import Files

Method = TypeVar("Method", bound=Callable)
REPORTING_VERSION = 2
"""Version of tables, figures and pages: raised when the same results give a different report."""


def _once(method: Method) -> Method:
    """Return a method of `Lineage` whose results are cached by its arguments."""

    @wraps(method)
    def call(self: Lineage, *args: Any, **kwargs: Any) -> Any:
        key = (method.__name__, args, tuple(sorted(kwargs.items())))
        if key not in self._cache:
            self._cache[key] = method(self, *args, **kwargs)
        return self._cache[key]

    return call  # type: ignore[return-value]


class Lineage:
    """The artefacts of one context, by their names in the catalog."""

    def __init__(self, context: Context) -> None:
        self.context = context
        self.currency = Currency(context.storage)
        self._cache: dict[Any, Any] = {}
        self._kinds: dict[str, Callable[..., Artefact]] = {
            names.INDEX: self.index, names.FINDINGS: self.findings, names.SPLIT: self.store,
            **{entry: self._audit_part(entry) for entry in (names.AUDIT_FINDINGS, names.AUDIT, names.AUDIT_FIGURE,
                                                            names.AUDIT_PAGE)},
            names.DISTANCES: self.distances, names.GROUPS: self.groups,
            names.SIMILARITY_FIGURES: self.similarity_figures, names.CHECKPOINT: self.checkpoint,
            names.SCORES: self.scores, names.VALIDATION_SCORES: self.validation_scores,
            names.NOVELTY: self.novelty, names.CALIBRATION: self.calibration, names.ROBUSTNESS: self.robustness,
            names.REPORT_PART: self.report_part, names.COMPARISON_PART: self.comparison_part,
            names.MONITORING_PART: self.monitoring_part,
        }

    def artefact(self, dataset: str) -> Artefact | None:
        """Return the artefact of a dataset; None if it has none, such as one in memory."""
        for pattern in sorted(self._kinds, key=_literal_length, reverse=True):
            match = _parser(pattern).parse(dataset)
            if match is not None:
                return self._kinds[pattern](**match.named)
        return None

    def hold(self, store: Path) -> None:
        """Protect the pixels in the folder `store` from eviction from the cache as long as this process runs."""
        if self.context.storage is not None:
            self.context.storage.hold(store)

    def content(self, artefact: Artefact) -> str | None:
        """Return the content hash of `artefact` if it matches the current parameters and data, else None."""
        return self.currency.content(artefact)

    @_once
    def index(self, *, collection: str, task: str) -> Artefact:
        """Return the index of a task; it is current while the source has the files that were indexed."""
        from fakemedia.ingest.derived import derivation
        from fakemedia.ingest.index import index_recipe

        settings = self.context.collection(collection)
        return Artefact(path=self.context.path(names.INDEX, collection=collection, task=task),
                        recipe=lambda _: index_recipe(task, settings.source, derivation(settings)), folder=True,
                        read_first=True, reused=True, holds=lambda: self._is_indexed(collection, task))

    def _is_indexed(self, collection: str, task: str) -> bool:
        """Return whether the source has the files that were indexed; changed modification times are recorded."""
        from fakemedia.ingest.index import refreshed
        from fakemedia.ingest.parts import Index, read_index, write_index

        if not self._is_forged(collection, task):
            return False
        artefact = self.index(collection=collection, task=task)
        try:
            index = read_index(artefact.path)
            indexed = refreshed(index, self.context.open_source(collection), task)
        except UserError:
            return False
        if isinstance(indexed, Index) and indexed is not index:  # So that touched files are not read again next time.
            write_index(indexed, artefact.path, artefact.recipe({}))
        return indexed is not None

    def _is_forged(self, collection: str, task: str) -> bool:
        from fakemedia.forge.tasks import is_forged

        config = self.context.forge_config(collection)
        root = self.context.collection_parameters(collection)["source"].get("root")
        return config is None or is_forged(config, Path(root), task)

    @_once
    def findings(self, *, collection: str, task: str) -> Artefact:
        """Return the findings of the audit of a task."""
        from fakemedia.ingest.audit import findings_recipe

        config = self.context.collection(collection).audit_config
        return Artefact(path=self.context.path(names.FINDINGS, collection=collection, task=task),
                        inputs={"index": self.index(collection=collection, task=task)},
                        recipe=lambda hashes: findings_recipe(hashes["index"], config))

    @_once
    def store(self, *, collection: str, task: str, split: str) -> Artefact:
        """Return the pixel store of a split; its content is that of its pictures, labels and source groups."""
        from fakemedia.ingest.build_store import is_intact, store_recipe
        from fakemedia.ingest.index import index_fingerprint

        settings = self.context.collection(collection)
        index, findings = (kind(collection=collection, task=task) for kind in (self.index, self.findings))
        path = self.context.path(names.SPLIT, collection=collection, task=task, split=split)
        return Artefact(
            path=path, folder=True, reused=True, inputs={"index": index, "findings": findings},
            holds=lambda: is_intact(path),
            recipe=lambda _: store_recipe(index_fingerprint(self._kept(index.path, findings.path), split),
                                          policy=settings.policy, stream=settings.stream))

    @_once
    def _kept(self, index: Path, findings: Path) -> Table:
        """Return the rows of the index at `index` without those left out by the audit at `findings`."""
        import pandas as pd

        from fakemedia.ingest.audit import kept_rows
        from fakemedia.ingest.parts import read_index

        return kept_rows(read_index(index), pd.read_parquet(BytesIO(read_checked(findings))))

    def files(self, *, collection: str, task: str) -> Files:
        """Return the current paths of the image files of a task, for its streaming stores."""
        from fakemedia.ingest.build_store import image_files
        from fakemedia.ingest.parts import read_index

        index = read_index(self.context.path(names.INDEX, collection=collection, task=task))
        return image_files(index, self.context.open_source(collection))

    def _audit_part(self, entry: str) -> Callable[..., Artefact]:
        """Return the function for a part of the audit of all tasks of a sequence."""

        def part(*, collection: str, sequence: str) -> Artefact:
            findings = {task: self.findings(collection=collection, task=task)
                        for task in self.context.plan(sequence).tasks}
            return Artefact(path=self.context.path(entry, collection=collection, sequence=sequence), inputs=findings,
                            recipe=_plain("audit", 1, {"sequence": sequence}))

        return part

    def _train_stores(self, plan: Plan) -> dict[str, Artefact]:
        return {task: self.store(collection=plan.collection, task=task, split="train") for task in plan.listed}

    @_once
    def distances(self, *, sequence: str, measure: str) -> Artefact:
        """Return the distances between the tasks of a sequence by one measure."""
        from fakemedia.learning.recipes import identified
        from fakemedia.similarity.distance_recipes import distances_recipe

        plan = self.context.plan(sequence)
        network = identified(self.context.feature_network(plan))
        return Artefact(
            path=self.context.path(names.DISTANCES, sequence=sequence, measure=measure),
            inputs=self._train_stores(plan),
            recipe=lambda hashes: distances_recipe(plan.measures[measure], similarity=plan.similarity,
                                                   crop=plan.training.crop, data=hashes, network=network))

    @_once
    def groups(self, *, sequence: str) -> Artefact:
        """Return the groups of tasks that a sequence learns in turn."""
        from fakemedia.similarity.distance_recipes import groups_recipe

        plan = self.context.plan(sequence)
        grouping = plan.grouping
        assert grouping is not None
        return Artefact(
            path=self.context.path(names.GROUPS, sequence=sequence),
            inputs={**self._train_stores(plan),
                    "distances": self.distances(sequence=sequence, measure=grouping.measure)},
            recipe=lambda hashes: groups_recipe(
                grouping, distances=hashes["distances"], similarity=plan.similarity, crop=plan.training.crop,
                data={task: hashes[task] for task in plan.listed}))

    def similarity_figures(self, *, sequence: str) -> Artefact:
        """Return the figures of the similarity of the tasks of a sequence."""
        plan = self.context.plan(sequence)
        distances = {f"distances {measure}": self.distances(sequence=sequence, measure=measure)
                     for measure in plan.measures}
        return Artefact(path=self.context.path(names.SIMILARITY_FIGURES, sequence=sequence),
                        inputs={**self._train_stores(plan), **distances},
                        recipe=_plain("similarity figures", REPORTING_VERSION, {"crop": plan.training.crop}))

    @_once
    def checkpoint(self, *, sequence: str, label: str, stage: str, seed: str | int) -> Artefact:
        """Return the checkpoint of a stage."""
        from fakemedia.learning.recipes import stage_recipe

        plan = self._resolved(sequence)
        current, parent = plan.stage(stage), plan.parent(label, plan.stage(stage))
        inputs = {f"{task} {split}": self.store(collection=plan.collection, task=task, split=split)
                  for split, tasks in (("train", plan.trained_tasks(label, current)),
                                       ("val", plan.validation_tasks(label, current))) for task in tasks}
        if parent is not None:
            inputs["parent"] = self.checkpoint(sequence=sequence, label=label, stage=parent.key, seed=seed)

        def recipe(hashes: Hashes) -> Recipe:
            data: dict[str, dict[str, str]] = {}
            for name, content in hashes.items():
                if name != "parent":
                    task, split = name.split()
                    data.setdefault(task, {})[split] = content
            return stage_recipe(method=plan.method(label), seed=int(seed), stage=current, data=data,
                                parent=hashes.get("parent"))

        path = self.context.path(names.CHECKPOINT, sequence=sequence, label=label, seed=seed, stage=stage)
        return Artefact(path=path, inputs=inputs, recipe=recipe, folder=True)

    @_once
    def scores(self, *, sequence: str, label: str, stage: str, seed: str | int) -> Artefact:
        """Return the scores of a checkpoint on the test splits of all tasks."""
        novelty = self.novelty(sequence=sequence, label=label, stage=stage, seed=seed)
        return self._scores(names.SCORES, "test", self._resolved(sequence).tasks, sequence, label, stage, seed,
                            {"novelty": novelty})

    @_once
    def validation_scores(self, *, sequence: str, label: str, stage: str, seed: str | int) -> Artefact:
        """Return the scores of a checkpoint on the validation splits of the tasks it has seen."""
        seen = self._resolved(sequence).stage(stage).seen
        return self._scores(names.VALIDATION_SCORES, "val", seen, sequence, label, stage, seed)

    def _scores(self, entry: str, split: str, tasks: tuple[str, ...], sequence: str, label: str, stage: str,
                seed: str | int, more_inputs: dict[str, Artefact] | None = None) -> Artefact:
        from fakemedia.learning.recipes import scores_recipe

        plan = self._resolved(sequence)
        stores = {task: self.store(collection=plan.collection, task=task, split=split) for task in tasks}
        return Artefact(
            path=self.context.path(entry, sequence=sequence, label=label, seed=seed, stage=stage),
            inputs={"checkpoint": self.checkpoint(sequence=sequence, label=label, stage=stage, seed=seed), **stores,
                    **(more_inputs or {})},
            recipe=lambda hashes: scores_recipe(
                checkpoint=hashes["checkpoint"], crop=plan.method(label).training.crop,
                data={task: hashes[task] for task in tasks}, novelty=hashes.get("novelty")))

    @_once
    def novelty(self, *, sequence: str, label: str, stage: str, seed: str | int) -> Artefact:
        """Return the novelty of a checkpoint."""
        from fakemedia.evaluation.novelty import novelty_recipe

        plan, fields = self._resolved(sequence), {"sequence": sequence, "label": label, "stage": stage, "seed": seed}
        stores = {(task, split): self.store(collection=plan.collection, task=task, split=split)
                  for task in plan.stage(stage).seen for split in ("train", "val")}
        return Artefact(
            path=self.context.path(names.NOVELTY, **fields),
            inputs={"checkpoint": self.checkpoint(**fields), **{" ".join(key): store for key, store in stores.items()}},
            recipe=lambda hashes: novelty_recipe(
                checkpoint=hashes["checkpoint"], crop=plan.method(label).training.crop,
                data={name: content for name, content in hashes.items() if name != "checkpoint"}))

    @_once
    def calibration(self, *, sequence: str, label: str, stage: str, seed: str | int) -> Artefact:
        """Return the calibration of a checkpoint."""
        from fakemedia.evaluation.calibration import calibration_recipe

        key = {"sequence": sequence, "label": label, "stage": stage, "seed": seed}
        return Artefact(path=self.context.path(names.CALIBRATION, **key),
                        inputs={"scores": self.validation_scores(**key)},
                        recipe=lambda hashes: calibration_recipe(self.context.calibration, scores=hashes["scores"]))

    @_once
    def robustness(self, *, sequence: str, label: str, seed: str | int) -> Artefact:
        """Return the scores of the last checkpoint of a run on perturbed test images."""
        from fakemedia.learning.recipes import robustness_recipe

        plan, config = self._resolved(sequence), self.context.robustness(sequence)
        assert config is not None
        stores = {task: self.store(collection=plan.collection, task=task, split="test") for task in plan.tasks}
        checkpoint = self.checkpoint(sequence=sequence, label=label, stage=plan.stages[-1].key, seed=seed)
        return Artefact(
            path=self.context.path(names.ROBUSTNESS, sequence=sequence, label=label, seed=seed),
            inputs={"checkpoint": checkpoint, **stores},
            recipe=lambda hashes: robustness_recipe(
                checkpoint=hashes["checkpoint"], crop=plan.method(label).training.crop,
                data={task: hashes[task] for task in plan.tasks}, config=config))

    def report_part(self, *, sequence: str, part: str) -> Artefact:
        """Return a figure set, table or text of the report of a sequence."""
        plan = self.context.plan(sequence)
        settings = {"families": self.context.families(plan.collection), **_reported(plan)}
        inputs = self._results(plan)
        if part == "report" and plan.measures and len(plan.tasks) > 1:
            inputs["similarity"] = self.similarity_figures(sequence=sequence)
        return Artefact(path=self._report_path(names.REPORT_PART, sequence, part), inputs=inputs,
                        recipe=_plain(f"report {part}", REPORTING_VERSION, settings))

    def comparison_part(self, *, sequence: str, part: str) -> Artefact:
        """Return a figure set, table or text of the comparison of a sequence with others."""
        plans = self.context.compared(sequence)
        distances = {f"distances {measure}": self.distances(sequence=sequence, measure=measure)
                     for measure in plans[0].measures}
        results = {f"{plan.sequence} {name}": artefact
                   for plan in plans for name, artefact in self._results(plan).items()}
        return Artefact(path=self._report_path(names.COMPARISON_PART, sequence, part), inputs={**distances, **results},
                        recipe=_plain(f"comparison {part}", REPORTING_VERSION,
                                      {"plans": [_reported(plan) for plan in plans]}))

    def monitoring_part(self, *, part: str) -> Artefact:
        """Return a result of monitoring; it is never current, since the log grows."""
        return Artefact(path=self.context.path(names.MONITORING_PART.format(part=part)), holds=lambda: False,
                        recipe=_plain(f"monitoring {part}", REPORTING_VERSION, asdict(self.context.monitoring)))

    def _report_path(self, pattern: str, sequence: str, part: str) -> Path:
        """Return the path of a part of a report, by the entry of the catalog that matches its name."""
        name = pattern.format(sequence=sequence, part=part)
        entries = [entry for entry in self.context.catalog if _parser(entry).parse(name) is not None]
        entry = max(entries, key=_literal_length)
        return self.context.path(entry, **_parser(entry).parse(name).named)

    def _results(self, plan: Plan) -> dict[str, Artefact]:
        """Return the inputs of the report of `plan`: scores, calibrations, checkpoints and perturbed scores."""
        results: dict[str, Artefact] = {}
        for method in plan.methods:
            for seed in plan.seeds_of(method.label):
                run = {"sequence": plan.sequence, "label": method.label, "seed": seed}
                for stage in plan.learned(method.label):
                    name = f"{method.label} {seed} {stage.key}"
                    results[f"{name} checkpoint"] = self.checkpoint(**run, stage=stage.key)
                    results[f"{name} scores"] = self.scores(**run, stage=stage.key)
                    results[f"{name} calibration"] = self.calibration(**run, stage=stage.key)
                if self.context.robustness(plan.sequence):
                    results[f"{method.label} {seed} robustness"] = self.robustness(**run)
        return results

    @_once
    def _resolved(self, sequence: str) -> Plan:
        return self.context.plan(sequence).rooted(self.context.root).resolved()


def _reported(plan: Plan) -> dict[str, Any]:
    """Return the settings of a plan that a report shows beside its results."""
    return {"sequence": plan.sequence, "labels": [method.label for method in plan.methods],
            "seeds": {method.label: plan.seeds_of(method.label) for method in plan.methods},
            "stages": plan.stages}


def _plain(producer: str, version: int, settings: dict[str, Any]) -> Callable[[Hashes], Recipe]:
    return lambda hashes: Recipe(producer=producer, version=version, settings=settings, inputs=dict(hashes))


@cache
def _parser(pattern: str) -> Any:
    return compiled(pattern)


def _literal_length(pattern: str) -> int:
    return sum(len(part.partition("}")[2]) for part in pattern.split("{"))
