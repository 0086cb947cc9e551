"""Detectors as folders: complete, verified byte by byte, with a model card that the hub reads."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from huggingface_hub import ModelCard

from fakemedia.artefacts.manifest import Recipe, file_sha256, read_manifest
from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.core.types import make_stages
from fakemedia.evaluation.metrics import accuracy
from fakemedia.evaluation.novelty import NOVELTY_FILE, Novelty, packed
from fakemedia.networks.checkpoint import load, make_checkpoint, save
from fakemedia.reporting.results import gather
from fakemedia.reporting.tables import make_tables
from fakemedia.scoring.detector_folder import open_detector, write_detector
from fakemedia.scoring.model_card import CardInfo
from fakemedia.scoring.open_model import open_model
from tests.scoring import CROP, calibration, cpu, write_calibration, write_checkpoint

STAGES = make_stages([("one",), ("two",)])


def write_stages(folder: Path, state: dict | None = None) -> Path:
    """Write the two checkpoints of a run into `folder` and return the last."""
    parent = None
    for stage in STAGES:
        weights = plugin.create("networks", "convnet", {"pretrained": "none"}, stage.index).state_dict()
        meta = {"fingerprint": "f" * 32, "network": {"name": "convnet", "settings": {"pretrained": "none"}},
                "method": {"name": "kd", "settings": {}}, "seed": 0, "training": {"crop": CROP},
                "stage": asdict(stage), "parent": parent, "versions": {"torch": "2"},
                "data": {stage.name: {"train": f"{stage.name} train hash", "val": f"{stage.name} val hash"}}}
        made = make_checkpoint(weights, state or {}, meta)
        save(made, folder / stage.key, Recipe(producer="stage", version=1))
        parent = made.content
    write_calibration(folder / "02_two", calibration(made.meta["weights_sha256"]))
    return folder / "02_two"


def scores(seed: int = 0) -> pd.DataFrame:
    """Return test scores of two learned tasks, one easy and one by chance, and of one that was not learned."""
    rng = np.random.default_rng(seed)
    parts = []
    for task, gap in (("one", 1.2), ("two", 0.0), ("three", 0.7)):
        label = np.arange(40) % 2
        parts.append(pd.DataFrame({
            "id": [f"{task}{n}" for n in range(40)], "task": task, "label": label.astype(np.int8),
            "source": [f"{task}{n // 4}" for n in range(40)],
            "logit": rng.normal(gap * (2 * label - 1), 1.0)}))
    return pd.concat(parts, ignore_index=True)


def test_a_detector_read_back_gives_the_same_logits(tmp_path: Path) -> None:
    folder = write_stages(tmp_path / "run", {"teacher": torch.ones(2)})
    write_detector(folder, tmp_path / "out", CardInfo(name="tiny/kd"))
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "README.md", "checkpoint.json", "weights.safetensors", "calibration.json", "manifest.json"}
    ours, theirs = (open_model(place, cpu) for place in (folder, tmp_path / "out"))
    crops = np.random.default_rng(0).integers(0, 256, (3, CROP, CROP, 3), np.uint8)
    assert theirs.facts == ours.facts
    assert np.array_equal(ours.logits(crops), theirs.logits(crops))
    manifest = read_manifest(tmp_path / "out", folder=True)
    assert manifest is not None
    assert {name: sha for name, (_, sha) in manifest.files.items()} == {
        path.name: file_sha256(path) for path in (tmp_path / "out").iterdir() if path.name != "manifest.json"}


def test_the_state_is_left_out_unless_requested(tmp_path: Path) -> None:
    folder = write_stages(tmp_path / "run", {"teacher": torch.ones(2)})
    write_detector(folder, tmp_path / "bare", CardInfo(name="tiny/kd"))
    with pytest.raises(UserError, match=r"needs to learn another task(?s:.*)--state"):
        load(tmp_path / "bare")
    write_detector(folder, tmp_path / "whole", CardInfo(name="tiny/kd"), state=True)
    assert load(tmp_path / "whole").method_state["teacher"].tolist() == [1.0, 1.0]
    assert "method.safetensors" in (tmp_path / "whole/README.md").read_text()
    assert "method.safetensors" not in (tmp_path / "bare/README.md").read_text()


def test_a_flipped_bit_in_any_file_is_found(tmp_path: Path) -> None:
    write_detector(write_stages(tmp_path / "run"), tmp_path / "out", CardInfo(name="tiny/kd"), state=True)
    for path in sorted((tmp_path / "out").iterdir()):
        data = path.read_bytes()
        for place in np.linspace(0, len(data) - 1, 12).astype(int):
            path.write_bytes(bytes([*data[:place], data[place] ^ 4, *data[place + 1:]]))
            with pytest.raises(UserError, match=r"detector is missing, incomplete or was changed") as caught:
                open_model(tmp_path / "out", cpu)
            if path.name != "manifest.json":
                assert path.name in str(caught.value)
        path.unlink()
        with pytest.raises(UserError, match=r"detector is missing, incomplete or was changed"):
            open_detector(tmp_path / "out")
        path.write_bytes(data)
    open_detector(tmp_path / "out")


def test_a_calibration_cannot_be_slipped_in(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model")
    write_detector(folder, tmp_path / "out", CardInfo(name="model"))
    sha256 = json.loads((folder / "checkpoint.json").read_text())["weights_sha256"]
    write_calibration(tmp_path / "out", calibration(sha256))
    with pytest.raises(UserError, match=r"calibration\.json"):
        open_detector(tmp_path / "out")


def test_other_folders_are_not_replaced(tmp_path: Path) -> None:
    folder = write_stages(tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine.txt").touch()
    for place in (tmp_path / "full", folder, tmp_path / "full/mine.txt"):
        with pytest.raises(UserError, match="not empty"):
            write_detector(folder, place, CardInfo(name="tiny/kd"))
    with pytest.raises(UserError, match="no checkpoint"):
        write_detector(tmp_path / "full", tmp_path / "out", CardInfo(name="tiny/kd"))
    write_detector(folder, tmp_path / "out", CardInfo(name="first"))
    write_detector(tmp_path / "out", tmp_path / "out", CardInfo(name="second"))
    assert "# second" in (tmp_path / "out/README.md").read_text()
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_card_says_what_was_measured(tmp_path: Path) -> None:
    folder, measured = write_stages(tmp_path / "run"), scores()
    write_detector(folder, tmp_path / "out", CardInfo(name="tiny/kd", scores=measured, families={"one": "upsampling"},
                                                      licence="cc-by-nc-4.0"))
    text = (tmp_path / "out/README.md").read_text()
    card = ModelCard.load(tmp_path / "out/README.md")
    assert (card.data.license, card.data.library_name, card.data.pipeline_tag) == (
        "cc-by-nc-4.0", "fakemedia", "image-classification")
    results = {(each.dataset_type, each.metric_name.split(",")[0]): each for each in card.data.eval_results}
    one = measured[measured["task"] == "one"]
    right = accuracy(one["label"].to_numpy(), one["logit"].to_numpy())
    assert results["one", "accuracy at 0.5"].metric_value == pytest.approx(right / 100)
    assert len(results) == 9

    tables = make_tables(gather(measured.assign(method="kd", seed=0, stage=1), sequence="s", network="n",
                                stages=make_stages([("one", "two", "three")])))
    row = tables.tasks.query("measure == 'final_accuracy' and task == 'one'").iloc[0]
    assert f"| one | 40 | 10 | {right:.1f} [{row['low']:.1f}, {row['high']:.1f}] |" in text
    assert "| three (not learned) | 40 | 10 |" in text
    assert "| mean of the learned tasks | 80 | 20 |" in text
    assert "| one | upsampling | 1 |" in text
    assert "| three | not declared | not learned, only tested |" in text
    assert "| 1 | one | `one train hash` | `one val hash` |" in text
    assert "| 2 | two | `two train hash` | `two val hash` |" in text
    assert "not shown to be better than chance on: two." in text
    assert "At the calibrated threshold, P(fake) = 0.500" in text
    assert json.loads((folder / "checkpoint.json").read_text())["weights_sha256"] in text


def test_the_novelty_belongs_to_the_detector(tmp_path: Path) -> None:
    folder = write_stages(tmp_path / "run")
    weights = json.loads((folder / "checkpoint.json").read_text())["weights_sha256"]
    novelty = Novelty(centres=packed(np.ones((2, 3))), width=3, threshold=0.5, crops_threshold=0.4, images=77,
                      tasks=("one", "two"), weights_sha256=weights)
    (folder / NOVELTY_FILE).write_text(novelty.to_json())
    assert write_detector(folder, tmp_path / "out", CardInfo(name="tiny/kd")).novelty == novelty
    assert open_detector(tmp_path / "out")[1].novelty == novelty
    assert "those of 99% of 77 validation pictures" in (tmp_path / "out/README.md").read_text()
    (tmp_path / "out" / NOVELTY_FILE).write_text(novelty.to_json().replace("0.5", "5.0"))
    with pytest.raises(UserError, match=NOVELTY_FILE):
        open_detector(tmp_path / "out")


def test_a_card_without_results_says_so(tmp_path: Path) -> None:
    write_detector(write_checkpoint(tmp_path / "model"), tmp_path / "out", CardInfo(name="model"))
    text = (tmp_path / "out/README.md").read_text()
    for told in ("Not measured", "It does not tell when", "no picture is called `fake`", "Not stated",
                 "license: unknown"):
        assert told in text
    assert ModelCard(text).data.eval_results is None


def test_the_folder_has_the_onnx_file_of_the_same_detector(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    write_detector(write_stages(tmp_path / "run"), tmp_path / "out", CardInfo(name="tiny/kd"), onnx=True)
    ours, theirs = (open_model(place, cpu) for place in (tmp_path / "out", tmp_path / "out/model.onnx"))
    crops = np.random.default_rng(0).integers(0, 256, (3, CROP, CROP, 3), np.uint8)
    assert theirs.facts == ours.facts
    np.testing.assert_allclose(theirs.logits(crops), ours.logits(crops), rtol=0, atol=1e-4)
