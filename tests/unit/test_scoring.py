"""Pictures of the user's own, scored by checkpoints and ONNX files."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fakemedia.core import plugin
from fakemedia.core.errors import UserError
from fakemedia.evaluation.calibration import DecisionRule
from fakemedia.evaluation.predict import predict
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.index import build_index
from fakemedia.scoring.checkpoint_model import CheckpointModel
from fakemedia.scoring.command import score_pictures
from fakemedia.scoring.model import Facts
from fakemedia.scoring.open_model import open_model
from fakemedia.scoring.paths import MediaFiles
from fakemedia.scoring.scores import score_files
from fakemedia.scoring.summary import MAX_LISTED, csv_table, describe, summarise
from tests.scoring import CROP, calibration, cpu, pictures, write_calibration, write_checkpoint, write_pictures
from tests.unit.conftest import GivenPictures


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("models") / "convnet")


@pytest.fixture
def model(checkpoint: Path) -> CheckpointModel:
    found = open_model(checkpoint, cpu)
    assert isinstance(found, CheckpointModel)
    return found


@pytest.mark.parametrize("policy", ["native", "resize:30", "jpeg:60"])
def test_files_get_the_logits_of_the_pixel_store(policy: str, tmp_path: Path) -> None:
    source = GivenPictures("noise", pictures())
    index = build_index(source, "noise", workers=1, progress=False)
    store = build_store(index, source, "train", tmp_path / "store", policy=policy, workers=1, progress=False)
    paths = write_pictures(tmp_path / "files")
    model = open_model(write_checkpoint(tmp_path / "model", policy=policy), cpu)
    assert isinstance(model, CheckpointModel)
    scores = score_files(model, paths, batch_size=2, crops=1, progress=False)
    assert scores["logit"].tolist() == predict(model.network, store, batch_size=2, crop=CROP).tolist()
    assert scores["logit"].nunique() == len(paths)


def test_checkpoints_that_name_no_policy_are_native(tmp_path: Path) -> None:
    assert open_model(write_checkpoint(tmp_path / "old", policy=None), cpu).facts.policy == "native"


def test_files_that_cannot_be_scored_are_skipped_with_the_reason(model: CheckpointModel, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch) -> None:
    good = write_pictures(tmp_path)[0]
    text, cut, gone, empty = (tmp_path / name for name in ("text.png", "cut.png", "gone.png", "empty.png"))
    text.write_text("no picture")
    cut.write_bytes(good.read_bytes()[:200])
    gone.symlink_to(tmp_path / "nowhere")
    empty.touch()
    large = tmp_path / "large.png"
    monkeypatch.setattr("fakemedia.store.decode.MAX_PIXELS", 41 * 52)
    Image.new("L", (53, 41)).save(large)
    scores = score_files(model, [text, good, cut, gone, empty, large, tmp_path], batch_size=3, progress=False)
    reasons = dict(zip((Path(path).name for path in scores["path"]), scores["error"], strict=True))
    assert reasons.pop(good.name) == ""
    for name, reason in (("text.png", "no image format"), ("gone.png", "No such file"), ("empty.png", "empty"),
                         ("large.png", "53 x 41 pixels"), ("cut.png", "")):
        assert reason in reasons[name]
    assert all(reasons.values())
    assert scores["p_fake"].notna().tolist() == [path == good for path in map(Path, scores["path"])]
    assert set(scores.loc[scores["error"] != "", "verdict"]) == {""}


def test_odd_pictures_are_scored(model: CheckpointModel, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    colour = Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    files = {"cmyk.jpg": {}, "deep.png": {}, "palette.gif": {}, "turned.jpg": {"exif": exif},
             "moving.gif": {"save_all": True, "append_images": [colour.rotate(90)]}, "clear.png": {}}
    images = {"cmyk.jpg": colour.convert("CMYK"), "palette.gif": colour.convert("P"), "clear.png": colour.convert("LA"),
              "deep.png": Image.fromarray(rng.integers(0, 2**16, (30, 40), np.uint16))}
    for name, options in files.items():
        images.get(name, colour).save(tmp_path / name, **options)
    scores = score_files(model, [tmp_path / name for name in files], progress=False)
    assert scores["error"].tolist() == [""] * len(files)
    assert np.isfinite(scores["p_fake"]).all()


def test_verdicts_are_those_of_the_calibration(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "files")
    folder = write_checkpoint(tmp_path / "model")
    plain = open_model(folder, cpu)
    found = score_files(plain, paths, progress=False)
    logits = found["logit"].to_numpy()
    assert set(found["verdict"]) == {"not calibrated"}
    assert "Calibration: none" in describe(plain.facts, folder, 16)
    assert "never unsure" not in describe(plain.facts, folder, 16)

    sha256 = json.loads((folder / "checkpoint.json").read_text())["weights_sha256"]
    probability = 1 / (1 + np.exp(-np.sort(logits) / 2))
    low, middle, high = (probability[i:i + 2].mean() for i in (0, 1, 3))
    write_calibration(folder, calibration(sha256, threshold=middle, unsure_low=low, unsure_high=high))
    calibrated = open_model(folder, cpu)
    scores = score_files(calibrated, paths, progress=False).sort_values("logit")
    np.testing.assert_allclose(scores["p_fake"], probability, rtol=1e-12)
    assert scores["verdict"].tolist() == ["not flagged", "unsure", "unsure", "unsure", "fake"]
    head = describe(calibrated.facts, folder, 16)
    for part in ("convnet", sha256[:12], "knows one, two", "up to 16 crops of 24 x 24 pixels",
                 "10 validation images of 5 sources", "at least 95% right outside it, with 95% confidence"):
        assert part in head
    assert "the centre 24 x 24 pixels" in describe(calibrated.facts, folder, 1)

    write_calibration(folder, calibration("of other weights"))
    assert open_model(folder, cpu).facts.calibration is None
    (folder / "calibration.json").write_text("{")
    with pytest.raises(UserError, match=r"calibration\.json"):
        open_model(folder, cpu)


def test_several_crops_are_judged_by_the_calibration_of_several(tmp_path: Path) -> None:
    paths = write_pictures(tmp_path / "files")
    folder = write_checkpoint(tmp_path / "model")
    sha256 = json.loads((folder / "checkpoint.json").read_text())["weights_sha256"]
    several = DecisionRule(temperature=0.01, threshold=0.7, unsure_low=0.7, unsure_high=0.7)
    alone = calibration(sha256)
    write_calibration(folder, replace(alone, several=several))
    model = open_model(folder, cpu)
    scores = score_files(model, paths, crops=4, progress=False)
    one = (scores["crops"] == 1).to_numpy()
    assert 0 < one.sum() < len(one)
    logits = scores["logit"].to_numpy()
    expected = np.where(one, alone.probability(logits), several.probability(logits))
    np.testing.assert_array_equal(scores["p_fake"], expected)
    assert set(scores["verdict"][one]) == {"unsure"}
    assert set(scores["verdict"][~one]) <= {"fake", "not flagged"}
    table = csv_table(scores, model.facts, tmp_path)
    assert table["threshold"].tolist() == np.where(one, 0.5, 0.7).tolist()
    assert "fake above 0.700, no unsure band" in describe(model.facts, folder, 4)
    assert "fake above 0.500, unsure from 0.400" in describe(model.facts, folder, 1)
    write_calibration(folder, alone)
    assert "fitted to centre crops alone" in describe(open_model(folder, cpu).facts, folder, 4)
    assert "fitted to centre crops alone" not in describe(open_model(folder, cpu).facts, folder, 1)


def test_damaged_checkpoints(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no checkpoint"):
        open_model(tmp_path / "nowhere", cpu)
    folder = write_checkpoint(tmp_path / "cut")
    weights = folder / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(UserError, match=r"incomplete(?s:.*)weights\.safetensors"):
        open_model(folder, cpu)
    folder = write_checkpoint(tmp_path / "bare")
    meta = json.loads((folder / "checkpoint.json").read_text())
    del meta["training"]
    (folder / "checkpoint.json").write_text(json.dumps(meta))
    with pytest.raises(UserError, match=r"was changed(?s:.*)checkpoint\.json"):
        open_model(folder, cpu)
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match=r"'training'"):
        open_model(folder, cpu)


def test_scores_that_are_not_finite_are_no_verdicts(model: CheckpointModel, tmp_path: Path) -> None:
    paths = write_pictures(tmp_path)
    model.network.head.weight.data.fill_(np.nan)
    with pytest.raises(UserError, match="not finite"):
        score_files(model, paths, progress=False)


class TestCommand:
    @pytest.fixture
    def told(self) -> list[str]:
        return []

    @pytest.fixture
    def run(self, checkpoint: Path, told: list[str]):
        def run(*paths: Path, **options: Path | None) -> None:
            score_pictures([str(path) for path in paths], runtime=cpu, echo=told.append, batch_size=64, crops=16,
                           frames=16, faces=None,
                           **{"checkpoint": checkpoint, "saliency": None, "out": None, **options})

        return run

    def test_table_file_and_overlays(self, run, told: list[str], checkpoint: Path, tmp_path: Path) -> None:
        paths = write_pictures(tmp_path / "in")
        odd = tmp_path / "in" / "a\n\"b\", ü.png"
        paths[1].rename(odd)
        (tmp_path / "in/text.png").write_text("no picture")
        run(tmp_path / "in", out=tmp_path / "out/scores.csv", saliency=tmp_path / "maps")
        text = "\n".join(told)
        assert "5 scored" in text
        assert "text.png: no image format is recognised" in text
        assert str(paths[0]) in text
        table = pd.read_csv(tmp_path / "out/scores.csv", keep_default_na=False)
        assert list(table) == ["path", "p_fake", "verdict", "reason", "novelty", "logit", "threshold", "crops", "seen",
                               "width", "height", "sha256", "detector", "error", "frames", "p_low", "p_high", "loudest"]
        assert sorted(table["path"]) == sorted(f"../in/{path.name}" for path in (tmp_path / "in").iterdir())
        assert f"../in/{odd.name}" in set(table["path"])
        row = table.set_index("path").loc["../in/0.png"]
        assert row["sha256"] == sha256(paths[0].read_bytes()).hexdigest()
        assert row["detector"] == json.loads((checkpoint / "checkpoint.json").read_text())["weights_sha256"]
        assert (int(row["width"]), int(row["height"]), int(row["crops"])) == (52, 40, 6)
        assert len(str(row["p_fake"]).partition(".")[2]) <= 4
        overlays = sorted(path.name for path in (tmp_path / "maps").iterdir())
        assert overlays == sorted(f"{path.name}.png" for path in (tmp_path / "in").iterdir() if "text" not in path.name)
        with Image.open(tmp_path / "maps/0.png.png") as picture:
            assert picture.size[0] > 2 * 256
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["scores.csv"]

    def test_overlays_among_the_pictures_are_not_scored(self, run, told: list[str], tmp_path: Path) -> None:
        write_pictures(tmp_path)
        for _ in range(2):
            run(tmp_path, saliency=tmp_path / "maps")
        assert sum("5 scored" in text for text in told) == 2
        with pytest.raises(UserError, match="no picture"):
            run(tmp_path / "maps", saliency=tmp_path / "maps")

    def test_nothing_is_scored_if_the_result_could_not_be_written(self, run, told: list[str], tmp_path: Path) -> None:
        write_pictures(tmp_path / "in")
        (tmp_path / "file").touch()
        for options in ({"out": tmp_path / "file/scores.csv"}, {"saliency": tmp_path / "file"},
                        {"out": tmp_path / "in/0.png"}):
            with pytest.raises(UserError):
                run(tmp_path / "in", **options)
        assert told == []

    def test_only_unreadable_files(self, run, tmp_path: Path) -> None:
        (tmp_path / "text.png").write_text("no picture")
        with pytest.raises(UserError, match=r"No picture or video could be scored(?s:.*)text\.png: no image format"):
            run(tmp_path, out=tmp_path / "scores.csv")
        assert not (tmp_path / "scores.csv").exists()


def test_many_pictures_are_summarised(model: CheckpointModel) -> None:
    count = MAX_LISTED + 30
    scores = pd.DataFrame({"path": [f"{i}.png" for i in range(count)], "p_fake": np.linspace(0, 1, count),
                           "verdict": ["not flagged"] * 20 + ["fake"] * 30, "logit": 0.0, "error": "", "reason": "",
                           "crops": 4, "seen": 0.25})
    scores.loc[:MAX_LISTED + 4, "error"] = "why"
    scores.attrs["seconds"] = 0.5
    text = summarise(scores, MediaFiles())
    assert f"{count - 1}.png" in text
    assert f"{count - 6}.png" not in text
    assert f"{MAX_LISTED + 5} skipped" in text
    assert "and 5 more" in text
    assert "25 scored: 25 fake\n25% of a picture was seen (median), 100 images a second" in text


def test_facts_of_an_onnx_file_of_an_earlier_version_are_read() -> None:
    values = asdict(calibration("w"))
    del values["confidence"], values["independent"]
    old = {"network": "convnet", "tasks": ["one"], "crop": 24, "policy": "native", "fingerprint": "f",
           "calibration": {**values, "made_from": "x"}}
    facts = plugin.configure(Facts, old, where="old.onnx")
    assert "no guarantee: calibrated by an earlier version" in describe(facts, Path("old.onnx"), 16)
    old["calibration"]["threshold"] = float("nan")
    with pytest.raises(UserError, match=r"old\.onnx"):
        plugin.configure(Facts, old, where="old.onnx")
