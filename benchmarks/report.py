"""The report of a long sequence: how long everything takes to draw, and how large the page is.

    python benchmarks/report.py [--seeds 3] [--images 1000] [--out folder]

Made-up scores, histories and calibrations of the configured sequence cddb_long (12 tasks, 4 methods) go through the
nodes of the reporting pipeline, which draw every figure as `kedro run --tags reporting` does.
"""

from __future__ import annotations

import argparse
import json
import logging
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from kedro.framework.startup import bootstrap_project
from kedro.io import DataCatalog, MemoryDataset
from kedro.runner import SequentialRunner

from fakemedia.catalog.names import AUDIT, REPORT, RESULTS, SIMILARITY_FIGURES
from fakemedia.context.loading import load_context
from fakemedia.core.plan import Plan
from fakemedia.core.rng import generator
from fakemedia.core.types import SPLITS
from fakemedia.evaluation.calibration import Calibration, CalibrationConfig, calibrate
from fakemedia.pipelines import reporting
from fakemedia.reporting.grids import Printed
from fakemedia.reporting.method_results import MethodResults

EPOCHS = 30
KEPT = {"finetune": 0.2, "kd": 0.5, "ewc": 0.4, "joint": 1.0}


def calibrations(validation: pd.DataFrame) -> dict[tuple[str, int, int], Calibration]:
    """Return the calibration of each checkpoint in a table of validation scores."""
    return {run: calibrate(rows, config=CalibrationConfig())
            for run, rows in validation.groupby(["method", "seed", "stage"], sort=False)}


def scores(plan: Plan, method: str, images: int, *, seen_only: bool) -> pd.DataFrame:
    """Return scores of all stages and seeds that decay after a task was learned."""
    frames = []
    for seed in plan.seeds:
        for stage in plan.learned(method):
            for task in stage.seen if seen_only else plan.tasks:
                own = next(each.index for each in plan.stages if task in each.tasks)
                strength = 2.5 * KEPT.get(method, 0.5) ** ((stage.index - own) / 4) if own <= stage.index else 0.2
                label = np.arange(images) % 2
                noise = generator(seed, method, stage.index, task).normal(size=images)
                frames.append(pd.DataFrame({
                    "method": method, "seed": seed, "stage": stage.index, "task": task,
                    "id": [f"{task}-{number}" for number in range(images)], "label": label.astype(np.int8),
                    "source": [f"{task}-{number // 2}" for number in range(images)],
                    "logit": 2 * (strength * (label - 0.5) + noise)}))
    return pd.concat(frames, ignore_index=True)


def histories(plan: Plan, method: str) -> pd.DataFrame:
    """Return histories with falling losses and rising validation accuracies."""
    epoch = np.arange(1, EPOCHS + 1)
    return pd.concat([pd.DataFrame({
        "method": method, "seed": seed, "stage": stage.index, "epoch": epoch, "lr": 1e-3,
        "loss.total": 0.7 / epoch + 0.05 * generator(seed, method, stage.index).uniform(size=EPOCHS),
        "loss.cross_entropy": 0.6 / epoch, "accuracy": 90 - 30 / epoch, "seconds": 12.0, "images_per_second": 500.0,
        "memory_mib": 2000.0, "weights_bytes": 9e7, "state_bytes": 1e6, "network": plan.network.name,
        "tasks": [stage.tasks] * EPOCHS, "weights_sha256": f"{method}{seed}{stage.index}",
        "parent_sha256": f"{method}{seed}{stage.index - 1}",
    }) for seed in plan.seeds for stage in plan.learned(method)], ignore_index=True)


def verdict(plan: Plan, images: int) -> str:
    """Return a verdict of the audit without findings."""
    counts = {"images": 6 * images, "left_out": 0}
    splits = {split: dict.fromkeys(("real", "fake"), counts) for split in SPLITS}
    tasks = {task: {"verdict": "pass", **counts, "findings": {}, "splits": splits} for task in plan.tasks}
    return json.dumps({"verdict": "pass", **counts, "tasks": tasks})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--images", type=int, default=1000, help="test images a task")
    parser.add_argument("--out", type=Path, help="where page and tables go; nowhere by default")
    options = parser.parse_args()
    bootstrap_project(Path(__file__).parents[1])
    logging.disable(logging.INFO)
    plan = replace(load_context().plan("cddb_long"), seeds=tuple(range(options.seeds)))
    inputs = {AUDIT.format(collection=plan.collection, sequence=plan.sequence): verdict(plan, options.images),
              SIMILARITY_FIGURES.format(sequence=plan.sequence): []}
    for method in (method.label for method in plan.methods):
        words = {"sequence": plan.sequence, "label": method}
        inputs[RESULTS.format(**words)] = MethodResults(
            scores=scores(plan, method, options.images, seen_only=False),
            calibrations=calibrations(scores(plan, method, options.images // 4, seen_only=True)),
            history=histories(plan, method))
    catalog = DataCatalog({name: MemoryDataset(data, copy_mode="assign") for name, data in inputs.items()})
    rows = sum(len(data.scores) for data in inputs.values() if isinstance(data, MethodResults))

    started, worked = time.perf_counter(), time.process_time()
    outputs = SequentialRunner().run(reporting.create_pipeline(plan, families={}, robust=False, stores={}), catalog)
    done = time.perf_counter()
    page = outputs[REPORT.format(sequence=plan.sequence)].load().encode()
    print(f"{len(plan.tasks)} tasks, {len(plan.methods)} methods, {options.seeds} seeds, {rows} scores")
    print(f"tables, {page.count(b'<figure')} figures and page {done - started:.1f} s (of one core: "
          f"{time.process_time() - worked:.1f} s); page {len(page) / 1e6:.2f} MB")
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "report.html").write_bytes(page)
        for name, dataset in outputs.items():
            if isinstance(table := dataset.load(), Printed):
                (options.out / f"{name.partition('.')[2]}.tex").write_text(table.latex, encoding="utf-8")


if __name__ == "__main__":
    main()
