"""`kedro plan`: what a run would train and skip, with images, steps, time and disk space."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from kedro.framework.cli.project import run as kedro_run

from fakemedia.catalog.lineage import Lineage
from fakemedia.catalog.names import CHECKPOINT
from fakemedia.cli.plain_errors import plain_errors
from fakemedia.cli.typed import as_typed
from fakemedia.context.checks import check_trainable
from fakemedia.context.context import Context
from fakemedia.context.loading import load_context
from fakemedia.core.tune import read_tune
from fakemedia.core.types import SPLITS

if TYPE_CHECKING:
    from fakemedia.core.plan import Plan
    from fakemedia.core.types import Stage
    from fakemedia.learning.cost import StageBytes
    from fakemedia.store.pixels import PixelStore

DONE, INTERRUPTED, TO_TRAIN = "done", "begun", "to train"
EARLIER, TIMED = "earlier stages", "steps timed now"
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


@dataclass(frozen=True, kw_only=True)
class Planned:
    """One stage of one method and seed."""

    method: str
    seed: int
    stage: Stage
    status: str
    """DONE: it is skipped; INTERRUPTED: it is resumed from its saved state; TO_TRAIN."""
    epochs: int
    images: int | None
    """Training images per epoch; None if unknown."""
    steps: int | None
    """Steps per epoch."""
    seconds: float | None
    """Upper limit for training and validation; None if unknown."""
    stage_bytes: StageBytes
    memory: int
    """Bytes on the device while it is trained, at most, beside resident pixels."""


def forecast(context: Context, sequence: str) -> tuple[list[Planned], list[str]]:
    """Return the stages of `sequence` in the order of a run, and notes on where the numbers come from.

    Raises UserError for a configuration that a run would refuse.
    """
    from fakemedia.learning.cost import body_passes, passes, stage_bytes
    from fakemedia.learning.device_memory import stage_memory
    from fakemedia.learning.resume import resume_path
    from fakemedia.learning.sequence import check_stages
    from fakemedia.learning.steps import steps

    configured = context.plan(sequence)
    check_trainable(context, configured)
    context.runtime.check()
    plan, lineage = configured.rooted(context.root).resolved(), Lineage(context)
    stores = {task: store for task in plan.tasks if (store := _store(lineage, plan, task, "train"))}
    for method in plan.methods:
        check_stages(plan, method.label, stores)
    sizes, notes = _sizes(lineage, plan)
    rates = _Rates(context, plan, next(iter(stores.values()), None))
    stage_sizes = {method.label: stage_bytes(plan.method(method.label)) for method in plan.methods}
    memories = {method.label: stage_memory(plan.method(method.label), context.runtime) for method in plan.methods}
    rows, cached_tasks = [], {seed: set() for seed in plan.seeds}
    for method, seed, stage in _stages(plan):
        folder = _folder(context, plan, method, seed, stage)
        artefact = lineage.checkpoint(sequence=sequence, label=method, stage=stage.key, seed=seed)
        is_current = lineage.content(artefact) is not None
        trained, validated = plan.trained_tasks(method, stage), plan.validated_tasks(method, stage)
        counts = {task: count for task in {*trained, *validated} if (count := sizes[task]) is not None}
        images = sum(counts[task]["train"] for task in trained) if {*trained, *validated} == {*counts} else None
        method_plan = plan.method(method).at(stage)
        config = method_plan.training
        rate = None if is_current or images is None else rates.of(method, stage)
        image_passes = 0
        if images is not None:
            image_passes = (body_passes(method_plan, counts, trained, validated, cached_tasks[seed])
                            if read_tune(method_plan.tune).kind == "head"
                            else passes(config, images, [counts[task]["val"] for task in validated]))
        rows.append(Planned(
            method=method, seed=seed, stage=stage, epochs=config.epochs, images=images, stage_bytes=stage_sizes[method],
            memory=memories[method],
            status=DONE if is_current else INTERRUPTED if resume_path(folder).exists() else TO_TRAIN,
            steps=None if images is None else steps(config, images),
            seconds=0.0 if is_current else None if rate is None else image_passes / rate))
    return rows, [*notes, *rates.notes()]


def forecast_text(context: Context, sequence: str) -> str:
    """Return the forecast of `sequence` as a table with totals, for a terminal."""
    import pandas as pd

    if not context.plan(sequence).stages:
        return (f"Sequence {sequence}: its stages are groups of similar tasks, which are unknown until they are found: "
                f"kedro run --pipelines {sequence} --tags ingestion,grouping")
    rows, notes = forecast(context, sequence)
    table = pd.DataFrame([{
        "method": row.method, "seed": row.seed, "stage": row.stage.key, "status": row.status,
        "images": _number(row.images), "steps": _number(row.steps and row.epochs * row.steps),
        "time": "-" if row.status == DONE else _time(row.seconds), "disk": _size(row.stage_bytes.checkpoint),
    } for row in rows])
    pending = [row for row in rows if row.status != DONE]
    total = f"{len(pending)} of {len(rows)} stages to train"
    if pending:
        unknown = any(row.seconds is None for row in pending)
        total += (f": {_number(None if unknown else sum(row.epochs * (row.steps or 0) for row in pending))} steps, "
                  f"at most {_time(None if unknown else sum(row.seconds or 0 for row in pending))}; "
                  f"{_size(sum(row.stage_bytes.checkpoint for row in pending))} of checkpoints, and "
                  f"{_size(max(row.stage_bytes.resume for row in pending))} while a stage trains; "
                  "memory of the device beside "
                  f"its pictures at most {_size(max(row.memory for row in pending))}")
    lines = [f"Sequence {sequence}: images per epoch, steps of all epochs", table.to_string(index=False), total + ".",
             *notes]
    return "\n".join(lines)


class _Rates:
    """Images per second of a method at its first stage and at later ones: from earlier stages, or timed now."""

    def __init__(self, context: Context, plan: Plan, store: PixelStore | None) -> None:
        self.context, self.plan, self.store, self._rates = context, plan, store, {}

    def of(self, method: str, stage: Stage) -> float | None:
        """Return the rate; None if no such stage was trained and there is no store for timing."""
        key = (method, stage.index == 1)
        if key not in self._rates:
            self._rates[key] = self._recorded(*key) or self._timed(*key)
        rate = self._rates[key]
        return None if rate is None else rate[0]

    def notes(self) -> Iterator[str]:
        """Yield notes on where the rates come from."""
        for origin in (EARLIER, TIMED):
            rates = [f"{method}{' at its first stage' if first else ''} {rate[0]:.0f}"
                     for (method, first), rate in self._rates.items() if rate and rate[1] == origin]
            if rates:
                facts = self.context.runtime.facts()
                yield (f"Images per second from {origin} ({facts['device']}, {facts['precision']}): "
                       f"{', '.join(rates)}. Scoring, what a method computes after a stage and a head's epochs on its "
                       "features are not included.")

    def _recorded(self, method: str, first: bool) -> tuple[float, str] | None:
        from fakemedia.learning.cost import recorded_rate

        if read_tune(self.plan.method(method).tune).kind == "head":
            return None  # the rate of its epochs, which pass over features
        for label, seed, stage in _stages(self.plan):
            if label == method and (stage.index == 1) == first:
                folder = _folder(self.context, self.plan, method, seed, stage)
                rate = recorded_rate(self.plan.method(method).at(stage), folder, self.context.runtime)
                if rate is not None:
                    return rate, EARLIER
        return None

    def _timed(self, method: str, first: bool) -> tuple[float, str] | None:
        from fakemedia.learning.cost import timed_rate

        if self.store is None:
            return None
        rate = timed_rate(self.plan.method(method), self.store, self.context.runtime, first=first)
        return None if rate is None else (rate * self.context.runtime.devices, TIMED)


def _stages(plan: Plan) -> Iterator[tuple[str, int, Stage]]:
    for method in plan.methods:
        for seed in plan.seeds_of(method.label):
            for stage in plan.learned(method.label):
                yield method.label, seed, stage


def _folder(context: Context, plan: Plan, label: str, seed: int, stage: Stage) -> Path:
    return context.path(CHECKPOINT, sequence=plan.sequence, label=label, seed=seed, stage=stage.key)


def _store(lineage: Lineage, plan: Plan, task: str, split: str) -> PixelStore | None:
    from fakemedia.store.pixels import PixelStore

    artefact = lineage.store(collection=plan.collection, task=task, split=split)
    if lineage.content(artefact) is None:
        return None
    lineage.currency.fetch(artefact)
    return PixelStore.open(artefact.path)


def _sizes(lineage: Lineage, plan: Plan) -> tuple[dict[str, dict[str, int] | None], list[str]]:
    """Return the images of each task by split, None if unknown, and notes."""
    forge = lineage.context.forge_config(plan.collection)
    sizes: dict[str, dict[str, int] | None] = {}
    missing = []
    for task in plan.tasks:
        stores = {split: _store(lineage, plan, task, split) for split in SPLITS}
        if None not in stores.values():
            sizes[task] = {split: len(store) for split, store in stores.items() if store is not None}
        else:
            missing.append(task)
            sizes[task] = None if forge is None else {split: 2 * count for split, count in forge.per_class.items()}
    if not missing:
        return sizes, []
    explanation = "counted from the settings of the forge" if forge else "so images and times are not known"
    return sizes, [f"Not ingested yet, or changed since: {', '.join(missing)}; {explanation}. To ingest them: "
                   f"kedro run --pipelines {plan.sequence} --tags ingestion"]


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}".replace(",", " ")


def _time(seconds: float | None) -> str:
    return "?" if seconds is None else str(timedelta(seconds=round(seconds)))


def _size(value: int) -> str:
    power = min(int(math.log(max(value, 1), 1024)), len(UNITS) - 1)
    return f"{value / 1024**power:.1f} {UNITS[power]}"


@click.command()
@plain_errors
def plan(pipelines: list[str], params: dict[str, Any], **options: Any) -> None:
    """Print what a run would train and skip, with images, steps, time and disk space, without running it.

    The data need not exist yet.
    """
    context = load_context(params=params, **options)
    names = [context.default_sequence if name == "__default__" else name for name in pipelines or ["__default__"]]
    click.echo(as_typed("\n\n".join(forecast_text(context, name) for name in names)))


plan.params += [option for option in kedro_run.params if option.name in ("pipelines", "env", "conf_source", "params")]
