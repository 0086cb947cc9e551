"""Finished runs in MLflow: settings, metrics by stage, figures, tables, report and last checkpoints."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from fakemedia.registry.client import Registry
from fakemedia.reporting.kept_runs import KeptRun, flat_settings

MAX_CHARACTERS = 500
"""Characters of a parameter at most; the whole is in the file run.json."""
CHECKPOINT_FILES = ("weights.safetensors", "checkpoint.json", "calibration.json")
KEPT_RUN, SEQUENCE, LABEL = "fakemedia.run", "fakemedia.sequence", "fakemedia.label"


def track_run(registry: Registry, run: KeptRun, figures: Path, checkpoints: Mapping[str, Path]) -> list[str]:
    """Log a finished run to the experiment of its sequence, one MLflow run for each label; return their ids.

    A run that is logged already is not logged again: empty. Metrics are means over seeds: accuracy and AUC of each task
    at the step of each stage, `aa` and `auc` over the tasks seen, and those of the summary at the last stage. The first
    label's run also holds report, tables and `figures`. `checkpoints` gives the folder of each label's last checkpoint.
    Raises UserError if the server does not answer, or the database cannot be written.
    """
    experiment = f"fakemedia {run.sequence}"
    if any(record.tags.get(KEPT_RUN) == run.id for record in registry.records(experiment)):
        return []
    run_ids = []
    settings = flat_settings(run.facts["configuration"])
    for label in dict.fromkeys(run.metrics()["method"].astype(str)):
        tags = {KEPT_RUN: run.id, SEQUENCE: run.sequence, LABEL: label, "commit": run.facts["commit"]}
        params = {name: value[:MAX_CHARACTERS] for name, value in settings.items() if _concerns(name, label)}
        run_id = registry.record(experiment, f"{label} {run.id}", tags=tags, params=params,
                                 steps=list(stage_metrics(run, label)))
        with TemporaryDirectory() as scratch:
            folder = Path(scratch)
            if not run_ids:
                shutil.copytree(run.folder, folder, dirs_exist_ok=True)
                shutil.copytree(figures, folder / "figures", ignore=shutil.ignore_patterns(".*", "*.svg", "*.json"))
            for name in CHECKPOINT_FILES:
                if (checkpoints[label] / name).is_file():
                    (folder / "checkpoint").mkdir(exist_ok=True)
                    shutil.copyfile(checkpoints[label] / name, folder / "checkpoint" / name)
            registry.keep_files(run_id, folder)
        run_ids.append(run_id)
    return run_ids


def stage_metrics(run: KeptRun, label: str) -> Iterator[tuple[str, int, float]]:
    """Yield name, step (the stage, from 1) and value of each metric of `label` that is defined."""
    matrices = run.table("matrices")
    rows = matrices.loc[matrices["method"] == label]
    for row in rows.to_dict("records"):
        yield f"{row['measure']}/{row['task']}", int(row["stage"]), row["mean"]
    seen = rows.loc[rows["learned"] <= rows["stage"]]
    for row in seen.groupby(["measure", "stage"], as_index=False)["mean"].mean().to_dict("records"):
        yield "aa" if row["measure"] == "accuracy" else row["measure"], int(row["stage"]), row["mean"]
    summary, last = run.summary(), int(matrices["stage"].to_numpy().max())
    for row in summary.loc[summary["method"] == label].to_dict("records"):
        yield f"final/{row['metric']}", last, row["mean"]


def _concerns(setting: str, label: str) -> bool:
    """Return whether a setting is of the sequence, or of this label."""
    return not setting.startswith("methods.") or setting.startswith(f"methods.{label}.")
