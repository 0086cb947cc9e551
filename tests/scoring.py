"""Checkpoints and picture files for the tests of scoring."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from fakemedia.artefacts.manifest import Recipe
from fakemedia.core import plugin
from fakemedia.core.plan import Plugin
from fakemedia.core.types import make_stages
from fakemedia.evaluation.calibration import CALIBRATION_FILE, Calibration
from fakemedia.networks.checkpoint import make_checkpoint, save
from fakemedia.runtime.device import Runtime

CROP = 24
SIZES = ((40, 52), (24, 24), (17, 30), (1, 9), (33, 24))


def cpu() -> Runtime:
    """Return the runtime of the tests."""
    return Runtime(accelerator="cpu", precision="float32")


def write_checkpoint(folder: Path, *, network: str = "convnet", policy: str | None = "native", crop: int = CROP,
                     settings: dict | None = None, weights: dict | None = None, **facts: Any) -> Path:
    """Write the checkpoint of an untrained network, or one of `weights`, with further `facts`, as `folder`; return it.
    """
    named = Plugin(name=network, settings=settings or {"pretrained": "none"})
    state = weights or plugin.create("networks", network, named.settings, 0).state_dict()
    meta = {"fingerprint": "f" * 32, "network": asdict(named), "seed": 0, "training": {"crop": crop},
            "stage": asdict(make_stages([("one",), ("two",)])[1]), **({"policy": policy} if policy else {}), **facts}
    save(make_checkpoint(state, {}, meta), folder, Recipe(producer="stage", version=1))
    return folder


def calibration(weights_sha256: str, **changed: Any) -> Calibration:
    """Return a calibration with a band from 0.4 to 0.6, but for what is `changed`."""
    values = {"temperature": 2.0, "threshold": 0.5, "unsure_low": 0.4, "unsure_high": 0.6, **changed}
    return Calibration(target=0.95, confidence=0.95, independent=100, images=10, sources=5, tasks=("one", "two"),
                       weights_sha256=weights_sha256, **values)


def write_calibration(folder: Path, found: Calibration) -> None:
    """Put `found` into the checkpoint's folder."""
    (folder / CALIBRATION_FILE).write_text(found.to_json())


def pictures(seed: int = 0) -> list[np.ndarray]:
    """Return noise of SIZES, uint8 (H, W, 3)."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (*size, 3), np.uint8) for size in SIZES]


def write_pictures(folder: Path) -> list[Path]:
    """Write `pictures` as PNG files into `folder`; return their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{number}.png" for number in range(len(SIZES))]
    for path, pixels in zip(paths, pictures(), strict=True):
        Image.fromarray(pixels).save(path)
    return paths
