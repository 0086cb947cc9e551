"""Detectors as ONNX files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.networks.detector import Detector
from fakemedia.scoring import onnx_export, onnx_model
from fakemedia.scoring.model import Model
from fakemedia.scoring.open_model import open_model
from fakemedia.scoring.overlays import Overlays
from fakemedia.scoring.scores import score_files
from tests.scoring import CROP, calibration, cpu, write_calibration, write_checkpoint, write_pictures

pytest.importorskip("onnxruntime")
onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxscript")
SIDE = {"convnet": 24}


@pytest.mark.parametrize("network", [
    name if name == "convnet" else pytest.param(name, marks=pytest.mark.slow) for name in plugin.names("networks")])
def test_exported_networks_give_the_outputs_of_the_checkpoint(network: str, tmp_path: Path) -> None:
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
        _assert_same_outputs(exported, model, crops)
    paths = write_pictures(tmp_path / "files")
    ours, theirs = (score_files(each, paths, progress=False) for each in (model, exported))
    np.testing.assert_allclose(ours["p_fake"], theirs["p_fake"], rtol=0, atol=1e-4)
    with pytest.raises(UserError, match="no gradients"):
        Overlays(exported, tmp_path, paths)


def _assert_same_outputs(ours: Model, theirs: Model, crops: np.ndarray) -> None:
    found, expected = ours.outputs(crops), theirs.outputs(crops)
    np.testing.assert_allclose(found.logits, expected.logits, rtol=0, atol=1e-4)
    assert found.embeddings is not None
    assert expected.embeddings is not None
    assert found.embeddings.dtype == expected.embeddings.dtype == np.float32
    assert len(found.embeddings) == len(crops)
    np.testing.assert_allclose(found.embeddings, expected.embeddings, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("taps", ["early", "both"])
def test_a_network_that_reads_its_blocks(tmp_path: Path, taps: str) -> None:
    settings = {"width": 8, "depth": 3, "taps": taps, "head": "mlp", "hidden": 8}
    folder = write_checkpoint(tmp_path / "model", crop=24, settings=settings)
    onnx_export.export(folder, tmp_path / "model.onnx")
    crops = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)
    _assert_same_outputs(open_model(tmp_path / "model.onnx", cpu), open_model(folder, cpu), crops)


def test_embeddings_are_what_the_head_reads_before_standardisation(tmp_path: Path) -> None:
    network: Detector = plugin.create("networks", "convnet", {"width": 4, "depth": 2, "pretrained": "none"}, 0)
    network.feature_mean, network.feature_scale = torch.full((4,), 3.0), torch.full((4,), 2.0)
    folder = write_checkpoint(tmp_path / "model", settings={"width": 4, "depth": 2}, weights=network.state_dict())
    onnx_export.export(folder, tmp_path / "model.onnx")
    crops = np.random.default_rng(0).integers(0, 256, (3, CROP, CROP, 3), np.uint8)
    with torch.inference_mode():
        network.eval()
        expected = network.features(network.prepare(torch.from_numpy(crops).permute(0, 3, 1, 2)))
        logits = network.classify(expected)
    for place in (folder, tmp_path / "model.onnx"):
        found = open_model(place, cpu).outputs(crops)
        assert found.embeddings is not None
        assert found.embeddings.dtype == np.float32
        np.testing.assert_allclose(found.embeddings, expected, rtol=0, atol=1e-5)
        np.testing.assert_allclose(found.logits, logits[:, 1] - logits[:, 0], rtol=0, atol=1e-5)


def test_a_file_of_an_earlier_version_scores_without_embeddings(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    onnx_export.export(folder, tmp_path / "model.onnx")
    earlier = onnx.load(tmp_path / "model.onnx")
    del earlier.graph.output[1]
    onnx.save(earlier, tmp_path / "earlier.onnx")
    model = open_model(tmp_path / "earlier.onnx", cpu)
    assert model.outputs(np.zeros((2, CROP, CROP, 3), np.uint8)).embeddings is None
    paths = write_pictures(tmp_path / "files")
    np.testing.assert_allclose(score_files(model, paths, progress=False)["logit"],
                               score_files(open_model(folder, cpu), paths, progress=False)["logit"], atol=1e-4)


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
    model = helper.make_model(graph, ir_version=10, opset_imports=[helper.make_opsetid("", 18)])
    for facts in ({}, {"fakemedia": "no JSON"}, {"fakemedia": "[1]"}, {"fakemedia": "{}"}):
        helper.set_model_props(model, facts)
        save(model, tmp_path / "other.onnx")
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
    with pytest.raises(UserError, match=r"onnx, onnxscript(?s:.*)pip install -e '\.\[onnx\]'"):
        onnx_export.export(folder, tmp_path / "model.onnx")
    with pytest.raises(UserError, match="onnxruntime"):
        open_model(tmp_path / "model.onnx", cpu)
