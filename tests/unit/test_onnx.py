"""Detectors as ONNX files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.scoring import onnx_export, onnx_model
from fakemedia.scoring.open_model import open_model
from fakemedia.scoring.overlays import Overlays
from fakemedia.scoring.scores import score_files
from tests.scoring import calibration, cpu, write_calibration, write_checkpoint, write_pictures

pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")
SIDE = {"convnet": 24}


@pytest.mark.parametrize("network", [
    name if name == "convnet" else pytest.param(name, marks=pytest.mark.slow) for name in plugin.names("networks")])
def test_exported_networks_give_the_logits_of_the_checkpoint(network: str, tmp_path: Path) -> None:
    crop = SIDE.get(network, 64)
    folder = write_checkpoint(tmp_path / "model", network=network, crop=crop, policy="resize:80")
    sha256 = json.loads((folder / "checkpoint.json").read_text())["weights_sha256"]
    write_calibration(folder, calibration(sha256))
    model = open_model(folder, cpu)
    assert onnx_export.export(folder, tmp_path / "new/model.onnx") == model.facts
    exported = open_model(tmp_path / "new/model.onnx", cpu)
    assert exported.facts == model.facts
    assert exported.facts.calibration is not None
    for count in (1, 3, 5):
        crops = np.random.default_rng(count).integers(0, 256, (count, crop, crop, 3), np.uint8)
        np.testing.assert_allclose(exported.logits(crops), model.logits(crops), rtol=0, atol=1e-4)
    paths = write_pictures(tmp_path / "files")
    ours, theirs = (score_files(each, paths, progress=False) for each in (model, exported))
    np.testing.assert_allclose(ours["p_fake"], theirs["p_fake"], rtol=0, atol=1e-4)
    with pytest.raises(UserError, match="no gradients"):
        Overlays(exported, tmp_path, paths)


def test_a_network_that_reads_its_blocks(tmp_path: Path) -> None:
    settings = {"width": 8, "depth": 3, "taps": "both", "head": "mlp", "hidden": 8}
    folder = write_checkpoint(tmp_path / "model", crop=24, settings=settings)
    onnx_export.export(folder, tmp_path / "model.onnx")
    crops = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)
    np.testing.assert_allclose(open_model(tmp_path / "model.onnx", cpu).logits(crops),
                               open_model(folder, cpu).logits(crops), rtol=0, atol=1e-4)


def test_files_that_are_none_of_ours(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no ONNX file"):
        open_model(tmp_path / "nowhere.onnx", cpu)
    (tmp_path / "text.onnx").write_text("no model")
    with pytest.raises(UserError, match="cannot be read"):
        open_model(tmp_path / "text.onnx", cpu)
    from onnx import TensorProto, helper, save

    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [value],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])])
    save(helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)]), tmp_path / "other.onnx")
    with pytest.raises(UserError, match="lacks the facts of how"):
        open_model(tmp_path / "other.onnx", cpu)


def test_places_and_packages_are_checked_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_checkpoint(tmp_path / "model")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="Nothing can be written here"):
        onnx_export.export(folder, tmp_path / "file/model.onnx")
    with pytest.raises(UserError, match=r"ends in \.onnx"):
        onnx_export.export(folder, tmp_path / "model.pt")
    with pytest.raises(UserError, match="no checkpoint"):
        onnx_export.export(tmp_path, tmp_path / "model.onnx")
    monkeypatch.setattr(onnx_model, "find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"onnx, onnxscript(?s:.*)fakemedia\[onnx\]"):
        onnx_export.export(folder, tmp_path / "model.onnx")
    with pytest.raises(UserError, match="onnxruntime"):
        open_model(tmp_path / "model.onnx", cpu)
