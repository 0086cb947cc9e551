"""The forge: layout, splits, determinism, and no shortcut around the traces."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fakemedia.core.errors import UserError
from fakemedia.core.plugin import configure
from fakemedia.core.types import CLASS_FOLDERS, SPLITS
from fakemedia.forge import ForgeConfig, families, forge, is_forged, tasks
from fakemedia.forge.patches import MIN_CONTRAST, random_crop
from fakemedia.forge.photographs import find_photographs

TASKS = {
    "gan": {"family": "upsampling"},
    "sr": {"family": "superresolution"},
    "swap": {"family": "blending"},
    "latent": {"family": "latent"},
}
SMALL = ForgeConfig(tasks={"sr": TASKS["sr"]}, size=32, per_class={"train": 9, "val": 3, "test": 5})


def content(root: Path) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def sources(task: Path) -> dict[str, str]:
    with (task / "sources.csv").open(newline="") as file:
        return {row["path"]: row["source"] for row in csv.DictReader(file)}


@pytest.fixture
def photographs(tmp_path):
    """A folder of six noisy pictures."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    for number in range(6):
        noise = np.random.default_rng(number).integers(0, 256, (40, 50, 3), dtype=np.uint8)
        Image.fromarray(noise).save(folder / f"{number}.png")
    return folder


def test_a_task_has_the_reference_layout(tmp_path):
    forge(SMALL, tmp_path, workers=1)
    named = sources(tmp_path / "sr")
    assert set(named) | {"sources.csv", "forge.json"} == set(content(tmp_path / "sr"))
    for split, count in SMALL.per_class.items():
        for label in CLASS_FOLDERS:
            files = [path for path in named if path.startswith(f"{split}/{label}/")]
            assert len(files) == count
            assert all(Image.open(tmp_path / "sr" / path).size == (32, 32) for path in files)
    assert [path.name for path in tmp_path.iterdir()] == ["sr"]


@pytest.mark.parametrize("where", ["packaged", "folder"])
def test_no_photograph_serves_two_splits(tmp_path, photographs, where):
    config = replace(SMALL, photographs="packaged" if where == "packaged" else str(photographs))
    forge(config, tmp_path / "out", workers=1)
    per_split = {split: {source for path, source in sources(tmp_path / "out" / "sr").items() if path.startswith(split)}
                 for split in SPLITS}
    assert all(per_split.values())
    assert sum(map(len, per_split.values())) == len(set().union(*per_split.values()))


def test_a_folder_with_split_folders_keeps_its_split(tmp_path, photographs):
    for number, split in enumerate(SPLITS):
        (photographs / split).mkdir()
        (photographs / f"{number}.png").rename(photographs / split / "x.png")
    found = find_photographs(str(photographs), 0)
    assert {split: [p.name for p in named] for split, named in found.items()} == {s: [f"{s}/x.png"] for s in SPLITS}


def test_pictures_depend_on_the_seed_and_not_on_the_workers(tmp_path):
    forge(SMALL, tmp_path / "one", workers=1)
    forge(SMALL, tmp_path / "two", workers=2)
    forge(replace(SMALL, seed=1), tmp_path / "other", workers=1)
    assert content(tmp_path / "one") == content(tmp_path / "two")
    one, other = content(tmp_path / "one"), content(tmp_path / "other")
    assert all(one[path] != other[path] for path in one if path.endswith(".png"))


def test_an_unchanged_task_is_kept_and_a_changed_one_is_made_again(tmp_path):
    forge(SMALL, tmp_path, workers=1)
    mark = tmp_path / "sr" / "mark"
    mark.touch()
    forge(SMALL, tmp_path, workers=1)
    assert mark.exists()
    forge(replace(SMALL, tasks={"sr": {**TASKS["sr"], "factor": 3}}), tmp_path, workers=1)
    assert not mark.exists()
    assert json.loads((tmp_path / "sr" / "forge.json").read_text())["settings"]["factor"] == 3


def test_a_failure_leaves_nothing_behind(tmp_path, photographs):
    (photographs / "0.png").write_bytes(b"no picture")
    with pytest.raises(UserError, match="cannot be read"):
        forge(replace(SMALL, photographs=str(photographs)), tmp_path / "out", workers=1)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_foreign_folder_is_not_replaced(tmp_path):
    (tmp_path / "sr").mkdir()
    with pytest.raises(UserError, match="exists that the forge has not made"):
        forge(SMALL, tmp_path, workers=1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"tasks": {"a": {"family": "upsamplin"}}}, "did you mean 'upsampling'"),
        ({"tasks": {"a": {}}}, "Unknown family"),
        ({"tasks": {"a__b": {"family": "latent"}}}, "a__b"),
        ({"tasks": {"a": {"family": "latent", "factr": 2}}}, "did you mean 'factor'"),
        ({"tasks": {"a": {"family": "latent", "factor": 0}}}, "factor of at least 1"),
        ({"tasks": {}}, "at least one task"),
        ({"tasks": TASKS, "size": 3}, "at least 16"),
        ({"tasks": TASKS, "scale": [0.8, 0.5]}, "scale"),
        ({"tasks": TASKS, "per_class": {"train": 3}}, "per_class"),
        ({"tasks": TASKS, "photographs": "nowhere"}, "nowhere"),
    ],
)
def test_bad_settings_end_in_one_message(tmp_path, settings, message):
    with pytest.raises(UserError, match=message):
        forge(configure(ForgeConfig, settings, where="collections.demo.forge"), tmp_path, workers=1)
    assert list(tmp_path.iterdir()) == []


def test_too_few_photographs_are_refused(photographs):
    for path in list(photographs.iterdir())[2:]:
        path.unlink()
    with pytest.raises(UserError, match="No photograph for the split 'train'"):
        find_photographs(str(photographs), 0)


def test_families_names_the_family_of_each_task():
    assert families(ForgeConfig(tasks=TASKS)) == {task: settings["family"] for task, settings in TASKS.items()}


def test_a_flat_region_is_not_cropped():
    picture = np.full((100, 300, 3), 128, np.uint8)
    picture[:, 200:] = np.random.default_rng(0).integers(0, 256, (100, 100, 3))
    for seed in range(20):
        crop = random_crop(Image.fromarray(picture), 40, (1.0, 1.0), np.random.default_rng(seed))
        assert crop.shape == (40, 40, 3)
        assert crop.mean(axis=2).std() >= MIN_CONTRAST


def test_a_flat_photograph_still_gives_a_crop():
    assert random_crop(Image.new("RGB", (30, 60)), 40, (0.5, 1.0), np.random.default_rng(0)).shape == (40, 40, 3)


def shortcut_features(task: Path, split: str) -> tuple[np.ndarray, np.ndarray]:
    """What a detector must not live on: file length, PNG chunks and colour means."""
    rows, labels = [], []
    for label, name in enumerate(CLASS_FOLDERS):
        for path in sorted((task / split / name).iterdir()):
            with Image.open(path) as image:
                rows.append([path.stat().st_size, len(image.info), *np.asarray(image).mean(axis=(0, 1))])
            labels.append(label)
    return np.array(rows), np.array(labels)


@pytest.fixture(scope="module")
def forged(tmp_path_factory):
    root = tmp_path_factory.mktemp("forged")
    forge(ForgeConfig(tasks=TASKS, size=64, per_class={"train": 150, "val": 2, "test": 150}), root, workers=1)
    return root


@pytest.mark.parametrize("task", TASKS)
def test_file_size_metadata_and_colour_means_tell_nothing(forged, task):
    features, labels = shortcut_features(forged / task, "train")
    classifier = make_pipeline(StandardScaler(), LogisticRegression(C=1e3, max_iter=1000)).fit(features, labels)
    test_features, test_labels = shortcut_features(forged / task, "test")
    auc = roc_auc_score(test_labels, classifier.decision_function(test_features))
    standard_error = np.sqrt((len(test_labels) + 1) / (12 * (len(test_labels) / 2) ** 2))
    assert abs(auc - 0.5) < 3 * standard_error
    assert len(np.unique(test_features[:, 0])) == 1


@pytest.mark.parametrize("task", TASKS)
def test_real_and_fake_of_a_pair_differ(forged, task):
    for real in (forged / task / "test" / "0_real").iterdir():
        assert real.read_bytes() != (forged / task / "test" / "1_fake" / real.name).read_bytes()


@pytest.mark.parametrize("what", ["family", "forge"])
def test_a_raised_version_forges_again(tmp_path, monkeypatch, what):
    forge(SMALL, tmp_path, workers=1)
    record = json.loads((tmp_path / "sr/forge.json").read_text())
    assert is_forged(SMALL, tmp_path, "sr")
    assert str(tmp_path) not in json.dumps(record)
    if what == "family":
        monkeypatch.setattr(tasks, "constant", lambda kind, name, key, default: 2)
    else:
        monkeypatch.setattr(tasks, "VERSION", 2)
    assert not is_forged(SMALL, tmp_path, "sr")
    forge(SMALL, tmp_path, workers=1)
    assert json.loads((tmp_path / "sr/forge.json").read_text())["fingerprint"] != record["fingerprint"]


def test_photographs_are_told_by_their_content_and_others_counted(tmp_path, caplog):
    for number in range(4):
        Image.new("RGB", (60, 60), (number, 0, 0)).save(tmp_path / f"{number}.{('jfif', 'photo')[number % 2]}", "JPEG")
    (tmp_path / "4.psd").write_bytes(b"8BPS")
    found = find_photographs(str(tmp_path), seed=0)
    assert sum(map(len, found.values())) == 4
    assert "1 files in" in caplog.text
