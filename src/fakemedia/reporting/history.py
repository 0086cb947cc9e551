"""How training went and what it cost, from the histories of the stages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fakemedia.artefacts.manifest import read_manifest
from fakemedia.core.errors import UserError
from fakemedia.core.plan import Plan

KEYS = ("method", "seed", "stage")
COSTS = ("seconds", "images_per_second", "memory_mib", "stored_bytes", "state_bytes")


def read_history(path: Path) -> pd.DataFrame:
    """Return one row per epoch of a stage's history: epoch, lr, loss.<term>, seconds, images_per_second, memory_mib.

    `accuracy` and validation.<task> (percent) where it was validated. Empty if there is no file; UserError if it is
    damaged.
    """
    if not path.is_file():
        return pd.DataFrame()
    try:
        records = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
        return pd.json_normalize([{**record, "epoch": int(record["epoch"])} for record in records])
    except (ValueError, KeyError, TypeError, UnicodeDecodeError) as error:
        raise UserError("The history of a stage is damaged", where=path, expected="a JSON record a line, one an epoch",
                        do="delete it: the figures and costs of this stage are then left out") from error


def stage_history(folder: Path, history: Path) -> pd.DataFrame:
    """Return `read_history(history)` with the facts and the size of the checkpoint `folder` in every row.

    Columns weights_sha256, parent_sha256, network, tasks (a tuple), computed_with and data (JSON of the hashes of its
    stores) out of its checkpoint.json, weights_bytes and state_bytes; all missing where there is no checkpoint. One row
    without an epoch where there is no history. Raises UserError for a damaged file.
    """
    epochs = read_history(history)
    if epochs.empty:
        epochs = pd.DataFrame({"epoch": [np.nan]})
    facts = _facts(folder)
    return epochs.assign(tasks=[facts.pop("tasks")] * len(epochs), **facts)


def _facts(folder: Path) -> dict[str, Any]:
    path = folder / "checkpoint.json"
    if not path.is_file():
        return {"weights_sha256": None, "parent_sha256": None, "network": None, "tasks": None,
                "computed_with": None, "data": None, "weights_bytes": np.nan, "state_bytes": np.nan}
    try:
        meta = json.loads(path.read_text(encoding="utf-8"))
        manifest = read_manifest(folder, folder=True)
        sizes = {file: size for file, (size, _) in manifest.files.items()} if manifest else {}
        return {"weights_sha256": meta["weights_sha256"], "parent_sha256": meta["parent_weights_sha256"],
                "network": meta["network"]["name"], "tasks": tuple(meta["stage"]["tasks"]),
                "computed_with": ", ".join(f"{name} {value}" for name, value in meta.get("computed_with", {}).items()),
                "data": json.dumps(meta.get("data", {})),
                **{f"{part}_bytes": float(sizes.get(file) or (folder / file).stat().st_size)
                   for part, file in (("weights", "weights.safetensors"), ("state", "method.safetensors"))}}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError("A file of a checkpoint is missing, incomplete or was changed", where=path,
                        expected="the files as they were written",
                        do="delete the checkpoint's folder and run again") from error


def checkpoint_notices(histories: pd.DataFrame, plan: Plan) -> tuple[str, ...]:
    """Name the checkpoints that are not of `plan`: other tasks, another network, or not made from the stage before.

    `histories` is that of `cost_table`, with network, tasks (a tuple), weights_sha256 and parent_sha256 of each
    checkpoint; these are missing where there is no checkpoint, which is named too.
    """
    notices = []
    for run in _runs(histories.drop_duplicates(list(KEYS))):
        method, seed = run["method"].iloc[0], run["seed"].iloc[0]
        rows = {int(row["stage"]): row for row in run.to_dict("records")}
        for index, row in rows.items():
            stage = plan.stages[index - 1]
            name = f"{method}, seed {seed}, stage {stage.key}: "
            parent = plan.parent(method, stage)
            if not isinstance(row["weights_sha256"], str):
                notices.append(f"{name}there are scores, but no checkpoint")
            elif row["network"] != plan.method(method).network.name:
                notices.append(f"{name}the checkpoint is of the network {row['network']}, "
                               f"not {plan.method(method).network.name}")
            elif tuple(row["tasks"]) != stage.tasks:
                notices.append(f"{name}the checkpoint learned {' + '.join(row['tasks'])}, so it is of another sequence")
            elif parent and parent.index in rows and rows[parent.index]["weights_sha256"] != row["parent_sha256"]:
                notices.append(f"{name}the checkpoint does not start from that of {parent.key}, so it is of another "
                               "run")
    return tuple(notices)


def cost_table(histories: pd.DataFrame) -> pd.DataFrame:
    """Return the cost of a run of each method: columns method, metric (COSTS), mean, low, high over seeds (range).

    `histories` has one row per epoch with KEYS, weights_bytes and state_bytes (of the stage's checkpoint), and what
    `read_history` gives; a stage without a history has one row without an epoch. seconds: sum over the epochs of all
    stages, validation left out. images_per_second: training images over these seconds. memory_mib: the largest.
    stored_bytes: all checkpoints. state_bytes: what the method carries beside the weights after the last stage.
    """
    rows = []
    for run in _runs(histories):
        has_epochs = bool(run["epoch"].notna().all())
        seconds = run["seconds"].sum() if has_epochs else np.nan
        stages = run.drop_duplicates("stage")
        rows.append({
            "method": run["method"].iloc[0], "seconds": seconds,
            "images_per_second": (run["images_per_second"] * run["seconds"]).sum() / seconds if has_epochs else np.nan,
            "memory_mib": run["memory_mib"].max() if has_epochs else np.nan,
            "stored_bytes": (stages["weights_bytes"] + stages["state_bytes"]).sum(min_count=len(stages)),
            "state_bytes": stages.sort_values("stage")["state_bytes"].iloc[-1],
        })
    runs = pd.DataFrame(rows, columns=["method", *COSTS]).melt("method", var_name="metric")
    return runs.groupby(["method", "metric"], sort=False)["value"].agg(mean="mean", low="min", high="max").reset_index()


def _runs(histories: pd.DataFrame) -> list[pd.DataFrame]:
    return [run for _, run in histories.groupby(["method", "seed"], sort=False)]


def last_weights(histories: pd.DataFrame) -> dict[tuple[str, int], str]:
    """Return the SHA-256 of the weights after the last stage of each (method, seed) that has a checkpoint."""
    last = histories.dropna(subset="weights_sha256").sort_values("stage").drop_duplicates(["method", "seed"],
                                                                                         keep="last")
    return {(str(row["method"]), int(row["seed"])): str(row["weights_sha256"]) for row in last.to_dict("records")}
