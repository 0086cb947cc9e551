"""`import fakemedia as fm`: load, run and results, from any folder of a project and outside of one."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import fakemedia as fm
from fakemedia.core.errors import UserError
from tests.pipeline.conftest import change
from tests.scoring import pictures, write_checkpoint, write_pictures


def test_the_import_is_light() -> None:
    code = ("import sys, fakemedia; heavy = {'torch', 'pandas', 'numpy', 'kedro', 'mlflow'} & set(sys.modules); "
            "assert not heavy, heavy; assert callable(fakemedia.load); assert 'torch' not in sys.modules")
    subprocess.run([sys.executable, "-c", code], check=True)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fm.nothing  # noqa: B018


def test_a_detector_scores_paths_and_pictures_in_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_checkpoint(tmp_path / "model")
    paths = write_pictures(tmp_path / "photos")
    detector = fm.load("model")
    assert repr(detector) == "<Detector model: convnet, not calibrated, knows one, two>"
    of_files = detector.score("photos")
    assert of_files["path"].tolist() == [f"photos/{path.name}" for path in paths]
    pd.testing.assert_frame_equal(detector.score([tmp_path / "photos"])[["logit", "verdict"]],
                                  of_files[["logit", "verdict"]])
    for given in (pictures(), [Image.fromarray(each) for each in pictures()]):
        scored = detector.score(given)
        assert scored["path"].tolist() == [f"picture {number}" for number in range(len(paths))]
        pd.testing.assert_series_equal(scored["logit"], of_files["logit"])
    assert len(detector.score(pictures()[0])) == 1
    exif = Image.Exif()
    exif[274] = 6  # turned by a quarter
    Image.fromarray(pictures()[0]).save(tmp_path / "turned.png", exif=exif)
    turned = Image.open(tmp_path / "turned.png")
    assert detector.score(turned)["width"].tolist() == [pictures()[0].shape[0]]
    assert turned.size[0] == pictures()[0].shape[1]

    for bad, told in (([np.zeros((4, 4), np.uint8)], r"array uint8 \(4, 4\)"), ([], "nothing to score"),
                      (["photos", pictures()[0]], "Picture 0 cannot be scored: str"),
                      (Image.new("F", (30, 30)), "floating-point"), ("nowhere", "no such file"),
                      (np.zeros((30, 30, 3)), "array float64")):
        with pytest.raises(UserError, match=told):
            detector.score(bad)
    with pytest.raises(UserError, match="There is no checkpoint"):
        fm.load("demo/ridge")
    for call in (fm.run, fm.results):
        with pytest.raises(UserError, match=r"no project here(?s:.*)fakemedia init"):
            call("tiny")


def test_a_sequence_is_run_and_read(ingested: Path, blank: None, monkeypatch: pytest.MonkeyPatch) -> None:
    change(ingested, {"sequences": {"tiny": {"training": {"epochs": 1}}}})
    (ingested / "notebooks").mkdir()
    monkeypatch.chdir(ingested / "notebooks")
    with pytest.raises(UserError, match=r"no scores(?s:.*)fakemedia\.run\('tiny'\)"):
        fm.results("tiny").scores  # noqa: B018
    for wrong, told in ((lambda: fm.results("tinny"), "'tiny'"), (lambda: fm.run("tinny"), "'tiny'"),
                        (lambda: fm.run("tiny", tags=["trainning"]), "'training'"),
                        (lambda: fm.run("tiny", params={"runtime.precision": "float12"}), "float12")):
        with pytest.raises(UserError, match=told):
            wrong()

    results = fm.run("tiny", tags=["finetune"], params={"seed": 3, "runtime.accelerator": "cpu"})
    assert repr(results).startswith("<SequenceResults tiny: ewc, finetune, joint, kd; seeds 3>")
    assert set(results.scores["method"]) == {"finetune"}
    assert len(results.scores) == 2 * 2 * 32
    matrix = results.matrix("finetune")
    assert (matrix.index.tolist(), matrix.columns.tolist()) == (["01_gan", "02_latent"], ["gan", "latent"])
    right = results.scores.query("stage == 2 and task == 'gan'").eval("(logit > 0) == (label == 1)").mean()
    assert matrix.loc["02_latent", "gan"] == pytest.approx(100 * right)
    assert results.summary.loc["finetune", "aa"] == pytest.approx(matrix.loc["02_latent"].mean())
    assert results.runs["aa"].tolist() == pytest.approx([matrix.loc["02_latent"].mean()])
    assert results.matrix("finetune", "auc").to_numpy().max() <= 1
    for bad in (("kdd",), ("finetune", "acuracy")):
        with pytest.raises(UserError, match="did you mean"):
            results.matrix(*bad)
    assert results.report == ingested / "data/08_reporting/tiny/report.html"
    detector = fm.load("tiny/finetune")
    assert detector.facts.tasks == ("gan", "latent")
    assert fm.results(params={"seed": 3}).scores.equals(results.scores)
