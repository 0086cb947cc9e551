"""A task without real pictures in a whole run."""

from __future__ import annotations

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from fakemedia.core.errors import UserError
from fakemedia.forge import ForgeConfig, forge
from tests.pipeline.conftest import make_project, run


def fakes_only(folder: Path, *, methods: dict, real: str) -> Path:
    """Return a project whose second task has no real pictures."""
    project = make_project(folder)
    root = project / "data" / "01_raw" / "tiny"
    forge(ForgeConfig(size=32, per_class={"train": 24, "val": 8, "test": 16},
                      tasks={"gan": {"family": "upsampling", "kernel": 3},
                             "latent": {"family": "latent", "factor": 4}}), root, workers=1)
    for split in ("train", "val", "test"):
        shutil.rmtree(root / "latent" / split / "0_real")
    path = project / "conf" / "local" / "parameters.yml"
    settings = yaml.safe_load(path.read_text())
    del settings["collections"]["tiny"]["forge"]
    settings["sequences"]["tiny"] |= {"real": real, "methods": methods}
    path.write_text(yaml.safe_dump(settings))
    return project


@pytest.mark.slow
def test_a_task_of_fakes_only_is_learned_and_reported(tmp_path: Path, undrawn: None) -> None:
    project = fakes_only(tmp_path, methods={"replay": {"pictures": 20}, "joint": {}}, real="stored")
    run(project)
    kept = pd.read_parquet(next((project / "data" / "06_models").rglob("02_latent.memory.parquet")))
    assert set(kept.loc[kept["task"] == "latent", "label"]) == {1}
    page = next((project / "data" / "08_reporting").rglob("report.html")).read_text()
    assert "its AUC is undefined" not in page


def test_a_task_of_fakes_only_is_refused_unless_the_sequence_allows_it(tmp_path: Path, undrawn: None) -> None:
    project = fakes_only(tmp_path, methods={"replay": {"pictures": 20}}, real="own")
    with pytest.raises(UserError, match="latent/train/0_real does not exist"):
        run(project, tags=["ingestion"])
