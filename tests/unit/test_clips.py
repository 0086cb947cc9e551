"""Scores of videos."""

from __future__ import annotations

import importlib.util
import sys
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from scipy.stats import bootstrap

from fakemedia.core.errors import UserError
from fakemedia.scoring.clips import DISAGREE, mean_interval, score_clips
from fakemedia.scoring.command import score_pictures
from fakemedia.scoring.open_model import open_model
from fakemedia.scoring.scores import EVEN_PICTURE, score_files
from tests.scoring import calibration, cpu, write_calibration, write_checkpoint, write_pictures
from tests.videos import shades, write_video

needs_av = pytest.mark.skipif(not importlib.util.find_spec("av"), reason="needs the extra video")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_checkpoint(tmp_path / "model")


def noise(count: int, seed: int = 0) -> list[np.ndarray]:
    """Return frames that differ: noise in larger and larger cells."""
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 256, (48 // cell, 48 // cell, 3), np.uint8).repeat(cell, 0).repeat(cell, 1)
            for cell in np.resize([2, 4, 8, 16], count)]


def only_crop(model, path: Path) -> float:
    return score_files(model, [path], crops=1, progress=False)["logit"].iloc[0]


@needs_av
def test_the_logit_of_a_video_is_the_mean_over_its_frames(folder: Path, tmp_path: Path) -> None:
    write_calibration(folder, calibration(open_model(folder, cpu).facts.weights_sha256, threshold=0.5))
    model = open_model(folder, cpu)
    clip = write_video(tmp_path / "clip.mp4", noise(20))
    seen = []
    row = score_clips(model, [clip], frames=4, on_batch=lambda rows, opened: seen.append((rows, opened)),
                      progress=False).iloc[0]
    from PIL import Image

    from fakemedia.sources.frames import frames_at

    with clip.open("rb") as file:
        frames = list(frames_at(file, [0.125, 0.375, 0.625, 0.875]))
    for number, frame in enumerate(frames):
        Image.fromarray(np.asarray(frame.image)).save(tmp_path / f"{number}.png")
    alone = score_files(model, [tmp_path / f"{number}.png" for number in range(4)], progress=False)
    assert row["frames"] == 4
    assert row["logit"] == pytest.approx(alone["logit"].mean(), abs=1e-9)
    low, high = mean_interval(alone["logit"].to_numpy())
    probability = model.facts.calibration.probability
    assert (row["p_low"], row["p_high"]) == pytest.approx(tuple(probability(np.array([low, high]))), abs=1e-9)
    assert row["p_low"] < row["p_fake"] < row["p_high"]
    loudest = alone["p_fake"].idxmax()
    assert row["loudest"].startswith(f"{frames[loudest].seconds:.2f} s {alone['p_fake'].max():.3f}, ")
    assert row["loudest"].count(" s ") == 3
    assert (row["width"], row["height"], row["crops"]) == (48, 48, 16)
    assert row["sha256"] == sha256(clip.read_bytes()).hexdigest()
    (rows, opened), = seen
    assert rows["path"].tolist() == [f"{clip}#{frames[loudest].seconds:.2f}s"]
    assert (opened[0].picture == np.asarray(frames[loudest].image)).all()


@needs_av
def test_a_video_whose_interval_holds_the_threshold_is_unsure(folder: Path, tmp_path: Path) -> None:
    plain = open_model(folder, cpu)
    clip = write_video(tmp_path / "clip.mp4", noise(20))
    found = score_clips(plain, [clip], progress=False).iloc[0]
    assert found["verdict"] == "not calibrated"

    def called(threshold: float) -> pd.Series:
        write_calibration(folder, calibration(plain.facts.weights_sha256, temperature=1.0, threshold=threshold,
                                              unsure_low=threshold, unsure_high=threshold))
        return score_clips(open_model(folder, cpu), [clip], progress=False).iloc[0]

    middle = called((found["p_fake"] + found["p_high"]) / 2)
    assert (middle["verdict"], middle["reason"]) == ("unsure", DISAGREE)
    assert (called(found["p_low"] - 1e-6)["verdict"], called(found["p_low"] - 1e-6)["reason"]) == ("fake", "")
    assert called(found["p_high"] + 1e-6)["verdict"] == "not flagged"


@needs_av
def test_frames_that_show_nothing_and_short_videos(folder: Path, tmp_path: Path) -> None:
    model = open_model(folder, cpu)
    black = write_video(tmp_path / "black.mp4", [np.zeros((48, 48, 3), np.uint8)] * 8)
    half = write_video(tmp_path / "half.mp4", [*noise(8), *[np.zeros((48, 48, 3), np.uint8)] * 8])
    one = write_video(tmp_path / "one.mp4", noise(1))
    text = tmp_path / "text.mp4"
    text.write_text("no video")
    scores = score_clips(model, [black, half, one, text, tmp_path], progress=False).set_index("path")
    assert scores.loc[str(black), ["verdict", "reason", "frames"]].tolist() == ["unsure", EVEN_PICTURE, 0]
    assert 7 <= scores.loc[str(half), "frames"] <= 9
    assert scores.loc[str(one), "frames"] == 1
    assert np.isnan(scores.loc[str(one), "p_low"])
    assert scores.loc[str(text), "error"].startswith("the video cannot be decoded: Invalid data")
    assert scores.loc[str(tmp_path), "error"] == "Is a directory"


def test_the_interval_is_near_that_of_a_bootstrap() -> None:
    logits = np.random.default_rng(0).normal(1.0, 2.0, 40)
    low, high = mean_interval(logits)
    drawn = bootstrap((logits,), np.mean, rng=np.random.default_rng(1)).confidence_interval
    assert (low, high) == pytest.approx((drawn.low, drawn.high), abs=0.15)
    assert np.isnan(mean_interval(logits[:1])).all()


@needs_av
def test_pictures_and_videos_in_one_table(folder: Path, tmp_path: Path) -> None:
    write_pictures(tmp_path / "in")
    write_video(tmp_path / "in/clips/a.mkv", noise(20))
    (tmp_path / "in/b.mp4").write_text("no video")
    told: list[str] = []
    score_pictures([str(tmp_path / "in")], checkpoint=folder, saliency=tmp_path / "maps", out=tmp_path / "scores.csv",
                   batch_size=64, crops=16, frames=5, faces=None, runtime=cpu, echo=told.append)
    text = "\n".join(told)
    assert "6 scored" in text
    assert "a.mkv (5 frames, 0." in text
    assert "b.mp4: the video cannot be decoded" in text
    assert "assume independent frames" in text
    table = pd.read_csv(tmp_path / "scores.csv", keep_default_na=False)
    assert table["path"].tolist()[-2:] == ["in/b.mp4", "in/clips/a.mkv"]
    assert table["frames"].tolist() == [0, 0, 0, 0, 0, 0, 5]
    assert (table["p_low"] != "").tolist() == [False] * 6 + [True]
    assert table["loudest"].iloc[-1].count(" s 0.") == 3
    assert len(list((tmp_path / "maps/clips").glob("a.mkv#*s.png"))) == 1


def test_without_the_extra_there_is_one_message(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    (tmp_path / "in").mkdir()
    (tmp_path / "in/a.mp4").write_bytes(b"")
    given = {"checkpoint": folder, "saliency": None, "out": None, "batch_size": 64, "crops": 16, "frames": 16,
             "faces": None, "runtime": cpu}
    with pytest.raises(UserError, match=r"a\.mp4: a video; to read it: pip install -e '\.\[video\]'"):
        score_pictures([str(tmp_path / "in")], echo=print, **given)
    write_pictures(tmp_path / "in")
    told: list[str] = []
    score_pictures([str(tmp_path / "in")], echo=told.append, **given)
    assert "1 skipped" in told[-1]


@needs_av
def test_the_command_takes_the_number_of_frames(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fakemedia.cli.score_command import score

    monkeypatch.chdir(tmp_path)
    write_video(tmp_path / "clip.mp4", shades(20, 48)[5:] + noise(5))
    done = CliRunner().invoke(score, ["clip.mp4", "--checkpoint", str(folder), "--frames", "3", "--out", "s.csv"])
    assert done.exit_code == 0, done.output
    assert pd.read_csv("s.csv")["path"].tolist() == ["clip.mp4"]
