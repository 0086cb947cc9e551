"""Two labels of one method, with other settings, networks and tuning, through a whole run and its report."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.pipeline.conftest import run

LABELS = {
    "finetune": {}, "kd_T2": {"method": "kd", "temperature": 2}, "kd_T20": {"method": "kd", "temperature": 20},
    "narrow_head": {"method": "finetune", "network": {"width": 4}, "tune": "head", "training": {"epochs": 1}},
}


@pytest.mark.usefixtures("undrawn")
def test_labels_through_a_run(ingested: Path) -> None:
    local = ingested / "conf/local/parameters.yml"
    parameters = yaml.safe_load(local.read_text())
    parameters["sequences"]["tiny"]["methods"] = LABELS
    local.write_text(yaml.safe_dump(parameters))
    run(ingested)

    def meta(label: str, stage: str = "02_latent") -> dict:
        return json.loads((ingested / f"data/06_models/tiny/{label}/seed0/{stage}/checkpoint.json").read_text())

    for label, temperature in (("kd_T2", 2.0), ("kd_T20", 20.0)):
        assert meta(label)["method"]["name"] == "kd"
        assert meta(label)["method"]["settings"]["temperature"] == temperature
    assert meta("kd_T2", "01_gan")["weights_sha256"] == meta("kd_T20", "01_gan")["weights_sha256"]
    assert meta("kd_T2")["weights_sha256"] != meta("kd_T20")["weights_sha256"]
    narrow = meta("narrow_head")
    assert (narrow["network"]["settings"]["width"], narrow["tune"], len(narrow["history"])) == (4, "head", 1)
    report = ingested / "data/08_reporting/tiny"
    assert set(pd.read_csv(report / "metrics.csv")["method"]) == set(LABELS)
    run(ingested, tags=["kd_T20"])
    assert meta("kd_T20")["tune"] == "all"
