"""The loss of the first 20 steps of every method on a fixed tiny problem, as JSON.

    python -m tests.golden.losses > losses.json      # then moved beside this file, if a change of the bits is meant

Ten steps at each of two stages (for a method that joins the tasks, twice ten at the second one), float32 on one CPU
thread. The kernels are torch's plain ones rather than those of this CPU (no AVX, no oneDNN, MKL in its compatible
mode), so that the bits depend on the release of torch and not on the processor.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import torch

from fakemedia.core import plugin
from fakemedia.core.plan import Plugin
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.index import build_index
from fakemedia.learning import sequence
from fakemedia.methods.method import GradientMethod
from fakemedia.runtime.device import Runtime
from fakemedia.store.pixels import PixelStore
from tests.plans import make_plan
from tests.unit.conftest import GivenPictures, noise

FIXED = {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE", "OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
"""Environment that torch must find when it is loaded."""
STEPS, IMAGES, BATCH = 20, 40, 8
EPOCHS = STEPS // 2 // (IMAGES // BATCH)


def cases() -> Iterator[tuple[str, dict]]:
    """Yield every method that takes steps, with its defaults and with each of its presets: a name and settings."""
    for name in plugin.names("methods"):
        if not isinstance(plugin.create("methods", name, {}, 0), GradientMethod):
            continue
        yield name, {}
        for preset in getattr(plugin.load("methods", name), "PRESETS", {}):
            yield f"{name} {preset}", {"preset": preset}


def make_stores(folder: Path) -> dict[str, PixelStore]:
    """Return a store of noise for each of two tasks."""
    stores = {}
    for seed, task in enumerate(("a", "b")):
        source = GivenPictures(task, noise(IMAGES, 12, 30.0 + 20 * seed, seed))
        index = build_index(source, task, workers=1, progress=False)
        stores[task] = build_store(index, source, "train", folder / task, workers=1, progress=False)
    return stores


def losses(method: str, settings: dict, stores: dict[str, PixelStore]) -> list[float]:
    """Return the total loss of each step that the method takes over the two stages."""
    plan = make_plan({method: settings}, stages=make_stages([("a",), ("b",)]),
                     network=Plugin(name="convnet", settings={"width": 8, "depth": 2}),
                     training=TrainingConfig(epochs=EPOCHS, batch_size=BATCH, crop=8, lr=0.01)).resolved()
    noted: list[float] = []

    def noting(fitted: GradientMethod) -> GradientMethod:
        loss = fitted.loss

        def note(*args):
            terms = loss(*args)
            noted.append(terms["total"].item())
            return terms

        fitted.loss = note
        return fitted

    make, learned = sequence.make_method, None
    sequence.make_method = lambda *args, **kwargs: noting(cast("GradientMethod", make(*args, **kwargs)))
    try:
        for stage in plan.learned(method):
            learned = sequence.learn_stage(plan=plan, method=method, seed=0, stage=stage, parent=learned, train=stores,
                                           validation=stores, folder=None,
                                           runtime=Runtime(accelerator="cpu", precision="float32"))
    finally:
        sequence.make_method = make
    return noted


def kind() -> dict[str, str]:
    """Return what the bits depend on."""
    return {"torch": torch.__version__.partition("+")[0], "machine": platform.machine()}


def record() -> dict:
    """Return the losses of all methods, with what their bits depend on."""
    torch.set_num_threads(1)
    with torch.backends.mkldnn.flags(enabled=False), tempfile.TemporaryDirectory() as folder:
        stores = make_stores(Path(folder))
        found = {name: losses(name.split()[0], settings, stores) for name, settings in cases()}
    return {**kind(), "losses": found}


if __name__ == "__main__":
    if {**os.environ, **FIXED} != os.environ:
        os.execve(sys.executable, [*sys.orig_argv], {**os.environ, **FIXED})
    json.dump(record(), sys.stdout, indent=1)
    sys.stdout.write("\n")
