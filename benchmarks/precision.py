"""Does bfloat16 cost accuracy? A forged task learned in float32 and in bfloat16, seed by seed.

    python benchmarks/precision.py [--network convnet] [--epochs 6] [--seeds 3] [--json]

Everything is made in a temporary folder out of the packaged photographs. Told are the test accuracy and AUC in percent,
and the differences bfloat16 - float32 with their standard deviation over the seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

import torch

from fakemedia.core import plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.evaluation.metrics import task_metrics
from fakemedia.evaluation.predict import predict
from fakemedia.forge import ForgeConfig, forge
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.index import build_index
from fakemedia.learning.trainer import StageTrainer
from fakemedia.methods.method import StageData
from fakemedia.runtime.device import Runtime
from fakemedia.runtime.threads import cores
from fakemedia.sources.folder import FolderSource
from fakemedia.store.pixels import PixelStore

PRECISIONS = ("float32", "bfloat16")
METRICS = ("accuracy", "auc")
TASK = "gan"
CROP, BATCH_SIZE, LR = 64, 64, 3e-3


def make_stores(folder: Path) -> dict[str, PixelStore]:
    """Forge the task, real pictures and such as a generator's upsampling leaves its traces in; return its stores."""
    forge(ForgeConfig(tasks={TASK: {"family": "upsampling"}}), folder / "raw", workers=cores(), progress=False)
    source = FolderSource(folder / "raw")
    index = build_index(source, TASK, workers=cores(), progress=False)
    return {split: build_store(index, source, split, folder / split, workers=cores(), progress=False)
            for split in ("train", "test")}


def learn(stores: dict[str, PixelStore], network_name: str, epochs: int, seed: int,
          runtime: Runtime) -> dict[str, float]:
    """Return the test metrics, percent, of a network that learned the task."""
    network = runtime.place(plugin.create("networks", network_name, {"pretrained": "none"}, seed))
    config = TrainingConfig(epochs=epochs, batch_size=BATCH_SIZE, crop=CROP, lr=LR)
    (stage,) = make_stages([(TASK,)])
    data = StageData(**vars(stage), train={TASK: stores["train"]}, seed=seed)
    trainer = StageTrainer(config=config, runtime=runtime, seed=seed)
    plugin.create("methods", "finetune", {}, seed).fit(data, network, trainer)
    logits = predict(network, stores["test"], batch_size=BATCH_SIZE, crop=CROP, autocast=runtime.autocast)
    found = task_metrics(stores["test"].labels, logits)
    return {"accuracy": found["accuracy"], "auc": 100 * found["auc"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--network", default="convnet", choices=plugin.names("networks"))
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stores = make_stores(Path(folder))
        found = [{precision: learn(stores, options.network, options.epochs, seed, Runtime(precision=precision))
                  for precision in PRECISIONS} for seed in range(options.seeds)]
    differences = {metric: [of_seed["bfloat16"][metric] - of_seed["float32"][metric] for of_seed in found]
                   for metric in METRICS}
    result = {"network": options.network, "epochs": options.epochs, "torch": torch.__version__, "seeds": found,
              **{f"{metric}_difference": {"mean": statistics.mean(values),
                                          "sd": statistics.stdev(values) if len(values) > 1 else None}
                 for metric, values in differences.items()}}
    if options.json:
        print(json.dumps(result, indent=2))
        return
    for seed, of_seed in enumerate(found):
        print(f"seed {seed}:", ", ".join(f"{precision} accuracy {values['accuracy']:.1f} AUC {values['auc']:.2f}"
                                         for precision, values in of_seed.items()))
    for metric, values in differences.items():
        spread = f" (sd {statistics.stdev(values):.2f})" if len(values) > 1 else ""
        print(f"{metric}: bfloat16 - float32 = {statistics.mean(values):+.2f} points{spread}")


if __name__ == "__main__":
    main()
