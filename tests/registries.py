"""Registries and detector folders for tests."""

from __future__ import annotations

import atexit
import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np

from fakemedia.registry.client import Registry, open_registry
from fakemedia.registry.promotion import promote
from fakemedia.registry.versions import register
from fakemedia.scoring.model import Facts
from fakemedia.scoring.onnx_model import KEY
from tests.scoring import CROP, calibration, write_calibration, write_checkpoint


@cache
def _template() -> Path:
    folder = Path(mkdtemp())
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    open_registry("", folder)
    return folder


def new_registry(folder: Path) -> Path:
    """Make `folder` that of a registry without versions, and return it: MLflow takes seconds to make the tables."""
    return shutil.copytree(_template(), folder)


def write_detector(folder: Path, seed: int = 0) -> Path:
    """Write a small detector, another one for another `seed`, as `folder` and return it."""
    write_checkpoint(folder, settings={"width": 8 + 8 * seed, "depth": 2})
    (folder / "README.md").write_text(f"# Detector {seed}\n")
    return folder


def write_served(folder: Path, seed: int = 0) -> Path:
    """Write a detector whose ONNX file calls bright pictures fake, and calibrated, as `folder`; return it.

    Its logit is (mean of the crop / 128 - 1) * (seed + 1), its embedding the mean of each channel.
    """
    from dataclasses import asdict

    from onnx import TensorProto, helper, numpy_helper, save

    write_detector(folder, seed)
    sha256 = json.loads((folder / "checkpoint.json").read_text())["weights_sha256"]
    found = calibration(sha256, temperature=1.0 / 4)
    write_calibration(folder, found)
    scale = np.full((3, 1), (seed + 1) / (3 * 128), np.float32)
    constants = [numpy_helper.from_array(value, name) for name, value in (
        ("scale", scale), ("axes", np.array([1, 2])), ("shift", np.float32([-(seed + 1)])), ("last", np.array([1])))]
    nodes = [helper.make_node("Cast", ["images"], ["float"], to=TensorProto.FLOAT),
             helper.make_node("ReduceMean", ["float", "axes"], ["embedding"], keepdims=0),
             helper.make_node("MatMul", ["embedding", "scale"], ["column"]),
             helper.make_node("Squeeze", ["column", "last"], ["scaled"]),
             helper.make_node("Add", ["scaled", "shift"], ["logit"])]
    graph = helper.make_graph(
        nodes, "detector", [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", CROP, CROP, 3])],
        [helper.make_tensor_value_info("logit", TensorProto.FLOAT, ["N"]),
         helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["N", 3])], constants)
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    facts = Facts(network="convnet", tasks=("one", "two"), crop=CROP, policy="native", fingerprint="f" * 32,
                  calibration=found, weights_sha256=sha256)
    model.metadata_props.add(key=KEY, value=json.dumps(asdict(facts)))
    save(model, folder / "model.onnx")
    return folder


def served_registry(folder: Path, count: int = 2) -> Registry:
    """Return a registry in `folder` of `count` detectors of `write_served`, the first of which is the champion."""
    registry = open_registry("", new_registry(folder / "registry"))
    versions = [register(registry, write_served(folder / str(seed), seed), origin=str(seed)) for seed in range(count)]
    promote(registry, versions[0], by="ada")
    return registry
