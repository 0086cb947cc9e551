"""The model card of a detector: README.md with front matter, as the Hugging Face hub reads it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from fakemedia.evaluation.calibration import Calibration
from fakemedia.evaluation.novelty import QUANTILE, Novelty
from fakemedia.reporting.formats import escape_markdown, interval, number
from fakemedia.scoring.card_metrics import AT_HALF, CALIBRATED, Estimate, TaskEstimates, task_estimates
from fakemedia.scoring.model import Facts

if TYPE_CHECKING:
    import pandas as pd

CARD = "README.md"
"""The name of the card's file in a detector's folder."""
UNKNOWN_LICENCE = "unknown"
HUB_METRICS = {"accuracy": ("accuracy", 100), "auc": ("roc_auc", 1)}
"""The hub's name of a metric, by ours, and what ours is divided by: the hub has fractions."""
ALWAYS = (
    "It knows the traces of the generators that it learned. New generators appear all the time.",
    "Resizing and strong compression remove traces: measure them on pictures like yours.",
    "Without a calibration on pictures like yours, P(fake) is no probability of a fake among them.",
)


@dataclass(frozen=True, kw_only=True)
class CardInfo:
    """Contents of a card beside the facts of the checkpoint itself."""

    name: str
    """Name of the detector, such as `demo/ridge/seed0/04_sr_x2`."""
    scores: pd.DataFrame | None = None
    """Scores of these weights on test pictures, as `evaluation.predict.score_suite` gives them; None: not measured."""
    families: Mapping[str, str] = field(default_factory=dict)
    """Family of the generator of a task, where it is declared."""
    licence: str = UNKNOWN_LICENCE
    """Licence of the weights: an identifier of the hub, such as `cc-by-nc-4.0`."""


def model_card(info: CardInfo, facts: Facts, stages: Sequence[Mapping[str, Any]], *, onnx: bool, state: bool,
               pictures: int = 0) -> str:
    """Return the card as Markdown.

    `stages` are the contents of `checkpoint.json` of every stage, from the first; `onnx` and `state` say whether the
    folder has an ONNX file and the state of the method, in which `pictures` are held.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    meta = stages[-1]
    estimates = [] if info.scores is None else task_estimates(info.scores, facts.tasks, facts.calibration)
    environment = Environment(loader=PackageLoader("fakemedia.scoring"), undefined=StrictUndefined, autoescape=False)
    return environment.get_template("model_card.md").render(
        front_matter=_front_matter(info, facts, meta, estimates), name=info.name, facts=facts, stages=stages,
        method=meta.get("method", {}).get("name"), tune=meta.get("tune"), tasks=_tasks(info, facts, stages, estimates),
        data=list(_data(stages)), metrics=_tables(facts, estimates), calibration=_calibration(facts.calibration),
        novelty=_novelty(facts.novelty),
        limits=[*ALWAYS, *_limits(facts, estimates)], onnx=onnx, state=state, pictures=pictures,
        versions=", ".join(f"{name} {version}" for name, version in meta.get("versions", {}).items()),
        licence=_licence(info.licence)) + "\n"


def _front_matter(info: CardInfo, facts: Facts, meta: Mapping[str, Any], measured: Sequence[TaskEstimates]) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    results = [EvalResult(task_type="image-classification", dataset_type=task.name, dataset_name=f"{task.name}, test",
                          metric_type=kind, metric_value=round(estimate.mean / scale, 4),
                          metric_name=_metric_name(name, estimate, scale))
               for task in measured if task.points
               for name, estimate in task.values.items()
               for kind, scale in [HUB_METRICS.get(name.split()[0], ("", 1))] if kind and np.isfinite(estimate.mean)]
    method = meta.get("method", {}).get("name")
    tags = ["deepfake-detection", "continual-learning", facts.network, *([method] if method else [])]
    return ModelCardData(license=info.licence, library_name="fakemedia", pipeline_tag="image-classification",
                         tags=tags, model_name=info.name.replace("/", "-"), eval_results=results or None,
                         metrics=[kind for kind, _ in HUB_METRICS.values()] if results else None).to_yaml()


def _metric_name(name: str, estimate: Estimate, scale: int) -> str:
    span = interval(estimate.low / scale, estimate.high / scale, 3)
    return f"{'AUC' if name == 'auc' else name}{f', 95 % interval {span}' if span else ''}"


def _tasks(info: CardInfo, facts: Facts, stages: Sequence[Mapping[str, Any]],
           measured: Sequence[TaskEstimates]) -> list[dict[str, str]]:
    learned = {task: stage["stage"]["index"] for stage in stages for task in stage["stage"]["tasks"]}
    learned = {**dict.fromkeys(facts.tasks, ""), **learned}
    names = dict.fromkeys([*learned, *(task.name for task in measured if task.points)])
    return [{"name": escape_markdown(name), "family": info.families.get(name, ""),
             "stage": (str(learned[name]) or "learned") if name in learned else ""} for name in names]


def _data(stages: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for stage in stages:
        for task, hashes in stage.get("data", {}).items():
            if hashes.get("train"):
                yield {"stage": stage["stage"]["index"], "task": escape_markdown(task),
                       **{split: f"`{hashes[split]}`" if hashes.get(split) else "" for split in ("train", "val")}}


def _tables(facts: Facts, measured: Sequence[TaskEstimates]) -> list[dict[str, Any]]:
    if not measured:
        return []
    tables = [_table("At P(fake) = 0.5", measured, {
        "accuracy": f"accuracy {AT_HALF}", "true positives": f"tpr {AT_HALF}", "true negatives": f"tnr {AT_HALF}",
        "AUC": "auc"}, {"EER": ("eer", 3), "found at 1 % false alarms": ("tpr_1", 1),
                        "found at 5 % false alarms": ("tpr_5", 1)})]
    if facts.calibration is not None:
        tables.append(_table(f"At the calibrated threshold, P(fake) = {facts.calibration.threshold:.3f}", measured, {
            "accuracy": f"accuracy {CALIBRATED}", "true positives": f"tpr {CALIBRATED}",
            "true negatives": f"tnr {CALIBRATED}"},
            {"not unsure": ("coverage", 1), "accuracy of those": ("accuracy_sure", 1), "ECE": ("ece_calibrated", 3)}))
    return tables


def _table(title: str, measured: Sequence[TaskEstimates], estimates: Mapping[str, str],
           points: Mapping[str, tuple[str, int]]) -> dict[str, Any]:
    rows = []
    for task in measured:
        cells = [_cell(task.values.get(key), 3 if key == "auc" else 1) for key in estimates.values()]
        cells += [number(task.points.get(key, float("nan")), decimals) for key, decimals in points.values()]
        rows.append([escape_markdown(task.name) + ("" if task.learned else " (not learned)"), task.images,
                     task.sources, *cells])
    return {"title": title, "header": ["task", "pictures", "photographs", *estimates, *points], "rows": rows}


def _cell(estimate: Estimate | None, decimals: int) -> str:
    if estimate is None:
        return number(float("nan"), decimals)
    return f"{number(estimate.mean, decimals)} {interval(estimate.low, estimate.high, decimals)}".strip()


def _calibration(calibration: Calibration | None) -> str:
    if calibration is None:
        return "None: P(fake) is the network's own, and no picture is called `fake`, `not flagged` or `unsure` by it."
    low, high = calibration.unsure_low, calibration.unsure_high
    band = "Every picture is unsure" if calibration.always_unsure else f"Unsure from {low:.3f} to {high:.3f}"
    return (f"On {calibration.images} validation pictures of {calibration.sources} photographs, tasks "
            f"{', '.join(map(escape_markdown, calibration.tasks))}: temperature {calibration.temperature:.3f}, fake "
            f"above {calibration.threshold:.3f}. {band}: {calibration.guarantee}.")


def _novelty(novelty: Novelty | None) -> str:
    if novelty is None:
        return "It does not tell when a picture resembles none of its tasks."
    return ("A picture is `unknown` where its features are farther from those of its tasks than those of "
            f"{QUANTILE:.0%} of {novelty.images} validation pictures are.")


def _limits(facts: Facts, measured: Sequence[TaskEstimates]) -> Iterator[str]:
    yield f"It sees crops of {facts.crop} pixels, not the whole picture at once; traces elsewhere are missed."
    chance = [escape_markdown(task.name) for task in measured if task.points and not task.values["auc"].low > 0.5]
    if chance:
        yield f"It is not shown to be better than chance on: {', '.join(chance)}."
    missed = [escape_markdown(task.name) for task in measured
              if task.points and task.values[f"tpr {AT_HALF}"].mean < 50]
    if missed:
        yield f"It calls more than half of the fakes real, at 0.5, of: {', '.join(missed)}."
    if facts.calibration is None or facts.calibration.always_unsure:
        yield "Its verdicts are never `fake` or `not flagged`: see Calibration."


def _licence(licence: str) -> str:
    if licence == UNKNOWN_LICENCE:
        return ("Not stated. The terms of the training pictures and of the network's first weights may restrict "
                "the use of these weights.")
    return f"`{licence}`, as stated by those who exported the weights. The package `fakemedia` is under MIT."
