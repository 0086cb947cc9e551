"""The report from a folder of results in which something is amiss; nothing is trained."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from fakemedia.core.errors import UserError
from fakemedia.evaluation.calibration import Calibration
from tests.pipeline.conftest import change, run
from tests.scores import make_scores

pytestmark = pytest.mark.usefixtures("undrawn")
SCORES, STAGES = make_scores([("gan",), ("latent",)], methods=("finetune", "kd"), seeds=(0, 1), images=40,
                             photographs=10)


@pytest.fixture
def results(project: Path) -> Path:
    """Return the project with the scores of finetune and kd, two seeds each, and no checkpoints."""
    change(project, {"n_seeds": 2})
    for (method, seed, stage), rows in SCORES.groupby(["method", "seed", "stage"]):
        path = scores_of(project, method, seed, STAGES[stage - 1].key)
        path.parent.mkdir(parents=True, exist_ok=True)
        rows.drop(columns=["method", "seed", "stage"]).to_parquet(path)
    return project


def scores_of(project: Path, method: object, seed: object, stage: str) -> Path:
    return project / f"data/07_model_output/tiny/{method}/seed{seed}/{stage}.parquet"


def checkpoint(project: Path, stage: str, tasks: list[str], sha: str, parent: str | None) -> None:
    folder = project / f"data/06_models/tiny/kd/seed0/{stage}"
    folder.mkdir(parents=True)
    for name in ("weights.safetensors", "method.safetensors"):
        (folder / name).write_bytes(b"0123")
    (folder / "checkpoint.json").write_text(json.dumps({
        "weights_sha256": sha, "parent_weights_sha256": parent, "network": {"name": "convnet"},
        "stage": {"tasks": tasks}}))


def test_what_is_there_is_reported_and_what_is_amiss_is_said(results: Path) -> None:
    scores_of(results, "kd", 1, "01_gan").unlink()
    for path in results.rglob("*.parquet"):
        table = pd.read_parquet(path)
        one_class = table[(table["task"] != "gan") | (table["label"] == 1)].reset_index(drop=True)
        one_class.to_parquet(path)
    checkpoint(results, "01_gan", ["swap"], "a", None)
    checkpoint(results, "02_latent", ["latent"], "c", "b")
    run(results, tags=["reporting"])
    report = results / "data/08_reporting/tiny"
    page = (report / "report.html").read_text()
    for notice in (
        "kd, seed 1: no scores after stage 01_gan", "ewc, seed 0: no scores", "joint, seed 1: no scores",
        "gan: all test images are fake, so its AUC is undefined",
        "kd, seed 0, stage 01_gan: the checkpoint learned swap, so it is of another sequence",
        "kd, seed 0, stage 02_latent: the checkpoint does not start from that of 01_gan",
        "finetune, seed 0, stage 01_gan: there are scores, but no checkpoint",
    ):
        assert f"<li>{notice}" in page, notice
    assert "No pictures of gan, latent" in page
    metrics = pd.read_csv(report / "metrics.csv")
    assert set(zip(metrics["method"], metrics["seed"], strict=True)) == {("finetune", 0), ("finetune", 1), ("kd", 0),
                                                                        ("kd", 1)}
    assert metrics["aa"].notna().all()
    assert metrics["c_auc"].isna().all()
    assert (report / "figures/matrix_kd.png").exists()
    assert not (report / "figures/matrix_ewc.png").exists()


def test_calibration_is_reported_as_each_checkpoint_has_it(results: Path) -> None:
    """Today's settings may differ from those that a checkpoint was calibrated with."""
    checkpoint(results, "02_latent", ["latent"], "c", None)
    own = Calibration(temperature=3.25, threshold=0.7, unsure_low=0.7, unsure_high=0.7, target=0.95, images=9,
                      sources=4, tasks=("gan", "latent"), weights_sha256="c")
    (results / "data/06_models/tiny/kd/seed0/02_latent/calibration.json").write_text(own.to_json())
    run(results, tags=["reporting"])
    table = pd.read_csv(results / "data/08_reporting/tiny/calibration.csv")
    assert set(table["method"]) == {"kd"}
    assert set(table["temperature"]) == {3.25}
    assert set(table["threshold"]) == {0.7}


def test_no_scores_at_all_is_one_message(project: Path) -> None:
    with pytest.raises(Exception, match="There are no scores to report"):
        run(project, tags=["reporting"])


def test_a_damaged_table_is_named(results: Path) -> None:
    scores_of(results, "kd", 0, "01_gan").write_bytes(b"damaged")
    with pytest.raises(Exception, match=r"damaged(.|\n)*kd/seed0/01_gan.parquet"):
        run(results, tags=["reporting"])


def test_a_folder_that_cannot_be_written_is_told_before_the_run(results: Path) -> None:
    (results / "data/08_reporting").mkdir(parents=True, exist_ok=True)
    (results / "data/08_reporting/tiny").write_text("a file in the way")
    with pytest.raises(UserError, match=r"Nothing can be written here(.|\n)*08_reporting/tiny"):
        run(results)
    assert not list((results / "data").rglob("*.safetensors"))
