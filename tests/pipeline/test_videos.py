"""Videos of faces from files to a trained detector, and scored by it."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
from click.testing import CliRunner

from fakemedia.ingest.parts import read_index
from tests.pipeline.conftest import bootstrap, change, run
from tests.unit.test_faces import portrait
from tests.videos import write_video

pytest.importorskip("av")
pytestmark = pytest.mark.slow


def test_faces_of_videos_are_learned_and_scored(project: Path, undrawn: None, monkeypatch: pytest.MonkeyPatch) -> None:
    root = project / "data/01_raw/videos"
    for part, (split, label) in enumerate((split, label) for split in ("train", "val", "test")
                                          for label in ("0_real", "1_fake")):
        write_video(root / "swap" / split / label / "clip.mp4", [portrait(2 * number + part) for number in range(8)])
    change(project, {
        "sequence": "clips",
        "sequences": {"clips": {"collection": "clips", "tasks": ["swap"], "network": {"name": "convnet", "width": 4},
                                "training": {"epochs": 1, "batch_size": 4, "crop": 64}, "methods": {"finetune": {}},
                                "measures": []}},
        "collections": {"clips": {"source": {"name": "video", "root": "data/01_raw/videos", "frames": 4},
                                  "faces": True}}})
    run(project, tags=["ingestion"])
    run(project, tags=["training"])
    index = read_index(project / "data/02_intermediate/clips/swap/index").frame()
    assert (len(index), index["source"].nunique(), index["codec"].unique().tolist()) == (24, 6, ["mpeg4"])
    meta = json.loads((project / "data/06_models/clips/finetune/seed0/01_swap/checkpoint.json").read_text())
    assert list(meta["decoder"]) == ["av"]

    monkeypatch.chdir(project)
    bootstrap()
    from fakemedia.cli import cli

    done = CliRunner().invoke(cli, ["score", str(root / "swap/test"), "--checkpoint", "clips/finetune", "--frames", "4",
                                    "--faces", "--out", "s.csv"])
    assert done.exit_code == 0, done.output
    assert pd.read_csv("s.csv")["frames"].tolist() == [4, 4]
